// Signals of a video over time, a row each, with a line at the present frame. A click goes to its moment: see
// `video_player.py`.

const LEFT = 76, ROW = 46, BOTTOM = 18;

class Timeline {
  constructor(model, el) {
    this.model = model;
    el.style.width = "100%";
    this.canvas = document.createElement("canvas");
    this.canvas.style.cssText = "display: block; width: 100%; cursor: crosshair; touch-action: none";
    this.canvas.setAttribute("role", "img");
    el.append(this.canvas);
    this.lines = document.createElement("canvas");
    model.on("msg:custom", this.onMessage = (content, buffers) => this.receive(content, buffers));
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(el);
    this.themes = new MutationObserver(() => this.layout());
    this.themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name"] });
    const seek = (event) => event.buttons && this.seek(event);
    this.canvas.addEventListener("pointerdown", (event) => { this.canvas.setPointerCapture(event.pointerId); seek(event); });
    this.canvas.addEventListener("pointermove", seek);
    this.canvas.addEventListener("pointerup", () => this.player?.save_changes());
    model.widget_manager?.get_model?.(model.get("player_id"))?.then((player) => {
      this.player = player;
      player.on("change:position", this.onPosition = () => this.draw());
      this.draw();
    });
    model.send({ kind: "ready" });
  }

  receive(content, [values]) {
    this.clip = content;
    this.values = new Float32Array(alignedCopy(values));
    this.canvas.setAttribute("aria-label", `${content.titles.join(", ")} over ${content.seconds.at(-1).toFixed(1)} seconds`);
    this.layout();
  }

  // Time in seconds to pixels.
  across(seconds) {
    const all = this.clip.seconds, width = this.canvas.clientWidth - LEFT - 8;
    return LEFT + (width * (seconds - all[0])) / Math.max(all.at(-1) - all[0], 1e-6);
  }

  seek(event) {
    if (!this.player || !this.clip) return;
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    const distances = this.clip.seconds.map((seconds) => Math.abs(this.across(seconds) - x));
    this.player.set({ playing: false, position: distances.indexOf(Math.min(...distances)) });
  }

  layout() {
    if (!this.clip || !this.canvas.clientWidth) return;
    const { titles, colours } = this.clip, scale = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth, height = ROW * titles.length + BOTTOM;
    this.canvas.style.height = `${height}px`;
    for (const canvas of [this.canvas, this.lines]) [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = this.lines.getContext("2d");
    const ink = getComputedStyle(document.body).getPropertyValue("--jp-ui-font-color1").trim() || "#333";
    context.scale(scale, scale);
    context.font = "11px system-ui, sans-serif";
    titles.forEach((title, row) => this.drawRow(context, title, row, ink, colours));
    context.fillStyle = ink;
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const [first, last] = [this.clip.seconds[0], this.clip.seconds.at(-1)], seconds = first + share * (last - first);
      context.textAlign = share === 1 ? "right" : share ? "center" : "left";
      context.fillText(`${seconds.toFixed(1)} s`, this.across(seconds), height - 4);
    }
    this.draw();
  }

  drawRow(context, title, row, ink, colours) {
    const count = this.clip.seconds.length, rows = this.clip.titles.length, top = ROW * row + 4, inner = ROW - 10;
    const series = colours.map((_, track) => this.values.subarray((track * rows + row) * count, (track * rows + row + 1) * count));
    const known = series.flatMap((values) => Array.from(values)).filter((value) => !Number.isNaN(value));
    const low = Math.min(...known, 0), high = Math.max(...known, 1);
    const y = (value) => top + inner * (1 - (value - low) / (high - low));
    context.fillStyle = ink;
    context.textAlign = "right";
    context.fillText(title, LEFT - 8, top + inner / 2 - 2);
    context.globalAlpha = 0.6;
    context.fillText(`${Math.round(low)} to ${Math.round(high)}`, LEFT - 8, top + inner / 2 + 11);
    context.globalAlpha = 0.25;
    context.fillRect(LEFT, y(0), this.canvas.clientWidth - LEFT - 8, 1);
    context.globalAlpha = 1;
    series.forEach((values, track) => {
      context.strokeStyle = colours[track];
      context.lineWidth = 1.6;
      context.beginPath();
      values.forEach((value, k) => {
        if (Number.isNaN(value)) return;
        const before = k > 0 && !Number.isNaN(values[k - 1]);
        context[before ? "lineTo" : "moveTo"](this.across(this.clip.seconds[k]), y(value));
      });
      context.stroke();
    });
  }

  draw() {
    if (!this.clip || !this.canvas.width) return;
    const context = this.canvas.getContext("2d"), scale = window.devicePixelRatio || 1;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.lines, 0, 0);
    const position = this.player?.get("position") ?? 0;
    context.fillStyle = "#d1242f";
    context.fillRect(this.across(this.clip.seconds[position]) * scale - scale, 0, 2 * scale, this.canvas.height - BOTTOM * scale);
    this.canvas.dataset.position = position;
  }

  close() {
    this.observer.disconnect();
    this.themes.disconnect();
    this.model.off("msg:custom", this.onMessage);
    this.player?.off("change:position", this.onPosition);
  }
}

export default {
  async render({ model, el }) {
    await keepListening(model);
    const timeline = new Timeline(model, el);
    return () => timeline.close();
  },
};
