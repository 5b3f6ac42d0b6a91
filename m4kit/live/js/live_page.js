// A live page: the explorers' 3D view, and the controls that need no kernel.

const AS_IN_PHOTO = "As in photo";
const FRONT = [1, 0, 0, 0, 1, 0, 0, 0, 1];
const LAYERS = {
  mesh: ["Mesh", "The face's surface"],
  head: ["Head", "The whole head, with ears, neck and teeth"],
  wireframe: ["Wireframe", "The edges of all triangles"],
  landmarks: ["Landmarks", "The 68 points"],
  contours: ["Contours", "Lines through the 68 points"],
  axes: ["Axes", "The head's own axes: x red, y green, z blue"],
  photo: ["Photo", "The photo, behind the face"],
};
const COLOUR_NAMES = {
  clay: "Clay", texture: "Texture", depth: "Depth", normals: "Normals", distance: "Distance from the mean",
  spread: "Spread of the heads", moved: "Difference", region: "Region",
};
const COLOUR_SHADING = { clay: 1, texture: 0.35 };
const GREY = [120, 128, 138];
const THUMBNAIL = 520;
const FIRST_MODES = 10;
const REACH = 3;
const STEP = 1 / 32;

const noisy = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

class LivePage {
  // `content` is the page's JSON with its models and faces decoded (`prepared`), `root` the element for all of it.
  constructor(root, content) {
    // What the page begins with.
    const { face = 0, beside = "", weights, coefficients, ...others } = content;
    Object.assign(this, others);
    this.root = root;
    this.number = 0;
    this.sent = {};
    this.sentPhotos = {};
    this.partner = String(beside);
    this.colour = content.colour ?? (this.faces[0].texture ? "texture" : "clay");
    this.show = { mesh: true, contours: true, ...content.show };
    this.model = new LiveModel({
      camera: { rotation: FRONT, zoom: 1, pan: [0, 0] }, show: {}, light: this.light, opacity: content.opacity ?? 1, shading: 1,
      extent: 120, centre: [0, 0, 0], label: "3D view", sliders: {},
      height: Math.round(Math.min(content.height ?? 460, Math.max(260, 0.6 * window.innerHeight))),
    }, (message) => this.answer(message));
    // Turned by hand, the view is no longer the photo's.
    this.model.on("change:camera", () => { if (!this.turning) this.view = null; });
    this.build();
    this.choose(face);
    if (weights) this.weigh(Float64Array.from(weights));
    if (coefficients) this.set(coefficients);
    this.look(this.start = content.view ?? "Front");
    this.model.state.label = this.label();
    CANVAS.render({ model: this.model, el: this.viewElement });
  }

  get face() {
    return this.faces[this.number];
  }

  build() {
    this.viewElement = made("div", { class: "view" });
    this.legend = made("div");
    this.caption = made("div", { class: "soft caption" });
    this.thumbnail = made("canvas", { width: THUMBNAIL, height: THUMBNAIL, role: "img" });
    this.vertexText = made("div", { class: "soft caption", "aria-live": "polite" });
    this.beside = made("div", { class: "beside" }, this.thumbnail, this.caption, this.legend, this.vertexText);
    this.faceChoice = choice("Face", this.faces.map((face, k) => [k, face.title]), (k) => this.choose(Number(k)));
    this.faceChoice.hidden = this.faces.length < 2 || this.faceList === false;
    this.colourChoice = choice("Colour", [], (colour) => { this.colour = colour; this.draw(); });
    this.besideChoice = choice("Beside it", [], (partner) => { this.partner = partner; this.clicked = null; this.draw(); });
    this.layers = group("Show");
    this.opacity = slider("Opacity", { value: this.model.get("opacity"), min: 0.1, max: 1, step: 0.05 }, (value) => this.model.set("opacity", value));
    const views = [...Object.keys(this.cameras), AS_IN_PHOTO].map((name) => push(name, () => this.look(name)));
    this.photoView = views.at(-1);
    const reset = push("Reset", () => this.answer({ kind: "reset" }), { title: "The camera as at the start" });
    this.modes = made("details", {}, made("summary", {}, "Change the face"));
    this.heads = made("details", {}, made("summary", {}, "Weights of the network's heads"));
    for (const name of this.open ?? []) this[name].open = true;
    this.root.replaceChildren(
      made("div", { class: "row" }, this.faceChoice, this.colourChoice, this.besideChoice),
      made("div", { class: "stage" }, this.viewElement, this.beside),
      this.layers,
      group("View", ...views, reset),
      this.modes,
      this.heads,
    );
    this.root.classList.add("live", "m4kit-explorer");
  }

