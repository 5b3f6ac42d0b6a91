// Millimetres by which a vertex may be off without a new drawing.
const SAME = 0.02;

// A panel's mesh, lines, points and photo, as WebGL buffers.
class Panel {
  constructor(gl) {
    this.gl = gl;
    this.lines = {};
    this.points = {};
    // By mode: displacements, the slider values of the kernel's vertices (`at`), and newer values (`ahead`).
    this.modes = {};
    this.at = {};
    this.ahead = {};
  }

  // A panel that has no mesh or no colours yet has no mesh to draw.
  get ready() {
    return this.positionBuffer && this.colourBuffer;
  }

  // While another mesh arrives, its triangles may name vertices that are still missing.
  get whole() {
    return !this.ready || (this.count <= this.vertices.length / 3 && this.count <= this.coloured);
  }

  buffer(name, data, target = this.gl.ARRAY_BUFFER) {
    const { gl } = this;
    this[name] ??= gl.createBuffer();
    gl.bindBuffer(target, this[name]);
    gl.bufferData(target, data, gl.DYNAMIC_DRAW);
  }

  setColours(colours) {
    this.coloured = colours.length / 3;
    this.buffer("colourBuffer", colours);
  }

  // A mesh is `closed` if its back faces are hidden from most sides.
  setTriangles(triangles, closed) {
    this.triangles = triangles;
    this.closed = closed;
    this.count = triangles.reduce((most, vertex) => Math.max(most, vertex), -1) + 1;
    this.edgeCount = null;
    this.buffer("indices", triangles, this.gl.ELEMENT_ARRAY_BUFFER);
    if (this.vertices) this.moved();
  }

  // Takes the kernel's vertices; returns whether they look different from what is drawn.
  setVertices(sent, at) {
    if (this.vertices?.length !== sent.length) {
      // Those of another mesh.
      this.modes = {};
      this.ahead = {};
      this.vertices = new Float32Array(sent.length);
      this.normals = new Float32Array(sent.length);
    }
    for (const mode of Object.keys(this.ahead)) if (!(mode in at) || this.ahead[mode] === at[mode]) delete this.ahead[mode];
    const known = !this.morph && this.positionBuffer && !Object.keys(this.ahead).length
      && sent.every((place, i) => Math.abs(place - this.vertices[i]) < SAME);
    Object.assign(this, { sent, at, morph: null });
    if (!known) this.follow();
    return !known;
  }

  // Adds what the user has moved since to the kernel's vertices.
  follow() {
    this.vertices.set(this.sent);
    for (const [mode, value] of Object.entries(this.ahead)) {
      const by = value - this.at[mode], displacement = this.modes[mode];
      for (let i = 0; i < displacement.length; i++) this.vertices[i] += by * displacement[i];
    }
    this.moved();
  }

  moved() {
    if (!this.triangles) return;
    normalsOf(this.shown, this.triangles, this.normals);
    this.buffer("positionBuffer", this.shown);
    this.buffer("normalBuffer", this.normals);
  }

  get shown() {
    return this.morph ? this.morph.vertices : this.vertices;
  }

  // Swings the mesh along a displacement, up to `reach` times it to both sides.
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

  setMarks(kind, { name, count, width }, places, colours) {
    const { gl } = this, all = this[kind];
    all[name] ??= { places: gl.createBuffer(), colours: gl.createBuffer() };
    Object.assign(all[name], { count, width });
    for (const [buffer, data] of [[all[name].places, places], [all[name].colours, colours]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, bytesOf(data), gl.DYNAMIC_DRAW);
    }
  }

  setPhoto(picture) {
    const { gl } = this;
    this.texture ??= gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  // Upper left, upper right, lower left, lower right; each with its place in the picture.
  setPhotoCorners([a, b, c, d]) {
    this.buffer("photoBuffer", new Float32Array([...a, 0, 0, ...b, 1, 0, ...c, 0, 1, ...d, 1, 1]));
  }

  // Puts the triangles that face the viewer into `frontIndices`; returns the number of indices.
  front(rotation) {
    if (this.facing?.length !== this.triangles.length) this.facing = new Uint32Array(this.triangles.length);
    const count = facing(this.shown, this.triangles, rotation, this.facing);
    this.buffer("frontIndices", this.facing.subarray(0, count), this.gl.ELEMENT_ARRAY_BUFFER);
    return count;
  }

  // The number of indices in `edgeIndices`.
  edges() {
    if (this.edgeCount === null) {
      const edges = edgesOf(this.triangles);
      this.edgeCount = edges.length;
      this.buffer("edgeIndices", edges, this.gl.ELEMENT_ARRAY_BUFFER);
    }
    return this.edgeCount;
  }
}
