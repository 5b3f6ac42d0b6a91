// The live 3D view of m4kit's explorers, in plain WebGL 2.
//
// The kernel says what is to be seen, in messages with binary buffers (canvas.py lists them). The camera lives
// here, so turning a face needs no kernel; it is told to the kernel when the hand lets go.

const LIGHTING = `
uniform vec3 keyDirection, keyColour, fillDirection, fillColour, sky, ground;
uniform float softness, gloss;
// As m4kit.light.shade, but for the hollows.
vec3 received(vec3 n) {
  vec2 towards = vec2(dot(n, keyDirection), dot(n, fillDirection));
  towards = (towards + sqrt(towards * towards + softness * softness)) / 2.0;
  float up = 0.5 + 0.5 * n.y;
  return towards.x * keyColour + towards.y * fillColour + up * sky + (1.0 - up) * ground;
}
vec3 encoded(vec3 light) { return pow(clamp(light, 0.0, 1.0), vec3(1.0 / 2.2)); }
vec3 lit(vec3 n, vec3 albedo) {
  vec3 halfway = normalize(keyDirection + vec3(0, 0, 1));
  vec3 shine = pow(max(dot(n, halfway), 0.0), 18.0) * gloss * keyColour;
  return encoded(received(n) * albedo + shine);
}`;

const PLACING = `
uniform mat3 rotation;
uniform vec3 centre;
uniform vec2 pan, scale;
uniform float reach, lift;
vec4 placed(vec3 p) {
  vec3 v = rotation * (p - centre);
  return vec4((v.xy + pan) * scale, -(v.z + lift) / reach, 1.0);
}`;

const PROGRAMS = {
  // Lit at the vertices: they lie so dense that their triangles have only a few pixels each.
  mesh: [
    `${PLACING}${LIGHTING}
    layout(location = 0) in vec3 position;
    layout(location = 1) in vec3 normal;
    layout(location = 2) in vec3 colour;
    uniform float shading;
    out vec3 outside, inside;
    void main() {
      gl_Position = placed(position);
      vec3 n = rotation * normal;
      outside = mix(colour, lit(n, pow(colour, vec3(2.2))), shading);
      // The inside of a face is no skin: it shows as a plain dim shell. Not so in the slivers along an outline,
      // which would be dark dots.
      inside = mix(outside, 0.6 * encoded(0.35 * received(-n)), clamp(-3.0 * n.z, 0.0, 1.0));
    }`,
    `in vec3 outside, inside;
    uniform float opacity;
    out vec4 result;
    void main() { result = vec4(gl_FrontFacing ? outside : inside, opacity); }`,
  ],
  edges: [
    `${PLACING}
    layout(location = 0) in vec3 position;
    void main() { gl_Position = placed(position); }`,
    `uniform vec4 ink;
    out vec4 result;
    void main() { result = ink; }`,
  ],
  lines: [
    `${PLACING}
    layout(location = 0) in vec3 from;
    layout(location = 1) in vec3 to;
    layout(location = 2) in vec3 colour;
    uniform vec2 pixel;
    uniform float width;
    out vec3 ink;
    void main() {
      vec4 a = placed(from), b = placed(to);
      vec2 along = (b.xy - a.xy) / pixel;
      float length_ = length(along);
      along = length_ > 1e-4 ? along / length_ : vec2(1, 0);
      vec2 across = vec2(-along.y, along.x) * (gl_VertexID % 2 == 0 ? 1.0 : -1.0);
      vec4 end = gl_VertexID < 2 ? a : b;
      vec2 cap = along * (gl_VertexID < 2 ? -0.5 : 0.5);
      gl_Position = end + vec4((across + cap) * width * pixel, 0, 0);
      ink = colour;
    }`,
    `in vec3 ink;
    uniform float opacity;
    out vec4 result;
    void main() { result = vec4(ink, opacity); }`,
  ],
  points: [
    `${PLACING}
    layout(location = 0) in vec3 position;
    layout(location = 1) in vec3 colour;
    uniform float width;
    out vec3 ink;
    void main() {
      gl_Position = placed(position);
      gl_PointSize = width;
      ink = colour;
    }`,
    `in vec3 ink;
    uniform float opacity, width;
    out vec4 result;
    void main() {
      float r = length(gl_PointCoord - 0.5) * width;
      float inside = clamp(width / 2.0 - r, 0.0, 1.0);
      float core = clamp(width * 0.36 - r, 0.0, 1.0);
      result = vec4(mix(vec3(1), ink, core), inside * opacity);
    }`,
  ],
  photo: [
    `${PLACING}
    layout(location = 0) in vec3 position;
    layout(location = 1) in vec2 place;
    out vec2 at;
    void main() {
      gl_Position = placed(position);
      at = place;
    }`,
    `in vec2 at;
    uniform sampler2D picture;
    out vec4 result;
    void main() { result = vec4(texture(picture, at).rgb, 1); }`,
  ],
};