  // Shows another face as the network predicted it.
  choose(number) {
    this.number = number;
    this.faceChoice.select.value = String(number);
    this.weights = Float64Array.from(this.face.weights);
    this.coefficients = null;
    this.k = 1;
    this.played = null;
    this.clicked = null;
    this.buildLayers();
    this.buildChoices();
    this.buildModes();
    this.buildHeads();
    if (this.view === AS_IN_PHOTO) this.look(AS_IN_PHOTO);
    this.draw();
  }

  buildLayers() {
    const { face } = this;
    const known = Object.entries(LAYERS).filter(([name]) => (name !== "head" || face.model.whole === "head") && (name !== "photo" || face.photo));
    const buttons = known.map(([name, [words, title]]) => toggle(words, Boolean(this.show[name]), (on) => { this.show[name] = on; this.draw(); }, { title }));
    this.layers.replaceChildren(this.layers.firstChild, ...buttons, this.opacity);
    this.photoView.hidden = !face.inPhoto;
    this.thumbnail.hidden = !face.photo;
  }

  buildChoices() {
    const { face } = this, options = (known) => known.map(([value, words]) => made("option", { value }, words));
    const colours = Object.keys(COLOUR_NAMES).filter((name) => ({
      texture: face.texture, spread: face.heads.length > 1, region: face.model.colours.region,
    }[name] ?? true));
    if (!colours.includes(this.colour)) this.colour = "clay";
    this.colourChoice.select.replaceChildren(...options(colours.map((name) => [name, COLOUR_NAMES[name]])));
    this.colourChoice.select.value = this.colour;
    const others = this.faces.map((other, k) => [String(k), other.title]).filter(([k]) => Number(k) !== this.number);
    const known = [["", "nothing"], ["start", face.inPhoto ? "The face as predicted" : "The face as at the start"], ...others];
    if (!known.some(([value]) => value === this.partner)) this.partner = "";
    this.besideChoice.select.replaceChildren(...options(known));
    this.besideChoice.select.value = this.partner;
  }

  // Sliders of all modes, named actions, and people at random.
  buildModes() {
    const { model } = this.face, { people } = model, own = this.face.predicted.coefficients;
    const reach = Math.max(4, 2 ** Math.ceil(Math.log2(own.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1)));
    this.sliders = model.modes.map((_, mode) => {
      const [word, number] = mode < people ? ["identity", mode + 1] : ["expression", mode - people + 1];
      const row = slider(String(number), { value: 0, min: -reach, max: reach, step: STEP, sign: true, name: `${word} ${number}` }, (value) => this.move(mode, value));
      row.append(push("\u25b6", () => this.play(this.played === mode ? null : mode), { title: `Explain ${word} ${number}: let it swing, and colour how far it moves each vertex` }));
      row.lastChild.setAttribute("aria-label", row.lastChild.title);
      return row;
    });
    const more = push("More modes", (button) => {
      for (const row of this.sliders.slice(0, people)) row.hidden = false;
      button.remove();
    });
    this.sliders.slice(FIRST_MODES, people).forEach((row) => { row.hidden = true; });
    const names = Object.keys(model.actions);
    this.action = choice("Action", [["", "none"], ...names.map((name) => [name, name])], () => this.act());
    this.strength = slider("Strength", { value: 1, min: 0, max: 1, step: 0.05 }, () => this.act());
    this.exaggeration = slider("Exaggerate", { value: 1, min: 0, max: 5, step: 0.1, digits: 1 }, (k) => { this.k = k; this.draw(); });
    const buttons = [
      push(this.face.inPhoto ? "As predicted" : "As at the start", () => this.set(null)),
      push("Mean", () => this.set(new Float64Array(model.modes.length)), { title: "All sliders to 0" }),
      push("Random person", () => this.set(this.present().map((value, mode) => (mode < people ? noisy() : value))), { title: "Another identity; the expression stays" }),
      push("Random expression", () => this.set([...this.present().slice(0, people), ...this.randomExpression()]), { title: "A mix of up to three actions; the identity stays" }),
    ];
    this.action.hidden = this.strength.hidden = buttons[3].hidden = !names.length;
    const column = (title, ...rows) => made("div", {}, made("h3", {}, title), ...rows);
    this.modes.hidden = !model.modes.length;
    this.modes.replaceChildren(
      this.modes.firstChild,
      made("div", { class: "row" }, ...buttons, this.action),
      made("div", { class: "modes" }, this.exaggeration, this.strength),
      made("div", { class: "modes" },
        column("Identity, standard deviations", ...this.sliders.slice(0, people), ...(people > FIRST_MODES ? [more] : [])),
        column("Expression, standard deviations", ...this.sliders.slice(people))),
    );
  }

