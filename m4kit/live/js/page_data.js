// What a live page holds: arrays in one block (see `packing.py`), and the face models they describe.

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The bytes of a file in a `data:` URL.
const bytesOfUrl = (url) => Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));

// The numbers of an array that `Packer.add` described.
function numbersOf(bytes, { at, type, length }) {
  if (type === "u1") return bytes.subarray(at, at + length);
  if (type === "f4") return new Float32Array(bytes.slice(at, at + 4 * length).buffer);
  const numbers = type === "u2" ? new Uint16Array(length) : new Int16Array(length);
  for (let i = 0; i < length; i++) numbers[i] = bytes[at + i] | (bytes[at + length + i] << 8);
  return numbers;
}

function trianglesOf(bytes, packed) {
  const numbers = numbersOf(bytes, packed), count = numbers.length / 3, triangles = new Uint32Array(3 * count);
  for (let t = 0, lowest = 0; t < count; t++) {
    lowest += numbers[t];
    triangles.set([lowest, lowest + numbers[count + t], lowest + numbers[2 * count + t]], 3 * t);
  }
  return triangles;
}

// The neighbours of each vertex that have lower numbers: those of `v` are `list` from `starts[v]` to `starts[v + 1]`.
function lowerNeighbours(triangles, count) {
  const edges = edgesOf(triangles), starts = new Uint32Array(count + 1), list = new Uint32Array(edges.length / 2);
  for (let i = 0; i < edges.length; i += 2) starts[Math.max(edges[i], edges[i + 1]) + 1]++;
  for (let v = 0; v < count; v++) starts[v + 1] += starts[v];
  const next = starts.slice();
  for (let i = 0; i < edges.length; i += 2) list[next[Math.max(edges[i], edges[i + 1])]++] = Math.min(edges[i], edges[i + 1]);
  return { starts, list };
}

// Fields over a mesh that `smooth_rest` packed, each with three numbers per vertex.
function smoothOf(bytes, packed, { starts, list }) {
  const rest = numbersOf(bytes, packed), { step, fields } = packed, count = starts.length - 1;
  const whole = new Int32Array(count), result = [];
  for (let field = 0; field < fields; field++) {
    const values = new Float32Array(3 * count);
    for (let axis = 0; axis < 3; axis++) {
      for (let v = 0; v < count; v++) {
        const number = Math.max(starts[v + 1] - starts[v], 1), z = rest[(3 * field + axis) * count + v];
        let sum = 0;
        for (let i = starts[v]; i < starts[v + 1]; i++) sum += whole[list[i]];
        whole[v] = Math.floor((2 * sum + number) / (2 * number)) + (z & 1 ? -(z + 1) / 2 : z / 2);
        values[3 * v + axis] = step * whole[v];
      }
    }
    result.push(values);
  }
  return result;
}

// A face model: vertices are `mean` and a weighted sum of `modes`, in mm; the first `people` modes are the identity's.
class PageModel {
  constructor(bytes, about) {
    Object.assign(this, about);
    this.triangles = Object.fromEntries(Object.entries(about.triangles).map(([name, packed]) => [name, trianglesOf(bytes, packed)]));
    const lower = lowerNeighbours(this.triangles[this.whole], about.count);
    [this.mean] = smoothOf(bytes, about.mean, lower);
    this.modes = smoothOf(bytes, about.modes, lower);
    this.fade = numbersOf(bytes, about.fade);
    this.corners = numbersOf(bytes, about.corners);
    this.shares = numbersOf(bytes, about.shares);
    this.order = numbersOf(bytes, about.order);
    this.colours = Object.fromEntries(Object.entries(about.colours).map(([name, one]) => [name, { ...one, ...paletteOf(bytes, one) }]));
  }

  // The shape with these coefficients, in the model's frame; the identity is exaggerated k times.
  shape(coefficients, k = 1) {
    const shape = this.mean.slice();
    this.add(shape, coefficients);
    if (k !== 1) {
      const identity = new Float32Array(shape.length);
      this.add(identity, coefficients.slice(0, this.people));
      for (let i = 0; i < shape.length; i++) shape[i] += (k - 1) * (this.fade[Math.floor(i / 3)] / 255) * identity[i];
    }
    return shape;
  }

  add(shape, coefficients) {
    coefficients.forEach((by, mode) => {
      if (!by) return;
      const displacement = this.modes[mode];
      for (let i = 0; i < shape.length; i++) shape[i] += by * displacement[i];
    });
  }

  landmarks(vertices) {
    const points = new Float32Array(204);
    for (let i = 0; i < 204; i++) {
      const landmark = Math.floor(i / 3), axis = i % 3;
      for (let k = 0; k < 3; k++) points[i] += this.shares[3 * landmark + k] * vertices[3 * this.corners[3 * landmark + k] + axis];
    }
    return points;
  }
}

// Colours of vertices, three bytes each: stored as they are, or as numbers of a palette's.
function paletteOf(bytes, { colours, palette, index }) {
  if (colours) return { colours: numbersOf(bytes, colours) };
  const table = numbersOf(bytes, palette), indices = numbersOf(bytes, index), found = new Uint8Array(3 * indices.length);
  indices.forEach((number, v) => found.set(table.subarray(3 * number, 3 * number + 3), 3 * v));
  return { colours: found };
}
