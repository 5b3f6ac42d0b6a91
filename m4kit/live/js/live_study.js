// The measured accuracy of head weights: an interpolated grid, and a triangle for each head whose weight is held.

const PARTS = 25;
const CUT = 200;

// Values on all weights in steps of 1 / n, in the order of `ablation.simplex`.
class Study {
  constructor(bytes, { nme, above, parts, best, words, scale }) {
    Object.assign(this, { parts, best, words, nme: numbersOf(bytes, nme), above: numbersOf(bytes, above), table: numbersOf(bytes, scale) });
    this.low = this.nme.reduce((a, b) => Math.min(a, b));
    this.high = this.nme.reduce((a, b) => Math.max(a, b));
    this.places = new Map();
    let number = 0;
    for (let a = 0; a <= parts; a++) for (let b = a; b <= parts; b++) for (let c = b; c <= parts; c++) this.places.set(`${a} ${b} ${c}`, number++);
  }

  // Interpolates linearly between the corners of the tetrahedron around the weights (Kuhn's division of each cube of
  // their cumulative sums, which keeps them in order): the error in percent, and by how much it is certainly above the best.
  at(weights) {
    const sums = [0, 1, 2].map((k) => this.parts * weights.slice(0, k + 1).reduce((a, b) => a + b, 0));
    const corner = sums.map((sum) => Math.min(Math.floor(sum + 1e-9), this.parts - 1)), rest = sums.map((sum, k) => sum - corner[k]);
    const order = [0, 1, 2].sort((a, b) => rest[b] - rest[a] || b - a), shares = [...order.map((k) => rest[k]), 0];
    const result = [0, 0], place = [...corner];
    for (let k = 0, before = 1; k <= 3; before = shares[k], k++) {
      if (k) place[order[k - 1]]++;
      const share = before - shares[k], number = this.places.get(place.join(" "));
      if (share <= 0 || number === undefined) continue;
      result[0] += share * this.nme[number];
      result[1] += share * this.above[number];
    }
    return result;
  }

  // The scale follows the square root of what an error has above the lowest.
  colour(nme) {
    const at = 3 * Math.round(255 * Math.sqrt(Math.min(Math.max((nme - this.low) / Math.max(this.high - this.low, 1e-9), 0), 1)));
    return this.table.subarray(at, at + 3);
  }
}

// A triangle of the weights of the other three heads: the explorer's view, whose pictures are drawn here.
class Cut {
  constructor(study, held, parent, pressed) {
    this.study = study;
    this.held = held;
    this.picture = made("canvas", { width: CUT, height: Math.round(CUT * Math.sqrt(0.75)) });
    this.model = new LiveModel({ own_id: "" }, (message) => {
      if (message.kind === "ready" && this.weights) this.show(this.weights);
      if (message.kind !== "pressed") return;
      pressed(this.weightsAt(message.shares));
      // The view has not yet noted that it waits.
      queueMicrotask(() => this.model.deliver({ kind: "heard" }));
    });
    const element = made("div");
    parent.append(element);
    TRIANGLE.render({ model: this.model, el: element });
  }

  weightsAt(shares) {
    const rest = 1 - this.weights[this.held], found = [...shares].map((share) => rest * share);
    found.splice(this.held, 0, this.weights[this.held]);
    return Float64Array.from(found);
  }

  // One drawing at a time: only the newest weights count.
  async show(weights) {
    this.weights = weights;
    if (this.drawing) return;
    this.drawing = true;
    while (this.drawn !== this.weights) {
      this.drawn = this.weights;
      const lowest = this.draw(), { held, drawn } = this, weight = drawn[held];
      const jpeg = await new Promise((done) => { this.picture.toBlob(done, "image/jpeg", 0.9); });
      const others = [...drawn].map((_, k) => k).filter((k) => k !== held), left = 1 - weight;
      const names = others.map((k) => `Head ${k + 1}`);
      this.model.deliver({
        kind: "cut", serial: (this.serial = (this.serial ?? 0) + 1), names,
        title: weight < 1 ? `Head ${held + 1} held at ${weight.toFixed(2)}` : `Head ${held + 1} has the whole weight`,
        label: `Colours show the error for all shares of ${names.join(", ")}.`,
        best: lowest, present: others.map((k) => (left > 1e-9 ? drawn[k] / left : 1 / 3)),
      }, [new Uint8Array(await jpeg.arrayBuffer())]);
    }
    this.drawing = false;
  }

  // Draws the triangle's box; returns where the error is lowest, in shares of the corners.
  draw() {
    const { width, height } = this.picture, pen = this.picture.getContext("2d"), data = pen.createImageData(width, height);
    const field = [];
    let best = Infinity, lowest = null;
    for (let j = 0; j <= PARTS; j++) for (let i = 0; i <= PARTS; i++) {
      // Beyond the edge, the values of the edge.
      const over = Math.max(i + j - PARTS, 0) / 2, shares = [Math.max(PARTS - i - j, 0) / PARTS, (i - over) / PARTS, (j - over) / PARTS];
      const value = this.study.at(this.weightsAt(shares));
      field.push(value);
      if (value[0] < best) [best, lowest] = [value[0], shares];
    }
    const at = (x, y, k) => {
      const i = Math.min(Math.floor(x), PARTS - 1), j = Math.min(Math.floor(y), PARTS - 1), u = x - i, v = y - j;
      const value = (di, dj) => field[(j + dj) * (PARTS + 1) + i + di][k];
      return (1 - v) * ((1 - u) * value(0, 0) + u * value(1, 0)) + v * ((1 - u) * value(0, 1) + u * value(1, 1));
    };
    const clamped = (value) => Math.min(Math.max(value, 0), PARTS);
    for (let row = 0; row < height; row++) for (let column = 0; column < width; column++) {
      const top = 1 - (row + 0.5) / height, right = (column + 0.5) / width - top / 2;
      const x = clamped(PARTS * right), y = clamped(PARTS * top);
      const above = at(x, y, 1), slope = Math.hypot(at(clamped(x + 0.5), y, 1) - at(clamped(x - 0.5), y, 1), at(x, clamped(y + 0.5), 1) - at(x, clamped(y - 0.5), 1));
      // A white line where weights begin to be certainly worse.
      const line = Math.min(Math.max(CUT / 100 - (Math.abs(above) / Math.max(slope, 1e-9)) * (CUT / PARTS), 0), 1);
      const colour = this.study.colour(at(x, y, 0));
      for (let k = 0; k < 3; k++) data.data[4 * (row * width + column) + k] = colour[k] + (255 - colour[k]) * line;
      data.data[4 * (row * width + column) + 3] = 255;
    }
    pen.putImageData(data, 0, 0);
    return lowest;
  }
}