  buildHeads() {
    const { face } = this, count = face.heads.length, names = face.heads.map((_, k) => `Head ${k + 1}`);
    this.heads.hidden = count < 2;
    if (count < 2) return;
    this.headSliders = names.map((name, k) => slider(name, { value: this.weights[k], min: 0, max: 1, step: 0.01 }, (value) => {
      this.moved ??= { head: k, from: this.weights };
      if (this.moved.head !== k) this.moved = { head: k, from: this.weights };
      this.weigh(shared(this.moved.from, k, value), true);
    }));
    const presets = { "Network's own": face.weights, Uniform: face.weights.map(() => 1 / count) };
    if (this.study) presets["Best measured"] = this.study.best;
    names.forEach((name, k) => { presets[name] = face.weights.map((_, head) => Number(head === k)); });
    this.reading = made("p", { class: "soft", "aria-live": "polite" });
    this.triangles = made("div", { class: "triangles" });
    const buttons = Object.entries(presets).map(([name, weights]) => push(name, () => this.weigh(Float64Array.from(weights))));
    this.heads.replaceChildren(
      this.heads.firstChild,
      made("div", { class: "row" }, ...buttons),
      made("div", { class: "modes" }, ...this.headSliders),
      this.reading,
      this.triangles,
    );
    this.cuts = this.study ? face.weights.map((_, held) => new Cut(this.study, held, this.triangles, (weights) => this.weigh(weights))) : [];
    this.tellWeights();
  }

  present() {
    return Array.from(this.coefficients ?? this.shown().coefficients);
  }

  // Coefficients of the face; null for the network's.
  set(coefficients, { action = "" } = {}) {
    this.coefficients = coefficients && Float64Array.from(coefficients);
    this.action.select.value = action;
    if (!action) this.before = null;
    this.stop();
    this.draw();
  }

  move(mode, value) {
    const coefficients = this.present();
    coefficients[mode] = value;
    this.set(coefficients);
  }

  act() {
    const { people, actions } = this.face.model, name = this.action.select.value;
    this.before ??= this.present();
    const expression = name ? actions[name].map((value) => value * Number(this.strength.input.value)) : this.before.slice(people);
    this.set([...this.present().slice(0, people), ...expression], { action: name });
  }

  // As `FaceModel.sample` draws it: at most three actions, each in part.
  randomExpression() {
    const { actions } = this.face.model, names = Object.keys(actions).sort(() => Math.random() - 0.5).slice(0, 3);
    const strength = Object.fromEntries(names.map((name) => [name, Math.random()]));
    // mouthClose is for an open jaw.
    if ("mouthClose" in strength && "jawOpen" in actions) strength.mouthClose = Math.min(strength.mouthClose, strength.jawOpen ?? 0);
    const sum = new Float64Array(Object.values(actions)[0].length);
    for (const name of names) actions[name].forEach((value, i) => { sum[i] += strength[name] * value; });
    return sum;
  }

  // Swings a mode around the face, and colours how far it moves each vertex.
  play(mode) {
    this.stop();
    this.played = mode;
    if (mode !== null) this.sliders[mode].lastChild.textContent = "\u25a0";
    this.draw();
  }