const LOOKS = ["show", "opacity", "shading", "height", "extent", "label"];

const HELP = "Drag: turn. Shift and drag: move. Click, then wheel: zoom.";
const KEYS = "Arrow keys turn, plus and minus zoom, 0 resets.";

// How opaque the second mesh is where it lies over the first.
const OVER = 0.4;

// Smooth frames that are timed, and the milliseconds above which they are for a resting view alone.
const SMOOTH_TRIES = 3;
const SMOOTH_LIMIT = 12;
// Millimetres by which a vertex may be off without a new drawing.
const SAME = 0.02;
// Milliseconds without a movement after which a view rests.
const REST = 250;

function compiled(gl, [vertex, fragment]) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, `#version 300 es\nprecision highp float;\n${source}`);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`m4kit: a shader did not build: ${gl.getProgramInfoLog(program)}`);
  }
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
    const { name } = gl.getActiveUniform(program, i);
    uniforms[name] = gl.getUniformLocation(program, name);
  }
  return { program, uniforms };
}

// Views of a message's buffer, whose start need not be aligned.
const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const alignedCopy = (view) => bytesOf(view).slice().buffer;

// Numbers that came in 16-bit steps between the ends of their box.
function unquantised(view, { low, step }) {
  const quantised = new Uint16Array(alignedCopy(view)), numbers = new Float32Array(quantised.length);
  for (let i = 0; i < numbers.length; i++) numbers[i] = low[i % 3] + step[i % 3] * quantised[i];
  return numbers;
}

function normalsOf(vertices, triangles, normals) {
  normals.fill(0);
  for (let t = 0; t < triangles.length; t += 3) {
    const a = 3 * triangles[t], b = 3 * triangles[t + 1], c = 3 * triangles[t + 2];
    const ux = vertices[b] - vertices[a], uy = vertices[b + 1] - vertices[a + 1], uz = vertices[b + 2] - vertices[a + 2];
    const vx = vertices[c] - vertices[a], vy = vertices[c + 1] - vertices[a + 1], vz = vertices[c + 2] - vertices[a + 2];
    const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
    normals[a] += x; normals[a + 1] += y; normals[a + 2] += z;
    normals[b] += x; normals[b + 1] += y; normals[b + 2] += z;
    normals[c] += x; normals[c + 1] += y; normals[c + 2] += z;
  }
  for (let i = 0; i < normals.length; i += 3) {
    const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
    normals[i] /= length; normals[i + 1] /= length; normals[i + 2] /= length;
  }
}

function edgesOf(triangles) {
  const edges = [], ways = new Set(), way = (from, to) => from * 65536 + to;
  for (let t = 0; t < triangles.length; t += 3) {
    for (let k = 0; k < 3; k++) ways.add(way(triangles[t + k], triangles[t + ((k + 1) % 3)]));
  }
  for (let t = 0; t < triangles.length; t += 3) {
    for (let k = 0; k < 3; k++) {
      const a = triangles[t + k], b = triangles[t + ((k + 1) % 3)];
      // Two triangles share an edge and run along it in opposite directions; at the border there is one.
      if (a < b || !ways.has(way(b, a))) edges.push(a, b);
    }
  }
  return new Uint32Array(edges);
}

// 3x3 matrices are lists of nine numbers, row by row.
function product(a, b) {
  const result = new Array(9).fill(0);
  for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) for (let k = 0; k < 3; k++) {
    result[3 * i + j] += a[3 * i + k] * b[3 * k + j];
  }
  return result;
}

