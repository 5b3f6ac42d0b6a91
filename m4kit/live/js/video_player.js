// Plays a clip whose pictures the kernel sends as JPEGs, draws landmarks over them, and moves the mesh of a `Canvas`:
// see `video_player.py`. Playing needs no kernel.

// Jupyter drops messages of a kernel that sends more than a megabyte a second.
const BYTES_PER_SECOND = 600_000;

const PLAYER_STYLE = `
.m4kit-player { font: 13px var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #333); }
.m4kit-player canvas { display: block; width: 100%; border-radius: 3px; background: #4a525b; }
.m4kit-player div { display: flex; align-items: center; gap: 8px; padding: 6px 0; }
.m4kit-player button { width: 64px; height: 28px; border: 1px solid var(--jp-border-color1, #bbb); border-radius: 3px;
  background: var(--jp-layout-color2, #eee); color: inherit; cursor: pointer; }
.m4kit-player input { flex: 1; min-width: 60px; }
.m4kit-player span { min-width: 120px; font-variant-numeric: tabular-nums; text-align: right; }
`;

class Player {
  constructor(model, el) {
    this.model = model;
    el.style.width = "100%";
    const style = document.createElement("style"), box = document.createElement("section");
    style.textContent = PLAYER_STYLE;
    box.className = "m4kit-player";
    [this.canvas, this.row, this.button, this.range, this.words] =
      ["canvas", "div", "button", "input", "span"].map((name) => document.createElement(name));
    Object.assign(this.range, { type: "range", min: 0, max: 0, value: 0 });
    this.range.setAttribute("aria-label", "Frame");
    this.canvas.setAttribute("role", "img");
    this.row.append(this.button, this.range, this.words);
    box.append(this.canvas, this.row);
    el.append(style, box);
    this.pictures = [];
    this.listen();
    this.mark();
    model.send({ kind: "ready" });
  }

  listen() {
    const { model } = this;
    model.on("msg:custom", this.onMessage = (content, buffers) => this.receive(content, buffers));
    model.on("change:position", this.onPosition = () => this.show());
    model.on("change:playing", this.onPlaying = () => { this.mark(); if (model.get("playing")) this.play(); });
    model.on("change:turn change:outline", this.onLook = () => this.show());
    this.button.addEventListener("click", () => this.press());
    this.range.addEventListener("input", () => this.go(Number(this.range.value)));
    this.range.addEventListener("change", () => model.save_changes());
    // The mesh and its camera live in another view's model.
    model.widget_manager?.get_model?.(model.get("mesh_id"))?.then((mesh) => { this.mesh = mesh; this.show(); });
  }

  mark() {
    const playing = this.model.get("playing");
    this.button.textContent = playing ? "Pause" : "Play";
    this.button.setAttribute("aria-label", this.button.textContent);
  }

  press() {
    const playing = !this.model.get("playing"), last = (this.clip?.seconds.length ?? 1) - 1;
    if (playing && this.model.get("position") >= last) this.model.set("position", 0);
    this.model.set("playing", playing);
    this.model.save_changes();
  }

  go(position) {
    if (this.model.get("playing")) this.model.set("playing", false);
    this.model.set("position", position);
  }

  play() {
    if (!this.clip) return;
    const { seconds } = this.clip, from = seconds[this.model.get("position")];
    let began = null;
    const step = (now) => {
      if (!this.model.get("playing") || this.closed) return;
      began ??= now;
      let position = this.model.get("position");
      while (position + 1 < seconds.length && seconds[position + 1] <= from + (now - began) / 1000) position += 1;
      if (position !== this.model.get("position")) this.model.set("position", position);
      if (position + 1 < seconds.length) return requestAnimationFrame(step);
      this.model.set("playing", false);
      this.model.save_changes();
    };
    requestAnimationFrame(step);
  }