  swing(shown) {
    const displacement = placed(this.face.model.modes[this.played], shown.place()[0], [0, 0, 0]);
    this.model.deliver({ kind: "morph", panel: 0, reach: REACH }, [displacement]);
  }

  stop() {
    if (this.played === null) return;
    this.sliders[this.played].lastChild.textContent = "\u25b6";
    this.played = null;
  }

  weigh(weights, sliding = false) {
    if (!sliding) this.moved = null;
    this.weights = weights;
    this.coefficients = null;
    this.stop();
    this.tellWeights();
    this.draw();
  }

  tellWeights() {
    this.headSliders.forEach((row, k) => row.set(this.weights[k]));
    for (const cut of this.cuts) cut.show(this.weights);
    const [now, own] = [this.shown(), this.face.predicted].map((one) => one.inCrop());
    const extent = (axis) => Math.max(...own.map((point) => point[axis])) - Math.min(...own.map((point) => point[axis]));
    const distance = now.reduce((sum, point, i) => sum + Math.hypot(point[0] - own[i][0], point[1] - own[i][1]), 0) / now.length;
    const share = (100 * distance) / Math.sqrt(extent(0) * extent(1));
    const measured = this.study ? ` ${this.study.words} ${this.study.at(this.weights)[0].toFixed(2)} %, interpolated.` : "";
    this.reading.textContent = `Landmarks ${share.toFixed(2)} % of the face's size from the network's own answer.${measured}`;
  }

  shown() {
    return new Shown(this.face, { weights: this.weights, coefficients: this.coefficients, k: this.k });
  }

  // What the panels show.
  panels() {
    const first = this.shown();
    if (this.partner === "") return [first];
    return [first, this.partner === "start" ? this.face.predicted : this.faces[Number(this.partner)].predicted];
  }

  // What the view shows, in words.
  label() {
    const beside = this.partner ? ` and ${this.besideChoice.select.selectedOptions[0].text}` : "";
    return `3D view of ${this.face.title}${beside}, colour: ${COLOUR_NAMES[this.colour]}`;
  }