function turned(rotation, across, down) {
  const [cy, sy, cx, sx] = [Math.cos(across), Math.sin(across), Math.cos(down), Math.sin(down)];
  const aboutUp = [cy, 0, sy, 0, 1, 0, -sy, 0, cy];
  const aboutSide = [1, 0, 0, 0, cx, -sx, 0, sx, cx];
  const m = product(product(aboutSide, aboutUp), rotation);
  // Rounding adds up over a long drag: make the rows orthonormal again.
  const unit = (v) => { const l = Math.hypot(...v); return v.map((x) => x / l); };
  const x = unit(m.slice(0, 3));
  const dot = x[0] * m[3] + x[1] * m[4] + x[2] * m[5];
  const y = unit([m[3] - dot * x[0], m[4] - dot * x[1], m[5] - dot * x[2]]);
  return [...x, ...y, x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]];
}

class Panel {
  constructor(gl) {
    this.gl = gl;
    this.lines = {};
    this.points = {};
    // Displacements by mode; the values that the kernel's vertices have of those that sliders move; and what a hand
    // has moved them to since.
    this.modes = {};
    this.at = {};
    this.ahead = {};
    this.centre = [0, 0, 0];
  }

  buffer(name, data, target = this.gl.ARRAY_BUFFER) {
    const { gl } = this;
    this[name] ??= gl.createBuffer();
    gl.bindBuffer(target, this[name]);
    gl.bufferData(target, data, gl.DYNAMIC_DRAW);
  }

  setTriangles(triangles) {
    this.triangles = triangles;
    this.edgeCount = null;
    this.buffer("indices", triangles, this.gl.ELEMENT_ARRAY_BUFFER);
    if (this.vertices) this.moved();
  }

  // What the kernel says; whether anything is to be seen of it that was not seen before.
  setVertices(told, at) {
    if (this.vertices?.length !== told.length) {
      this.vertices = new Float32Array(told.length);
      this.normals = new Float32Array(told.length);
    }
    for (const mode of Object.keys(this.ahead)) if (!(mode in at) || this.ahead[mode] === at[mode]) delete this.ahead[mode];
    const known = !this.morph && this.positionBuffer && !Object.keys(this.ahead).length
      && told.every((place, i) => Math.abs(place - this.vertices[i]) < SAME);
    Object.assign(this, { told, at, morph: null });
    if (!known) this.follow();
    return !known;
  }

  // The kernel's vertices, and what hands have moved since.
  follow() {
    this.vertices.set(this.told);
    for (const [mode, value] of Object.entries(this.ahead)) {
      const by = value - this.at[mode], displacement = this.modes[mode];
      for (let i = 0; i < displacement.length; i++) this.vertices[i] += by * displacement[i];
    }
    this.moved();
  }

  moved() {
    if (!this.triangles) return;
    const vertices = this.morph ? this.morph.vertices : this.vertices;
    normalsOf(vertices, this.triangles, this.normals);
    this.buffer("positionBuffer", vertices);
    this.buffer("normalBuffer", this.normals);
  }

  // The mesh swings along a displacement, up to `reach` times of it to either side.
  setMorph(displacement, reach) {
    this.morph = displacement && { displacement, reach, vertices: new Float32Array(this.vertices), began: performance.now() };
    this.moved();
  }

  swing(now) {
    const { displacement, reach, vertices, began } = this.morph;
    const amount = reach * Math.sin((now - began) / 600);
    for (let i = 0; i < vertices.length; i++) vertices[i] = this.vertices[i] + amount * displacement[i];
    this.moved();
    return amount;
  }

  edges() {
    if (this.edgeCount === null) {
      const edges = edgesOf(this.triangles);
      this.edgeCount = edges.length;
      this.buffer("edgeIndices", edges, this.gl.ELEMENT_ARRAY_BUFFER);
    }
    return this.edgeCount;
  }

