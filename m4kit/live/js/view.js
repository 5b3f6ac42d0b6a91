// The 3D view as a widget: its elements, its camera, and the messages of the kernel (`canvas.py` sends them).
//
// The camera lives here, so turning a face needs no kernel; the kernel learns of it when the user lets go.

const LOOKS = ["show", "opacity", "shading", "height", "extent", "centre", "label"];

const HELP = window.matchMedia("(pointer: coarse)").matches
  ? "Drag: turn. Two fingers: move and zoom."
  : "Drag: turn. Shift and drag: move. Click, then wheel: zoom.";
const KEYS = "Arrow keys turn, plus and minus zoom, 0 resets.";
const NO_WEBGL = "This browser offers no WebGL 2, so here is a still picture. Try another browser, or allow it to use hardware acceleration.";

const STYLES = {
  view: "position: relative; width: 100%; overflow: hidden; font: 13px var(--jp-ui-font-family, sans-serif); color: var(--jp-ui-font-color1, #333)",
  canvas: "width: 100%; height: 100%; display: block; touch-action: none; outline-offset: -2px",
  titles: "position: absolute; inset: 0; pointer-events: none; display: flex",
  // Readable on a photo, too.
  title: "flex: 1; text-align: center; padding: 4px; text-shadow: 0 0 3px var(--jp-layout-color0, #fff), 0 0 3px var(--jp-layout-color0, #fff), 0 0 5px var(--jp-layout-color0, #fff)",
  // On the page's colour, so that it can be read on a photo.
  help: "position: absolute; bottom: 2px; left: 50%; transform: translateX(-50%); width: max-content; max-width: calc(100% - 16px); padding: 0 8px; border-radius: 4px; pointer-events: none; text-align: center; font-size: 12px; background: var(--jp-layout-color0, #fff); color: var(--jp-ui-font-color2, #666)",
  swing: "position: absolute; inset: 4px 8px auto auto; pointer-events: none; font-variant-numeric: tabular-nums",
  noWebgl: "margin: 4px; color: var(--jp-warn-color0, #a60)",
  still: "max-width: 100%; max-height: calc(100% - 3em); display: block; margin: auto",
};

function element(name, style, text = "") {
  const made = document.createElement(name);
  made.style.cssText = style;
  made.textContent = text;
  return made;
}