  draw() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = null; this.drawNow(); });
  }

  drawNow() {
    const panels = this.panels(), { model } = this;
    const whole = this.show.head && this.face.model.whole === "head", mesh = whole ? "head" : "face";
    const view = this.face.model.views[mesh];
    model.set("show", { ...this.show, mark: true });
    model.state.extent = view.extent;
    model.state.centre = view.centre;
    const titles = panels.length > 1 ? [this.face.title, this.besideChoice.select.selectedOptions[0].text] : [""];
    model.deliver({ kind: "panels", count: panels.length, titles });
    const coloured = this.coloured(panels);
    panels.forEach((shown, panel) => this.drawPanel(shown, panel, whole && shown.model.whole === "head" ? "head" : "face", coloured[panel].colours, view.centre));
    model.set("shading", this.played === null ? COLOUR_SHADING[this.colour] ?? 0.55 : 0.55);
    model.set("label", this.label());
    this.legend.replaceChildren(legendOf(coloured[0]));
    this.caption.textContent = this.face.caption;
    this.vertexText.textContent = this.vertexWords(panels, coloured);
    this.beside.hidden = !this.face.photo && !this.beside.textContent;
    this.sliders.forEach((row, mode) => { if (document.activeElement !== row.input) row.set(panels[0].coefficients[mode]); });
    this.drawThumbnail(panels[0]);
    // New vertices end a swing.
    if (this.played !== null) this.swing(panels[0]);
  }

  drawPanel(shown, panel, mesh, colours, centre) {
    const { model } = this;
    // Side by side as in the photo, each face is as in its own.
    const rotation = panel && this.view === AS_IN_PHOTO ? this.face.rotation : shown.face.rotation;
    const off = mesh === "face" ? minus(centre, shown.model.views.face.centre) : [0, 0, 0];
    const vertices = placed(shown.vertices(rotation), FRONT, off);
    const landmarks = shown.model.landmarks(vertices);
    const send = (kind, about, ...buffers) => model.deliver({ kind, panel, ...about }, buffers);
    const triangles = shown.model.triangles[mesh];
    if (this.sent[panel] !== triangles) {
      this.sent[panel] = triangles;
      send("triangles", { first: 0, total: triangles.length, closed: mesh === "head" }, Uint16Array.from(triangles));
    }
    this.serial = (this.serial ?? 0) + 1;
    send("vertices", { serial: this.serial, at: {} }, vertices);
    send("colours", {}, colours);
    send("points", { name: "landmarks", count: 68, width: 8 }, landmarks, Uint8Array.from(this.landmarkColours.flat()));
    const lines = Float32Array.from(this.contours.flatMap((ends) => ends.flatMap((i) => [...landmarks.slice(3 * i, 3 * i + 3)])));
    send("lines", { name: "contours", count: this.contours.length, width: 2.2 }, lines, Uint8Array.from(this.contourColours.flat()));
    send("lines", { name: "axes", count: 3, width: 3 }, Float32Array.from(shown.axes(rotation, landmarks)), Uint8Array.from(this.axisColours.flat()));
    const mark = this.clicked?.panel === panel ? vertices.slice(3 * this.clicked.vertex, 3 * this.clicked.vertex + 3) : new Float32Array(0);
    send("points", { name: "mark", count: mark.length / 3, width: 12 }, mark, Uint8Array.from(this.markColour));
    if (this.show.photo && shown.face.photo) this.drawPhoto(shown, panel, vertices, triangles, rotation, off);
  }

  drawPhoto({ face }, panel, vertices, triangles, rotation, off) {
    const row = rotation.slice(6), back = transposed(rotation);
    let behind = Infinity;
    for (const v of triangles) behind = Math.min(behind, row[0] * vertices[3 * v] + row[1] * vertices[3 * v + 1] + row[2] * vertices[3 * v + 2]);
    const shift = applied(rotation, off);
    const corners = face.ends.map(([x, y]) => applied(back, [x + shift[0], y + shift[1], behind]));
    if (this.sentPhotos[panel] !== face.photo) {
      this.sentPhotos[panel] = face.photo;
      this.model.deliver({ kind: "photo", panel }, [face.photo.content]);
    }
    this.model.deliver({ kind: "photo corners", panel, corners });
  }

  // What is known of the clicked vertex.
  vertexWords(panels, coloured) {
    if (!this.clicked) return "Click the face to read a vertex.";
    const { panel, vertex } = this.clicked, shown = panels[panel], { model } = shown;
    const place = Array.from(shown.shape.slice(3 * vertex, 3 * vertex + 3), (value) => value.toFixed(1).replace("-", "\u2212"));
    const region = Object.entries(model.colours.region?.names ?? {}).find(([, colour]) => colour.every((value, k) => value === model.colours.region.colours[3 * vertex + k]));
    const { values, unit } = coloured[panel];
    const lines = [`Vertex ${model.order[vertex]}`, region && `region: ${region[0]}`, `model: ${place.join(", ")} mm`, values && `${values[vertex].toFixed(2).replace("-", "\u2212")} ${unit}`];
    return lines.filter(Boolean).join("\n");
  }

  // Colours of all panels; numbers are on one scale.
  coloured(panels) {
    const table = (mode) => this.scales[mode];
    if (this.played !== null) {
      const found = numbers(lengths(this.face.model.modes[this.played]), "mm per standard deviation");
      return panels.map((shown, panel) => (panel ? shown.model.colours.clay : { ...found, table: table("moved"), colours: scaled(found, table("moved")) }));
    }
    if (this.colour === "normals") return panels.map((shown) => ({ colours: normalColours(shown), names: this.normalNames }));
    if (this.colour === "texture") {
      const note = this.coefficients ? "The photo's colours, on the changed face." : "";
      return panels.map(({ face, model }) => (face.texture ? { colours: face.texture, note } : model.colours.clay));
    }
    if (["clay", "region"].includes(this.colour)) return panels.map(({ model }) => model.colours[this.colour] ?? model.colours.clay);
    const [first, second] = panels;
    if (this.colour === "moved" && second?.model === first.model) {
      const found = numbers(lengths(minus(first.shape, second.shape)), `mm from ${this.besideChoice.select.selectedOptions[0].text}`, 1);
      return [{ ...found, table: table("moved"), colours: scaled(found, table("moved")) }, second.model.colours.clay];
    }
    const found = panels.map((shown) => shown.values(this.colour));
    const limits = [Math.min(...found.map((one) => one.limits[0])), Math.max(...found.map((one) => one.limits[1]))];
    return found.map((one) => ({ ...one, limits, table: table(this.colour), colours: scaled({ ...one, limits }, table(this.colour)) }));
  }

  // The photo around the face, with the contours, and in grey those that were predicted.
  drawThumbnail(shown) {
    const { photo, crop, predicted } = this.face;
    if (!photo) return;
    const pen = this.thumbnail.getContext("2d"), ratio = photo.picture.naturalWidth / photo.width, scale = THUMBNAIL / crop[2];
    pen.clearRect(0, 0, THUMBNAIL, THUMBNAIL);
    pen.drawImage(photo.picture, -crop[0] * scale, -crop[1] * scale, (photo.picture.naturalWidth / ratio) * scale, (photo.picture.naturalHeight / ratio) * scale);
    const same = !this.coefficients && this.k === 1 && this.weights.every((weight, k) => weight === this.face.weights[k]);
    for (const [one, grey] of same ? [[shown, false]] : [[predicted, true], [shown, false]]) {
      const points = one.inCrop();
      pen.lineWidth = grey ? 2.4 : 3.6;
      this.contours.forEach(([a, b], k) => {
        pen.strokeStyle = `rgb(${(grey ? GREY : this.contourColours[k]).join()})`;
        pen.beginPath();
        for (const i of [a, b]) pen.lineTo(points[i][0] * THUMBNAIL, points[i][1] * THUMBNAIL);
        pen.stroke();
      });
    }
    this.thumbnail.setAttribute("aria-label", `The photo around ${this.face.title.toLowerCase()} with its landmarks`);
  }

  look(name) {
    this.turning = true;
    this.view = name;
    const rotation = name === AS_IN_PHOTO ? this.face.rotation : this.cameras[name];
    this.model.set("camera", { rotation, zoom: 1, pan: [0, 0] });
    this.turning = false;
    this.draw();
  }

  // The view's messages.
  answer({ kind, panel, vertex }) {
    if (kind === "ready") {
      // The view is new, or the browser had taken its memory away.
      this.sent = {};
      this.sentPhotos = {};
      this.draw();
    }
    if (kind === "clicked") {
      this.clicked = vertex === null ? null : { panel, vertex };
      this.draw();
    }
    if (kind === "reset") this.look(this.start);
    if (kind === "no webgl" && this.still) this.model.deliver({ kind: "still" }, [this.still]);
  }
}

