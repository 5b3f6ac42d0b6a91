// A triangle of weights, with a point that the user moves; the kernel sends its colours (`weight_triangle.py`).
//
// Places in the triangle travel as shares of the three corners: lower left, lower right, top.

const SIDE = 76, HEIGHT = SIDE * Math.sqrt(0.75), LEFT = 12, TOP = 22;
const CORNERS = [[LEFT, TOP + HEIGHT], [LEFT + SIDE, TOP + HEIGHT], [LEFT + SIDE / 2, TOP]];
const NAMES = [[LEFT, TOP + HEIGHT + 8], [LEFT + SIDE, TOP + HEIGHT + 8], [LEFT + SIDE / 2, TOP - 3]];
// A press this far outside, in shares, means no place of the triangle.
const BESIDE = -0.12;
const KEYS = { ArrowLeft: [-0.02, 0], ArrowRight: [0.02, 0], ArrowUp: [0, 0.02], ArrowDown: [0, -0.02] };

const placeOf = (shares) => [0, 1].map((axis) => CORNERS.reduce((sum, corner, k) => sum + shares[k] * corner[axis], 0));

function sharesAt(x, y) {
  const top = (TOP + HEIGHT - y) / HEIGHT, right = (x - LEFT) / SIDE - top / 2;
  return [1 - top - right, right, top];
}

function within(shares) {
  const inside = shares.map((share) => Math.max(share, 0)), sum = inside.reduce((a, b) => a + b);
  return inside.map((share) => share / sum);
}

function drawn(parent, name, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

class WeightTriangle {
  constructor(model, el) {
    this.model = model;
    this.svg = drawn(el, "svg", { viewBox: "0 0 100 98", role: "application", tabindex: 0 });
    this.svg.style.cssText = "display: block; width: 100%; cursor: crosshair; touch-action: none; user-select: none; outline-offset: -2px; outline-color: var(--jp-brand-color1, #1976d2); color: var(--jp-ui-font-color1, #333); font: 5.6px var(--jp-ui-font-family, sans-serif)";
    // Of this view alone: another view of the same cut may be hidden, and its shapes with it.
    const clip = `m4kit-cut-${Math.random().toString(36).slice(2)}`, points = CORNERS.map((corner) => corner.join()).join(" ");
    drawn(drawn(this.svg, "clipPath", { id: clip }), "polygon", { points });
    this.image = drawn(this.svg, "image", { x: LEFT, y: TOP, width: SIDE, height: HEIGHT, preserveAspectRatio: "none", "clip-path": `url(#${clip})` });
    this.title = this.text([50, 7]);
    this.names = NAMES.map((place) => this.text(place));
    const cross = { d: "M -3 0 H 3 M 0 -3 V 3", fill: "none" };
    this.best = [["#24292f", 2], ["#fff", 1]].map(([stroke, width]) => drawn(this.svg, "path", { ...cross, stroke, "stroke-width": width }));
    this.present = drawn(this.svg, "circle", { r: 2.6, fill: "#ff3b30", stroke: "#fff", "stroke-width": 0.9 });
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
    this.svg.addEventListener("pointermove", (event) => { if (this.dragging) this.send(within(this.at(event))); });
    for (const end of ["pointerup", "pointercancel"]) this.svg.addEventListener(end, () => { this.dragging = false; });
    this.svg.addEventListener("keydown", (event) => this.key(event));
    model.on("msg:custom", this.onMessage = (content, buffers) => this.receive(content, buffers));
    model.send({ kind: "ready" });
  }

  text([x, y]) {
    return drawn(this.svg, "text", { x, y, "text-anchor": "middle", fill: "currentColor" });
  }

  at(event) {
    const box = this.svg.getBoundingClientRect(), unit = box.width / 100;
    return sharesAt((event.clientX - box.left) / unit, (event.clientY - box.top) / unit);
  }

  press(event) {
    const shares = this.at(event);
    if (event.button || Math.min(...shares) < BESIDE) return;
    this.svg.setPointerCapture(event.pointerId);
    this.dragging = true;
    this.send(within(shares));
  }

  key(event) {
    if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const [right, up] = KEYS[event.key], [a, b, c] = this.shares;
    this.send(within([a - right - up / 2, b + right - up / 2, c + up]));
  }

  // One at a time: while the kernel works, only the newest place is kept.
  send(shares) {
    this.move(shares);
    this.next = shares;
    if (!this.waiting) this.sendNext();
  }

  sendNext() {
    this.waiting = Boolean(this.next);
    if (this.next) this.model.send({ kind: "pressed", shares: this.next });
    this.next = null;
  }

  move(shares) {
    this.shares = shares;
    const [x, y] = placeOf(shares);
    this.present.setAttribute("transform", `translate(${x} ${y})`);
  }

  receive(content, buffers) {
    if (content.kind === "heard") return this.sendNext();
    if (content.kind !== "cut") return;
    URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(new Blob([buffers[0]], { type: "image/jpeg" }));
    this.image.setAttribute("href", this.address);
    this.title.textContent = content.title;
    this.svg.setAttribute("aria-label", `${content.title}. ${content.label} Arrow keys move the weights.`);
    content.names.forEach((name, k) => { this.names[k].textContent = name; });
    const [x, y] = placeOf(content.best);
    for (const stroke of this.best) stroke.setAttribute("transform", `translate(${x} ${y})`);
    if (!this.next) this.move(content.present);
    this.svg.dataset.serial = content.serial;
  }

  close() {
    this.model.off("msg:custom", this.onMessage);
    URL.revokeObjectURL(this.address);
  }
}

export default {
  async render({ model, el }) {
    await keepListening(model);
    const cut = new WeightTriangle(model, el);
    return () => cut.close();
  },
};
