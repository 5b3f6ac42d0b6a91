// The heat map and the scatter of the scene explorer. The kernel sends what is to be seen; a click on a cell or a point,
// and the points in a lasso, are told to the kernel.

const STYLE = `
.m4kit-chart { font: 13px/1.35 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #1f2328); }
.m4kit-chart table { border-collapse: separate; border-spacing: 3px; font-variant-numeric: tabular-nums; }
.m4kit-chart caption { text-align: left; font-weight: 600; padding: 0 0 6px 3px; }
.m4kit-chart th { font-weight: 400; color: var(--jp-ui-font-color2, #57606a); padding: 2px 8px; text-align: right; }
.m4kit-chart thead th { text-align: center; }
.m4kit-chart td { min-width: 74px; padding: 6px 8px; text-align: center; border-radius: 6px; }
.m4kit-chart td[data-cell] { cursor: pointer; font-weight: 600; }
.m4kit-chart td small { display: block; font-weight: 400; font-size: 11px; opacity: 0.85; }
.m4kit-chart td[data-cell]:hover, .m4kit-chart td:focus-visible { outline: 2px solid #1976d2; outline-offset: 1px; }
.m4kit-chart .plot { position: relative; max-width: 860px; }
.m4kit-chart canvas { display: block; width: 100%; touch-action: none; cursor: crosshair; }
.m4kit-chart .legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 4px 0 0 56px; font-size: 12px; }
.m4kit-chart .legend i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 5px; }
.m4kit-chart .tip { position: absolute; pointer-events: none; background: #24292f; color: #fff; border-radius: 5px;
  padding: 2px 7px; font-size: 12px; white-space: nowrap; }
`;
const HEIGHT = 420, LEFT = 60, RIGHT = 12, TOP = 10, BOTTOM = 40;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function heat(root, message, tell) {
  const table = element("table");
  table.append(element("caption", message.title));
  const head = table.createTHead().insertRow();
  head.append(element("th", ""), ...message.columns.map((name) => element("th", name)));
  const body = table.createTBody();
  message.rows.forEach((name, row) => {
    const line = body.insertRow();
    line.append(element("th", name));
    message.cells[row].forEach((cell, column) => {
      const place = line.insertCell();
      if (!cell) return;
      place.append(cell.text, element("small", cell.small));
      place.title = cell.title;
      place.style.background = cell.colour;
      place.style.color = cell.ink;
      place.dataset.cell = `${name} ${message.columns[column]}`;
      place.tabIndex = 0;
      const choose = () => tell({ kind: "cell", row, column });
      place.addEventListener("click", choose);
      place.addEventListener("keydown", (event) => event.key === "Enter" && choose());
    });
  });
  const scroll = element("div");
  scroll.style.overflowX = "auto";
  scroll.append(table);
  root.replaceChildren(scroll);
  return () => {};
}

function ticks(low, high) {
  const rough = (high - low) / 6, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(10)));
  return found;
}