  // The vertex nearest to a place in the view (mm), among those of the triangle in front there.
  vertexAt(x, y, rotation) {
    const { vertices, triangles, centre } = this;
    if (!vertices || !triangles) return null;
    const seen = new Float32Array(vertices.length);
    for (let i = 0; i < vertices.length; i += 3) {
      const p = [vertices[i] - centre[0], vertices[i + 1] - centre[1], vertices[i + 2] - centre[2]];
      for (let k = 0; k < 3; k++) {
        seen[i + k] = rotation[3 * k] * p[0] + rotation[3 * k + 1] * p[1] + rotation[3 * k + 2] * p[2];
      }
    }
    let best = null, front = -Infinity;
    for (let t = 0; t < triangles.length; t += 3) {
      const corners = [triangles[t], triangles[t + 1], triangles[t + 2]];
      const [a, b, c] = corners.map((v) => 3 * v);
      const area = (seen[b] - seen[a]) * (seen[c + 1] - seen[a + 1]) - (seen[c] - seen[a]) * (seen[b + 1] - seen[a + 1]);
      // Seen from behind.
      if (area <= 0) continue;
      const v = ((x - seen[a]) * (seen[c + 1] - seen[a + 1]) - (seen[c] - seen[a]) * (y - seen[a + 1])) / area;
      const w = ((seen[b] - seen[a]) * (y - seen[a + 1]) - (x - seen[a]) * (seen[b + 1] - seen[a + 1])) / area;
      if (v < 0 || w < 0 || v + w > 1) continue;
      const z = (1 - v - w) * seen[a + 2] + v * seen[b + 2] + w * seen[c + 2];
      if (z > front) {
        front = z;
        const shares = [1 - v - w, v, w];
        best = corners[shares.indexOf(Math.max(...shares))];
      }
    }
    return best;
  }
}

// What is drawn here goes to the canvas with its edges smoothed (multisampling).
class SmoothTarget {
  constructor(gl) {
    this.gl = gl;
    [this.frame, this.colour, this.depth] = [gl.createFramebuffer(), gl.createRenderbuffer(), gl.createRenderbuffer()];
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    for (const [buffer, place] of [[this.colour, gl.COLOR_ATTACHMENT0], [this.depth, gl.DEPTH_ATTACHMENT]]) {
      gl.bindRenderbuffer(gl.RENDERBUFFER, buffer);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, place, gl.RENDERBUFFER, buffer);
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  draw(width, height, draw) {
    const { gl } = this;
    if (this.size !== `${width} ${height}`) {
      this.size = `${width} ${height}`;
      for (const [buffer, format] of [[this.colour, gl.RGBA8], [this.depth, gl.DEPTH_COMPONENT24]]) {
        gl.bindRenderbuffer(gl.RENDERBUFFER, buffer);
        gl.renderbufferStorageMultisample(gl.RENDERBUFFER, 4, format, width, height);
      }
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    draw();
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
    gl.disable(gl.SCISSOR_TEST);
    gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
    gl.enable(gl.SCISSOR_TEST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }
}

class View {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "3D view");
    this.canvas.style.cssText = "width: 100%; height: 100%; display: block; touch-action: none; outline-offset: -2px";
    this.titles = document.createElement("div");
    this.titles.style.cssText = "position: absolute; inset: 0; pointer-events: none; display: flex";
    // How to move, until the first hand does.
    this.help = document.createElement("div");
    this.help.textContent = HELP;
    // On the page's colour, or nobody could read it on a photo.
    this.help.style.cssText = "position: absolute; bottom: 2px; left: 50%; transform: translateX(-50%); width: max-content; max-width: calc(100% - 16px); padding: 0 8px; border-radius: 4px; pointer-events: none; text-align: center; font-size: 12px; background: var(--jp-layout-color0, #fff); color: var(--jp-ui-font-color2, #666)";
    // How far a swinging mesh is from its middle.
    this.swing = document.createElement("div");
    this.swing.style.cssText = "position: absolute; inset: 4px 8px auto auto; pointer-events: none; font-variant-numeric: tabular-nums";
    el.style.cssText = "position: relative; width: 100%; overflow: hidden; font: 13px var(--jp-ui-font-family, sans-serif); color: var(--jp-ui-font-color1, #333)";
    el.append(this.canvas, this.titles, this.help, this.swing);
    this.announce();
    this.gl = this.canvas.getContext("webgl2", { antialias: false, alpha: true });
    if (!this.gl) return this.apologise();
    this.start();
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => { this.start(); model.send({ kind: "ready" }); });
    this.listen();
    model.send({ kind: "ready" });
  }

  start() {
    const { gl } = this;
    this.programs = Object.fromEntries(Object.entries(PROGRAMS).map(([name, sources]) => [name, compiled(gl, sources)]));
    this.smooth = new SmoothTarget(gl);
    this.smoothTimes = [];
    this.panels = [new Panel(gl)];
    this.over = false;
    this.camera = { ...this.model.get("camera") };
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.enable(gl.SCISSOR_TEST);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
  }