// Weights of which one is set to a value: the others share the rest in proportion, or equally if they are all 0.
function shared(weights, head, value) {
  const total = weights.reduce((sum, weight, k) => sum + (k === head ? 0 : weight), 0), rest = 1 - value;
  return weights.map((weight, k) => (k === head ? value : total > 1e-9 ? (rest * weight) / total : rest / (weights.length - 1)));
}

// The page's JSON with its arrays in place.
async function prepared(about, packed) {
  const bytes = await unpacked(packed), content = { ...about };
  content.scales = Object.fromEntries(Object.entries(about.scales).map(([name, one]) => [name, numbersOf(bytes, one)]));
  const models = about.models.map((one) => new PageModel(bytes, one));
  for (const model of models) {
    model.normals = new Float32Array(model.mean.length);
    normalsOf(model.mean, model.triangles[model.whole], model.normals);
  }
  const photos = await Promise.all(about.photos.map(async (photo) => {
    const picture = new Image();
    picture.src = photo.url;
    await picture.decode();
    return { ...photo, picture, content: bytesOfUrl(photo.url) };
  }));
  content.faces = about.faces.map((face) => {
    const all = numbersOf(bytes, face.heads), size = all.length / face.weights.length;
    const found = {
      ...face, model: models[face.model], photo: face.photo === null ? null : photos[face.photo],
      heads: face.weights.map((_, k) => all.slice(k * size, (k + 1) * size)),
      texture: face.texture ? numbersOf(bytes, face.texture) : null, leastDistance: about.leastDistance ?? 1e-3,
    };
    found.own = fused(found.heads, found.weights);
    found.predicted = new Shown(found);
    return found;
  });
  content.study = about.study ? new Study(bytes, about.study) : null;
  return content;
}