function inside(polygon, x, y) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i], [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

function scatter(root, message, tell, buffers) {
  const floats = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  const xs = floats(buffers[0]), ys = floats(buffers[1]), groups = new Uint8Array(buffers[2].buffer.slice(buffers[2].byteOffset, buffers[2].byteOffset + buffers[2].byteLength));
  const plot = element("div", undefined, "plot"), canvas = element("canvas"), tip = element("div", "", "tip");
  tip.hidden = true;
  plot.append(canvas, tip);
  const legend = element("div", undefined, "legend");
  for (const { name, colour } of message.groups) {
    const entry = element("span"), dot = element("i");
    dot.style.background = colour;
    entry.append(dot, name);
    legend.append(entry);
  }
  root.replaceChildren(plot, legend);
  const ends = (values) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    if (!(low <= high)) return [0, 1];
    const margin = 0.04 * (high - low) || 0.5;
    return [low - margin, high + margin];
  };
  const [left, right] = ends(xs), [bottom, top] = ends(ys);
  let width = 0, lasso = [], chosen = new Set();
  const px = (x) => LEFT + ((x - left) / (right - left)) * (width - LEFT - RIGHT);
  const py = (y) => HEIGHT - BOTTOM - ((y - bottom) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
  const draw = () => {
    const ratio = window.devicePixelRatio || 1;
    width = plot.clientWidth || 640;
    canvas.width = width * ratio;
    canvas.height = HEIGHT * ratio;
    canvas.style.height = `${HEIGHT}px`;
    const ink = getComputedStyle(plot).color, pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "12px system-ui, sans-serif";
    pen.strokeStyle = pen.fillStyle = ink;
    pen.lineWidth = 1;
    pen.textAlign = "center";
    for (const x of ticks(left, right)) {
      pen.globalAlpha = 0.12;
      pen.beginPath(); pen.moveTo(px(x), TOP); pen.lineTo(px(x), HEIGHT - BOTTOM); pen.stroke();
      pen.globalAlpha = 0.75;
      pen.fillText(String(x), px(x), HEIGHT - BOTTOM + 15);
    }
    pen.textAlign = "right";
    for (const y of ticks(bottom, top)) {
      pen.globalAlpha = 0.12;
      pen.beginPath(); pen.moveTo(LEFT, py(y)); pen.lineTo(width - RIGHT, py(y)); pen.stroke();
      pen.globalAlpha = 0.75;
      pen.fillText(String(y), LEFT - 6, py(y) + 4);
    }
    pen.textAlign = "center";
    pen.globalAlpha = 1;
    pen.fillText(message.across, (LEFT + width - RIGHT) / 2, HEIGHT - 6);
    pen.save();
    pen.translate(13, (TOP + HEIGHT - BOTTOM) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(message.up, 0, 0);
    pen.restore();
    for (let k = 0; k < xs.length; k++) {
      pen.globalAlpha = chosen.size && !chosen.has(k) ? 0.15 : 0.75;
      pen.fillStyle = message.groups[groups[k]].colour;
      pen.beginPath(); pen.arc(px(xs[k]), py(ys[k]), 4, 0, 2 * Math.PI); pen.fill();
    }
    if (lasso.length > 1) {
      pen.globalAlpha = 1;
      pen.strokeStyle = "#1976d2";
      pen.setLineDash([5, 4]);
      pen.beginPath();
      lasso.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.closePath(); pen.stroke();
    }
    canvas.dataset.drawn = String(1 + Number(canvas.dataset.drawn || 0));
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const nearest = (x, y) => {
    let best = -1, least = 100;
    for (let k = 0; k < xs.length; k++) {
      const apart = (px(xs[k]) - x) ** 2 + (py(ys[k]) - y) ** 2;
      if (apart < least) { least = apart; best = k; }
    }
    return best;
  };
  let down = false;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    down = true;
    canvas.setPointerCapture(event.pointerId);
    lasso = [at(event)];
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (down) { lasso.push([x, y]); draw(); return; }
    const point = nearest(x, y);
    tip.hidden = point < 0;
    if (point >= 0) {
      tip.textContent = `${message.groups[groups[point]].name}: ${xs[point].toPrecision(3)}, ${ys[point].toPrecision(3)}`;
      tip.style.left = `${Math.min(x + 12, width - 150)}px`;
      tip.style.top = `${y - 26}px`;
    }
  });
  canvas.addEventListener("pointercancel", () => { down = false; lasso = []; draw(); });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("pointerup", (event) => {
    if (!down) return;
    down = false;
    const reach = Math.max(...lasso.map(([x, y]) => Math.hypot(x - lasso[0][0], y - lasso[0][1])));
    if (reach < 6) {
      const point = nearest(...at(event));
      lasso = [];
      chosen = new Set();
      draw();
      tell(point < 0 ? { kind: "lasso", points: [] } : { kind: "point", point });
      return;
    }
    const points = [];
    for (let k = 0; k < xs.length; k++) if (inside(lasso, px(xs[k]), py(ys[k]))) points.push(k);
    chosen = new Set(points);
    draw();
    tell({ kind: "lasso", points });
  });
  const watch = new ResizeObserver(draw);
  watch.observe(plot);
  draw();
  return () => watch.disconnect();
}

async function render({ model, el }) {
  await keepListening(model);
  const style = element("style", STYLE), root = element("div", undefined, "m4kit-chart");
  el.append(style, root);
  let stop = () => {};
  const show = (message, buffers) => {
    // Said again for another view of the same chart.
    if (root.dataset.serial === String(message.serial)) return;
    stop();
    stop = { heat, scatter }[message.kind](root, message, (words) => model.send(words), buffers);
    root.dataset.serial = message.serial;
  };
  model.on("msg:custom", show);
  model.send({ kind: "ready" });
  return () => { stop(); model.off("msg:custom", show); };
}

export default { render };