  apologise() {
    this.el.replaceChildren();
    const words = document.createElement("p");
    words.textContent = "This browser offers no WebGL 2, so here is a still picture. Try another browser, or allow it to use hardware acceleration.";
    words.style.cssText = "margin: 4px; color: var(--jp-warn-color0, #a60)";
    this.still = document.createElement("img");
    this.still.style.cssText = "max-width: 100%; max-height: calc(100% - 3em); display: block; margin: auto";
    this.still.alt = this.model.get("label");
    this.el.append(words, this.still);
    this.model.on("msg:custom", this.onMessage = (content, buffers) => {
      if (content.kind === "still") this.still.src = URL.createObjectURL(new Blob([bytesOf(buffers[0])], { type: "image/jpeg" }));
    });
    this.model.send({ kind: "no webgl" });
  }

  listen() {
    const { model, canvas } = this;
    model.on("msg:custom", this.onMessage = (content, buffers) => this.receive(content, buffers));
    this.onCamera = () => { this.camera = { ...model.get("camera") }; this.redraw(); };
    model.on("change:camera", this.onCamera);
    this.onLook = () => { this.announce(); this.redraw(); };
    for (const name of LOOKS) model.on(`change:${name}`, this.onLook);
    this.observer = new ResizeObserver(this.onLook);
    this.observer.observe(this.el);
    this.followSliders().catch((error) => console.warn("m4kit: the mesh waits for the kernel:", error));

    const pointers = new Map();
    const middle = () => {
      const all = [...pointers.values()];
      const x = all.reduce((sum, one) => sum + one.x, 0) / all.length, y = all.reduce((sum, one) => sum + one.y, 0) / all.length;
      return { x, y, spread: all.length > 1 ? Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) : 0 };
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      this.drag = { ...middle(), far: pointers.size > 1 ? Infinity : 0 };
      this.awake = true;
      this.help.remove();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.drag || !pointers.has(event.pointerId)) return;
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const now = middle(), dx = now.x - this.drag.x, dy = now.y - this.drag.y;
      if (now.spread && this.drag.spread) this.zoom(now.spread / this.drag.spread);
      this.drag = { ...now, far: this.drag.far + Math.abs(dx) + Math.abs(dy) };
      if (pointers.size > 1 || event.shiftKey || event.buttons === 2) this.pan(dx, dy);
      else this.turn(dx * 0.008, dy * 0.008);
    });
    const lifted = (event) => {
      const { far } = this.drag ?? { far: Infinity };
      pointers.delete(event.pointerId);
      this.drag = pointers.size ? { ...middle(), far: Infinity } : null;
      if (this.drag) return;
      if (far < 4 && event.type === "pointerup") this.click(event);
      // A hand that clicks may turn the face a little, too.
      if (far) this.tellCamera();
    };
    canvas.addEventListener("pointerup", lifted);
    canvas.addEventListener("pointercancel", lifted);
    canvas.addEventListener("pointerleave", () => { this.awake = false; });
    // JupyterLab has a menu of its own, which only an event that it does not see keeps away.
    canvas.addEventListener("contextmenu", (event) => { event.preventDefault(); event.stopPropagation(); });
    canvas.addEventListener("dblclick", () => model.send({ kind: "reset" }));
    canvas.addEventListener("wheel", (event) => {
      // Whoever only scrolls through the notebook must not get stuck here. A pinch on a touchpad comes as ctrl.
      if (!this.awake && !event.ctrlKey) return;
      event.preventDefault();
      this.zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.002));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => this.turn(-0.1, 0), ArrowRight: () => this.turn(0.1, 0), ArrowUp: () => this.turn(0, -0.1),
      ArrowDown: () => this.turn(0, 0.1), "+": () => this.zoom(1.1), "-": () => this.zoom(1 / 1.1),
      "=": () => this.zoom(1.1), "0": () => model.send({ kind: "reset" }),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      // JupyterLab has uses for arrow keys, too.
      event.stopPropagation();
      keys[event.key]();
      if (event.key !== "0") this.tellCamera();
    });
  }

  // Where a notebook does not give its models away, the mesh waits for the kernel.
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

  // A hand moves a mode's slider: the mesh follows at once, without waiting for the kernel, once the mode is here.
  slide(mode, value) {
    const [panel] = this.panels;
    if (panel.morph || !(mode in panel.at)) return;
    if (!(mode in panel.modes)) {
      panel.modes[mode] = null;
      this.model.send({ kind: "mode", mode });
    }
    if (!panel.modes[mode]) return;
    panel.ahead[mode] = value;
    panel.follow();
    this.serial = `${parseInt(this.serial)}+${value}`;
    this.redraw();
  }

  turn(across, down) {
    this.camera.rotation = turned(this.camera.rotation, across, down);
    this.redraw();
  }

  pan(dx, dy) {
    const size = this.millimetres();
    this.camera.pan = [this.camera.pan[0] + dx * size, this.camera.pan[1] - dy * size];
    this.redraw();
  }

  zoom(factor) {
    this.camera.zoom = Math.min(Math.max(this.camera.zoom * factor, 0.2), 20);
    this.redraw();
    clearTimeout(this.telling);
    this.telling = setTimeout(() => this.tellCamera(), 200);
  }

  tellCamera() {
    this.model.set("camera", { ...this.camera });
    this.model.save_changes();
  }

  // Millimetres from the middle to the upper edge; in a narrow panel more, or ears would be cut off.
  extent() {
    const tall = this.el.clientHeight / (this.el.clientWidth / this.columns());
    return (this.model.get("extent") * Math.max(1, 0.8 * tall)) / this.camera.zoom;
  }

  // Millimetres a CSS pixel.
  millimetres() {
    return (2 * this.extent()) / this.el.clientHeight;
  }

  click(event) {
    const box = this.canvas.getBoundingClientRect();
    const width = box.width / this.columns();
    const number = Math.min(Math.floor((event.clientX - box.left) / width), this.columns() - 1);
    const size = this.millimetres();
    const x = (event.clientX - box.left - (number + 0.5) * width) * size - this.camera.pan[0];
    const y = (box.top + box.height / 2 - event.clientY) * size - this.camera.pan[1];
    if (!this.panels[number]) return;
    const vertex = this.panels[number].vertexAt(x, y, this.camera.rotation);
    this.model.send({ kind: "clicked", panel: number, vertex });
  }

  // Panels side by side.
  columns() {
    return this.over ? 1 : this.panels.length;
  }

  receive(content, buffers) {
    const { gl } = this;
    while (this.panels.length <= (content.panel ?? 0)) this.panels.push(new Panel(gl));
    const panel = this.panels[content.panel ?? 0];
    switch (content.kind) {
      case "panels":
        this.panels.length = Math.min(this.panels.length, content.count);
        while (this.panels.length < content.count) this.panels.push(new Panel(gl));
        this.over = content.over && content.count === 2;
        this.titles.replaceChildren(...content.titles.slice(0, this.columns()).map((title) => {
          const words = document.createElement("div");
          words.textContent = this.over ? content.titles.join(" and ") : title;
          words.style.cssText = "flex: 1; text-align: center; padding: 4px";
          return words;
        }));
        break;
      case "triangles": {
        // In pieces, so that no message is large.
        if (content.first === 0) panel.arriving = new Uint32Array(content.total);
        panel.arriving.set(new Uint16Array(alignedCopy(buffers[0])), content.first);
        if (content.first + buffers[0].byteLength / 2 === content.total) panel.setTriangles(panel.arriving);
        break;
      }
      case "vertices":
        panel.centre = content.centre;
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
        panel.buffer("colourBuffer", bytesOf(buffers[0]));
        break;
      case "lines":
      case "points": {
        const all = panel[content.kind];
        all[content.name] ??= { place: gl.createBuffer(), ink: gl.createBuffer() };
        const one = Object.assign(all[content.name], { count: content.count, width: content.width });
        for (const [buffer, data] of [[one.place, buffers[0]], [one.ink, buffers[1]]]) {
          gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
          gl.bufferData(gl.ARRAY_BUFFER, bytesOf(data), gl.DYNAMIC_DRAW);
        }
        break;
      }
      case "photo":
        createImageBitmap(new Blob([bytesOf(buffers[0])])).then((picture) => {
          panel.texture ??= gl.createTexture();
          gl.bindTexture(gl.TEXTURE_2D, panel.texture);
          gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
          gl.generateMipmap(gl.TEXTURE_2D);
          gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
          gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
          gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
          this.redraw();
        });
        break;
      case "photo corners":
        // Upper left, upper right, lower left, lower right; then where each lies in the picture.
        panel.buffer("photoBuffer", new Float32Array([
          ...content.corners[0], 0, 0, ...content.corners[1], 1, 0, ...content.corners[2], 0, 1, ...content.corners[3], 1, 1,
        ]));
        break;
    }
    this.redraw();
  }

  announce() {
    this.el.style.height = `${this.model.get("height")}px`;
    this.canvas.setAttribute("aria-label", `${this.model.get("label")}. ${KEYS}`);
  }

  // Only right before drawing, for it empties the canvas.
  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [this.el.clientWidth, this.el.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
  }

  redraw() {
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      // Before it has its place in the page, a view has no size; the observer calls again.
      if (this.gl.isContextLost() || !this.el.clientWidth) return;
      const swinging = this.panels.filter((panel) => panel.morph);
      for (const panel of swinging) this.canvas.dataset.swing = panel.swing(now).toFixed(2);
      this.swing.textContent = swinging.length ? `${this.canvas.dataset.swing.replace("-", "\u2212")} standard deviations` : "";
      this.draw();
      if (swinging.length) this.redraw();
    });
  }

  // Smooth edges, but where they take long, without a graphics card, only once nothing moves any more.
  draw() {
    const { gl, canvas } = this;
    this.resize();
    clearTimeout(this.resting);
    if (this.smoothTimes.length === SMOOTH_TRIES && Math.min(...this.smoothTimes) > SMOOTH_LIMIT) {
      this.drawPanels();
      this.resting = setTimeout(() => requestAnimationFrame(() => this.drawSmooth()), REST);
    } else {
      const began = performance.now();
      this.drawSmooth();
      // An empty view tells nothing.
      if (this.smoothTimes.length < SMOOTH_TRIES && this.panels.some((panel) => panel.positionBuffer)) {
        // Reading a pixel waits for the drawing.
        gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
        this.smoothTimes.push(performance.now() - began);
      }
    }
    canvas.dataset.drawn = Number(canvas.dataset.drawn ?? 0) + 1;
    if (this.serial !== undefined) canvas.dataset.serial = this.serial;
  }

  drawSmooth() {
    if (!this.gl.isContextLost()) this.smooth.draw(this.canvas.width, this.canvas.height, () => this.drawPanels());
  }

  drawPanels() {
    const { gl, canvas } = this;
    const width = Math.floor(canvas.width / this.columns());
    // All of it: there may be no panel, or a column of pixels beside them.
    gl.scissor(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    this.panels.slice(0, this.columns()).forEach((panel, number) => {
      gl.viewport(number * width, 0, width, canvas.height);
      gl.scissor(number * width, 0, width, canvas.height);
      this.drawPanel(panel, width, canvas.height);
    });
    const above = this.over && this.model.get("show").over ? this.panels[1] : null;
    if (above?.positionBuffer && above.colourBuffer) {
      gl.depthFunc(gl.LEQUAL);
      for (let location = 0; location < 3; location++) gl.disableVertexAttribArray(location);
      this.drawMesh(above, width, canvas.height, OVER);
    }
  }

  use(name, panel, width, height, lift = 0) {
    const { gl, camera } = this;
    const { program, uniforms } = this.programs[name];
    gl.useProgram(program);
    const extent = this.extent();
    gl.uniformMatrix3fv(uniforms.rotation, true, camera.rotation);
    gl.uniform3fv(uniforms.centre, panel.centre);
    gl.uniform2fv(uniforms.pan, camera.pan);
    gl.uniform2f(uniforms.scale, height / width / extent, 1 / extent);
    gl.uniform1f(uniforms.reach, 20 * this.model.get("extent"));
    gl.uniform1f(uniforms.lift, lift);
    return uniforms;
  }

  attribute(location, buffer, size, { type = this.gl.FLOAT, stride = 0, offset = 0, divisor = 0 } = {}) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, type, type === gl.UNSIGNED_BYTE, stride, offset);
    gl.vertexAttribDivisor(location, divisor);
  }

  drawPanel(panel, width, height) {
    const { gl, model } = this;
    const show = model.get("show");
    for (let location = 0; location < 3; location++) gl.disableVertexAttribArray(location);
    gl.depthFunc(gl.LEQUAL);
    if (show.photo && panel.texture && panel.photoBuffer) {
      this.use("photo", panel, width, height);
      gl.bindTexture(gl.TEXTURE_2D, panel.texture);
      this.attribute(0, panel.photoBuffer, 3, { stride: 20 });
      this.attribute(1, panel.photoBuffer, 2, { stride: 20, offset: 12 });
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    if (panel.positionBuffer && panel.colourBuffer && show.mesh) this.drawMesh(panel, width, height);
    if (panel.positionBuffer && show.wireframe) {
      const uniforms = this.use("edges", panel, width, height, 0.4);
      // On the mesh it is dark; alone, it must be seen on the page, be that light or dark.
      const ink = show.mesh ? [26, 41, 71] : getComputedStyle(this.el).color.match(/[\d.]+/g).slice(0, 3);
      gl.uniform4f(uniforms.ink, ...ink.map((value) => value / 255), show.mesh ? 0.35 : 0.6);
      this.attribute(0, panel.positionBuffer, 3);
      const count = panel.edges();
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, panel.edgeIndices);
      gl.drawElements(gl.LINES, count, gl.UNSIGNED_INT, 0);
    }
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    // What lies behind the surface shows faintly.
    for (const [depth, opacity] of [[gl.GREATER, 0.18], [gl.LEQUAL, 1]]) {
      gl.depthFunc(depth);
      gl.depthMask(depth === gl.LEQUAL);
      for (const [name, one] of Object.entries(panel.lines)) {
        if (!show[name] || !one.count) continue;
        const uniforms = this.use("lines", panel, width, height, 2.5);
        gl.uniform2f(uniforms.pixel, 2 / width, 2 / height);
        gl.uniform1f(uniforms.width, one.width * ratio);
        gl.uniform1f(uniforms.opacity, opacity);
        this.attribute(0, one.place, 3, { stride: 24, divisor: 1 });
        this.attribute(1, one.place, 3, { stride: 24, offset: 12, divisor: 1 });
        this.attribute(2, one.ink, 3, { type: gl.UNSIGNED_BYTE, divisor: 1 });
        gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, one.count);
      }
      for (const [name, one] of Object.entries(panel.points)) {
        if (!show[name] || !one.count) continue;
        const uniforms = this.use("points", panel, width, height, 3);
        gl.uniform1f(uniforms.width, one.width * ratio);
        gl.uniform1f(uniforms.opacity, opacity);
        this.attribute(0, one.place, 3);
        this.attribute(1, one.ink, 3, { type: gl.UNSIGNED_BYTE });
        gl.disableVertexAttribArray(2);
        gl.drawArrays(gl.POINTS, 0, one.count);
      }
    }
    gl.depthMask(true);
  }

  drawMesh(panel, width, height, opacity = this.model.get("opacity")) {
    const { gl, model } = this;
    const uniforms = this.use("mesh", panel, width, height);
    const light = model.get("light");
    for (const name of ["keyDirection", "keyColour", "fillDirection", "fillColour", "sky", "ground"]) {
      gl.uniform3fv(uniforms[name], light[name]);
    }
    for (const name of ["softness", "gloss"]) gl.uniform1f(uniforms[name], light[name]);
    gl.uniform1f(uniforms.opacity, opacity);
    gl.uniform1f(uniforms.shading, model.get("shading"));
    this.attribute(0, panel.positionBuffer, 3);
    this.attribute(1, panel.normalBuffer, 3);
    this.attribute(2, panel.colourBuffer, 3, { type: gl.UNSIGNED_BYTE });
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, panel.indices);
    if (opacity < 1) {
      // Depth first: of a translucent face only the nearest surface shows.
      gl.colorMask(false, false, false, false);
      gl.drawElements(gl.TRIANGLES, panel.triangles.length, gl.UNSIGNED_INT, 0);
      gl.colorMask(true, true, true, true);
    }
    gl.drawElements(gl.TRIANGLES, panel.triangles.length, gl.UNSIGNED_INT, 0);
  }

  close() {
    this.closed = true;
    this.observer?.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.telling);
    clearTimeout(this.resting);
    this.model.off("msg:custom", this.onMessage);
    for (const stop of this.unfollow ?? []) stop();
    if (this.onCamera) this.model.off("change:camera", this.onCamera);
    if (this.onLook) for (const name of LOOKS) this.model.off(`change:${name}`, this.onLook);
    // Browsers keep only some sixteen contexts alive.
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