  receive(content, buffers) {
    if (content.kind === "clip") this.begin(content, buffers);
    if (content.kind === "pictures") {
      buffers.forEach((buffer, k) => { this.pictures[content.first + k] ??= new Blob([buffer], { type: "image/jpeg" }); });
      this.canvas.dataset.loaded = this.pictures.filter(Boolean).length;
      const bytes = buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
      setTimeout(() => this.ask(), (1000 * bytes) / BYTES_PER_SECOND);
      this.show();
    }
    if (content.kind === "track") {
      const [expressions, rotations] = buffers.map((buffer) => new Float32Array(alignedCopy(buffer)));
      this.track = { number: content.track, expressions, rotations, modes: content.modes };
      this.show();
    }
  }

  begin(clip, [points, firsts, tracks]) {
    this.clip = clip;
    this.points = new Int16Array(alignedCopy(points));
    this.firsts = new Int32Array(alignedCopy(firsts));
    this.tracks = new Int32Array(alignedCopy(tracks));
    // The same clip comes again for another view of it.
    if (this.pictures.length !== clip.seconds.length) this.pictures = Array(clip.seconds.length).fill(null);
    this.range.max = clip.seconds.length - 1;
    [this.canvas.width, this.canvas.height] = [clip.width, clip.height];
    this.ask();
    this.show();
  }

  // The next pictures that are missing, from the present one on.
  ask() {
    if (this.closed) return;
    const here = this.model.get("position");
    const order = [...this.pictures.keys()].map((k) => (k + here) % this.pictures.length);
    const first = order.find((k) => !this.pictures[k]);
    if (first !== undefined) this.model.send({ kind: "pictures", first });
  }

  async show() {
    if (!this.clip) return;
    const position = this.model.get("position"), seconds = this.clip.seconds[position];
    this.range.value = position;
    this.words.textContent = `${seconds.toFixed(2)} s, frame ${this.clip.frames[position]}`;
    this.canvas.setAttribute("aria-label", `Frame ${this.clip.frames[position]}, at ${seconds.toFixed(2)} seconds`);
    this.moveMesh(position);
    if (!this.pictures[position] || this.decoding) return;
    this.decoding = true;
    const picture = await createImageBitmap(this.pictures[position]).finally(() => { this.decoding = false; });
    this.draw(picture, position);
    picture.close();
    // Another frame was asked for meanwhile.
    if (this.model.get("position") !== position) this.show();
  }

  draw(picture, position) {
    const context = this.canvas.getContext("2d");
    context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    if (this.model.get("outline")) {
      for (let face = this.firsts[position]; face < this.firsts[position + 1]; face++) this.outline(context, face);
    }
    // For tests and measurements: which frame is seen, and how many were drawn.
    this.canvas.dataset.frame = position;
    this.canvas.dataset.drawn = Number(this.canvas.dataset.drawn ?? 0) + 1;
  }

  outline(context, face) {
    const at = (k, axis) => this.points[136 * face + 2 * k + axis] / 8;
    context.lineJoin = "round";
    // The chosen face has thicker lines.
    context.lineWidth = this.tracks[face] === this.track?.number ? 2 : 1;
    for (const [indices, colour] of this.clip.contours) {
      context.strokeStyle = colour;
      context.beginPath();
      indices.forEach((k, number) => context[number ? "lineTo" : "moveTo"](at(k, 0), at(k, 1)));
      context.stroke();
    }
  }

  // Give the mesh the expression of the chosen face, and its camera the head's rotation.
  moveMesh(position) {
    if (!this.mesh || !this.track) return;
    const { expressions, rotations, modes } = this.track, count = modes.length;
    const values = expressions.subarray(count * position, count * (position + 1));
    if (Number.isNaN(values[0])) return;
    this.mesh.trigger("modes", Object.fromEntries(modes.map((mode, k) => [mode, values[k]])));
    if (!this.model.get("turn")) return;
    const rotation = Array.from(rotations.subarray(9 * position, 9 * position + 9));
    this.mesh.set("camera", { ...this.mesh.get("camera"), rotation });
  }

  close() {
    this.closed = true;
    this.model.off("msg:custom", this.onMessage);
    this.model.off("change:position", this.onPosition);
    this.model.off("change:playing", this.onPlaying);
    this.model.off("change:turn change:outline", this.onLook);
  }
}

export default {
  async render({ model, el }) {
    await keepListening(model);
    const player = new Player(model, el);
    return () => player.close();
  },
};