class View {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.canvas = element("canvas", STYLES.canvas);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "3D view");
    this.titles = element("div", STYLES.titles);
    this.help = element("div", STYLES.help, HELP);
    // How far a swinging mesh is from its middle.
    this.swing = element("div", STYLES.swing);
    el.style.cssText = STYLES.view;
    el.append(this.canvas, this.titles, this.help, this.swing);
    this.announce();
    this.gl = this.canvas.getContext("webgl2", { antialias: false, alpha: true });
    if (!this.gl) return this.showStill();
    this.start();
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => { this.start(); model.send({ kind: "ready" }); });
    this.listen();
    model.send({ kind: "ready" });
  }

  start() {
    this.renderer = new Renderer(this.gl);
    this.panels = [new Panel(this.gl)];
    this.over = false;
    this.camera = { ...this.model.get("camera") };
  }

  // Without WebGL 2.
  showStill() {
    const still = element("img", STYLES.still);
    still.alt = this.model.get("label");
    this.el.replaceChildren(element("p", STYLES.noWebgl, NO_WEBGL), still);
    this.model.on("msg:custom", this.onMessage = (content, buffers) => {
      if (content.kind === "still") still.src = URL.createObjectURL(new Blob([bytesOf(buffers[0])]));
    });
    this.model.send({ kind: "no webgl" });
  }

  listen() {
    const { model } = this;
    model.on("msg:custom", this.onMessage = (content, buffers) => this.receive(content, buffers));
    this.onCamera = () => { this.camera = { ...model.get("camera") }; this.redraw(); };
    model.on("change:camera", this.onCamera);
    this.onLook = () => { this.announce(); this.redraw(); };
    for (const name of LOOKS) model.on(`change:${name}`, this.onLook);
    model.on("modes", this.onModes = (values) => this.slideAll(values));
    this.observer = new ResizeObserver(this.onLook);
    this.observer.observe(this.el);
    this.followSliders().catch((error) => console.warn("m4kit: the mesh waits for the kernel:", error));
    listenToGestures(this.canvas, {
      turn: (across, down) => this.move({ rotation: turned(this.camera.rotation, across, down) }),
      pan: (dx, dy) => {
        const size = this.millimetres(), [x, y] = this.camera.pan;
        this.move({ pan: [x + dx * size, y - dy * size] });
      },
      zoom: (factor) => {
        this.move({ zoom: Math.min(Math.max(this.camera.zoom * factor, 0.2), 20) });
        clearTimeout(this.telling);
        this.telling = setTimeout(() => this.tellCamera(), 200);
      },
      click: (event) => this.click(event),
      reset: () => model.send({ kind: "reset" }),
      touched: () => this.help.remove(),
      released: () => this.tellCamera(),
    });
  }

  // In notebooks whose models cannot be reached, the mesh waits for the kernel.
  async followSliders() {
    this.unfollow = [];
    for (const [id, mode] of Object.entries(this.model.get("sliders"))) {
      const slider = await this.model.widget_manager?.get_model?.(id);
      if (!slider || this.closed) return;
      // What the kernel sets, under its lock, it also sends as vertices.
      const moved = () => {
        if (slider._state_lock) delete this.panels[0].ahead[mode];
        else this.slide(mode, slider.get("value"));
      };
      slider.on("change:value", moved);
      this.unfollow.push(() => slider.off("change:value", moved));
    }
  }

  // The user moves a mode's slider: the mesh follows at once, without the kernel, as soon as the mode is here.
  slide(mode, value) {
    this.slideAll({ [mode]: value });
  }

  // The same for several modes at once, as a video has them.
  slideAll(values) {
    const [panel] = this.panels;
    if (panel.morph) return;
    let moved = false;
    for (const [mode, value] of Object.entries(values)) {
      if (!(mode in panel.at)) continue;
      if (!(mode in panel.modes)) {
        panel.modes[mode] = null;
        this.model.send({ kind: "mode", mode: Number(mode) });
      }
      if (!panel.modes[mode]) continue;
      panel.ahead[mode] = value;
      moved = true;
      this.serial = `${parseInt(this.serial)}+${value}`;
    }
    if (!moved) return;
    panel.follow();
    this.redraw();
  }

  move(change) {
    Object.assign(this.camera, change);
    this.redraw();
  }

  tellCamera() {
    this.model.set("camera", { ...this.camera });
    this.model.save_changes();
  }

  // Panels side by side.
  columns() {
    return this.over ? 1 : this.panels.length;
  }

  // Millimetres from the middle to the upper edge; more in a narrow panel, or ears would be cut off.
  extent() {
    const tall = this.el.clientHeight / (this.el.clientWidth / this.columns());
    return (this.model.get("extent") * Math.max(1, 0.8 * tall)) / this.camera.zoom;
  }

  // Millimetres per CSS pixel.
  millimetres() {
    return (2 * this.extent()) / this.el.clientHeight;
  }

  click(event) {
    const box = this.canvas.getBoundingClientRect(), width = box.width / this.columns();
    const number = Math.min(Math.floor((event.clientX - box.left) / width), this.columns() - 1);
    if (!this.panels[number]) return;
    const size = this.millimetres();
    const x = (event.clientX - box.left - (number + 0.5) * width) * size - this.camera.pan[0];
    const y = (box.top + box.height / 2 - event.clientY) * size - this.camera.pan[1];
    const { rotation } = this.camera, centre = this.model.get("centre");
    const [across, up] = [0, 1].map((row) => centre.reduce((sum, value, k) => sum + rotation[3 * row + k] * value, 0));
    const vertex = vertexAt(x + across, y + up, this.panels[number], rotation);
    this.model.send({ kind: "clicked", panel: number, vertex });
  }

  receive(content, buffers) {
    while (this.panels.length <= (content.panel ?? 0)) this.panels.push(new Panel(this.gl));
    const panel = this.panels[content.panel ?? 0];
    switch (content.kind) {
      case "panels":
        this.setPanels(content);
        break;
      case "triangles":
        // In parts, so that no message is large.
        if (content.first === 0) panel.arriving = new Uint32Array(content.total);
        panel.arriving.set(new Uint16Array(alignedCopy(buffers[0])), content.first);
        if (content.first + buffers[0].byteLength / 2 === content.total) panel.setTriangles(panel.arriving, content.closed);
        break;
      case "vertices":
        this.serial = content.serial;
        if (!panel.setVertices(unquantised(buffers[0], content), content.at)) {
          this.canvas.dataset.serial = this.serial;
          return;
        }
        break;
      case "mode":
        panel.modes[content.mode] = unquantised(buffers[0], content);
        return;
      case "morph":
        panel.setMorph(buffers.length ? unquantised(buffers[0], content) : null, content.reach);
        break;
      case "colours":
        panel.setColours(bytesOf(buffers[0]));
        break;
      case "lines":
      case "points":
        panel.setMarks(content.kind, content, ...buffers);
        break;
      case "photo":
        createImageBitmap(new Blob([bytesOf(buffers[0])])).then((picture) => { panel.setPhoto(picture); this.redraw(); });
        break;
      case "photo corners":
        panel.setPhotoCorners(content.corners);
        break;
    }
    this.redraw();
  }

  setPanels({ count, titles, over }) {
    this.panels.length = Math.min(this.panels.length, count);
    while (this.panels.length < count) this.panels.push(new Panel(this.gl));
    this.over = over && count === 2;
    const shown = this.over ? [titles.join(" and ")] : titles;
    this.titles.replaceChildren(...shown.map((title) => element("div", STYLES.title, title)));
  }

  announce() {
    this.el.style.height = `${this.model.get("height")}px`;
    this.canvas.setAttribute("aria-label", `${this.model.get("label")}. ${KEYS}`);
  }

  redraw() {
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      // Before it has its place in the page, a view has no size; the observer calls again.
      if (this.gl.isContextLost() || !this.el.clientWidth) return;
      // What is missing calls again; until then the picture stays.
      if (!this.panels.every((panel) => panel.whole)) return;
      const swinging = this.panels.filter((panel) => panel.morph);
      for (const panel of swinging) this.canvas.dataset.swing = panel.swing(now).toFixed(2);
      this.swing.textContent = swinging.length ? `${this.canvas.dataset.swing.replace("-", "\u2212")} standard deviations` : "";
      this.renderer.draw(this.scene());
      // For tests and measurements: how often it was drawn, and which vertices.
      this.canvas.dataset.drawn = Number(this.canvas.dataset.drawn ?? 0) + 1;
      if (this.serial !== undefined) this.canvas.dataset.serial = this.serial;
      if (swinging.length) this.redraw();
    });
  }

  scene() {
    const looks = Object.fromEntries(["show", "opacity", "shading", "centre", "light"].map((name) => [name, this.model.get(name)]));
    const ink = getComputedStyle(this.el).color.match(/[\d.]+/g).slice(0, 3);
    const { panels, over, camera } = this;
    return { ...looks, panels, over, camera, ink, extent: this.extent(), reach: 20 * this.model.get("extent") };
  }

  close() {
    this.closed = true;
    this.observer?.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.telling);
    this.renderer?.stop();
    this.model.off("msg:custom", this.onMessage);
    for (const stop of this.unfollow ?? []) stop();
    if (this.onCamera) this.model.off("change:camera", this.onCamera);
    if (this.onModes) this.model.off("modes", this.onModes);
    if (this.onLook) for (const name of LOOKS) this.model.off(`change:${name}`, this.onLook);
    // Browsers keep only about sixteen contexts alive.
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

export default {
  async render({ model, el }) {
    await keepListening(model);
    const view = new View(model, el);
    return () => view.close();
  },
};
