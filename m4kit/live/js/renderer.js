// Draws panels with WebGL 2.

// Opacity of the second mesh behind the first.
const OTHER = 0.55;

// Multisampling is timed in the first frames (SMOOTH_TRIES). If it always takes longer than SMOOTH_LIMIT milliseconds,
// only a view that has rested for REST milliseconds is drawn with it, and only then with the back faces of a closed mesh:
// half of the triangles take half of the time.
const SMOOTH_TRIES = 3;
const SMOOTH_LIMIT = 12;
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
    throw new Error(`m4kit: a shader did not compile: ${gl.getProgramInfoLog(program)}`);
  }
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
    const { name } = gl.getActiveUniform(program, i);
    uniforms[name] = gl.getUniformLocation(program, name);
  }
  return { program, uniforms };
}

// A multisampled buffer, which is copied to the canvas.
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

// Draws scenes: `panels`, whether two lie `over` each other, `camera`, `extent` in mm from the middle to the upper
// edge around `centre`, `reach` in mm of depth to both sides, and the looks `show`, `opacity`, `shading`, `light` and `ink` (0 to 255).
class Renderer {
  constructor(gl) {
    this.gl = gl;
    this.programs = Object.fromEntries(Object.entries(PROGRAMS).map(([name, sources]) => [name, compiled(gl, sources)]));
    this.smooth = new SmoothTarget(gl);
    this.smoothTimes = [];
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.enable(gl.SCISSOR_TEST);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
  }

  get ratio() {
    return Math.min(window.devicePixelRatio || 1, 2);
  }

  // Resizing empties the canvas, so it happens right before drawing.
  resize() {
    const { canvas } = this.gl;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * this.ratio)));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  draw(scene) {
    const { gl } = this;
    this.scene = scene;
    this.resize();
    this.stop();
    if (this.smoothTimes.length === SMOOTH_TRIES && Math.min(...this.smoothTimes) > SMOOTH_LIMIT) {
      this.drawPanels({ quick: true });
      this.resting = setTimeout(() => requestAnimationFrame(() => this.drawSmooth()), REST);
      return;
    }
    const began = performance.now();
    this.drawSmooth();
    // An empty view says nothing about the time.
    if (this.smoothTimes.length < SMOOTH_TRIES && scene.panels.some((panel) => panel.positionBuffer)) {
      // Reading a pixel waits for the drawing.
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
      this.smoothTimes.push(performance.now() - began);
    }
  }

  stop() {
    clearTimeout(this.resting);
  }

  drawSmooth() {
    const { gl } = this;
    if (!gl.isContextLost()) this.smooth.draw(gl.canvas.width, gl.canvas.height, () => this.drawPanels());
  }

  drawPanels({ quick = false } = {}) {
    const { gl, scene } = this, { canvas } = gl;
    this.quick = quick;
    const columns = scene.over ? 1 : scene.panels.length, width = Math.floor(canvas.width / columns);
    this.size = [width, canvas.height];
    // Clears all of it: there may be no panel, or a column of pixels beside them.
    gl.scissor(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    scene.panels.slice(0, columns).forEach((panel, number) => {
      gl.viewport(number * width, 0, width, canvas.height);
      gl.scissor(number * width, 0, width, canvas.height);
      this.drawPanel(panel, scene.over && scene.show.over && scene.panels[1].ready ? scene.panels[1] : null);
    });
  }

  drawPanel(panel, other) {
    const { gl } = this, { show } = this.scene;
    gl.depthFunc(gl.LEQUAL);
    if (show.photo && panel.texture && panel.photoBuffer) {
      this.use("photo", panel);
      gl.bindTexture(gl.TEXTURE_2D, panel.texture);
      this.attribute(0, panel.photoBuffer, 3, { stride: 20 });
      this.attribute(1, panel.photoBuffer, 2, { stride: 20, offset: 12 });
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    if (other) {
      this.drawMesh(other, OTHER);
      // All of it is behind the face: two surfaces that cross would show jagged patches of both.
      gl.clear(gl.DEPTH_BUFFER_BIT);
    }
    if (show.mesh && panel.ready) this.drawMesh(panel, this.scene.opacity);
    if (show.wireframe && panel.positionBuffer) this.drawEdges(panel);
    // What lies behind the surface shows faintly.
    for (const [depth, opacity] of [[gl.GREATER, 0.18], [gl.LEQUAL, 1]]) {
      gl.depthFunc(depth);
      gl.depthMask(depth === gl.LEQUAL);
      for (const [name, one] of Object.entries(panel.lines)) if (show[name] && one.count) this.drawLines(panel, one, opacity);
      for (const [name, one] of Object.entries(panel.points)) if (show[name] && one.count) this.drawPoints(panel, one, opacity);
    }
    gl.depthMask(true);
  }

  drawMesh(panel, opacity) {
    const { gl } = this, { light, shading, camera } = this.scene, front = this.quick && panel.closed;
    const uniforms = this.use(front ? "front" : "mesh", panel);
    for (const name of ["keyDirection", "keyColour", "fillDirection", "fillColour", "sky", "ground"]) {
      gl.uniform3fv(uniforms[name], light[name]);
    }
    for (const name of ["softness", "gloss"]) gl.uniform1f(uniforms[name], light[name]);
    gl.uniform1f(uniforms.opacity, opacity);
    gl.uniform1f(uniforms.shading, shading);
    this.attribute(0, panel.positionBuffer, 3);
    this.attribute(1, panel.normalBuffer, 3);
    this.attribute(2, panel.colourBuffer, 3, { type: gl.UNSIGNED_BYTE });
    const count = front ? panel.front(camera.rotation) : panel.triangles.length;
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, front ? panel.frontIndices : panel.indices);
    if (opacity < 1) {
      // Depth first: of a translucent face only the nearest surface shows.
      gl.colorMask(false, false, false, false);
      gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
      gl.colorMask(true, true, true, true);
    }
    gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
  }

  drawEdges(panel) {
    const { gl, scene } = this, uniforms = this.use("edges", panel, 0.4);
    // Dark on the mesh; alone, in the page's text colour, which shows in a light and a dark theme.
    const ink = scene.show.mesh ? [26, 41, 71] : scene.ink;
    gl.uniform4f(uniforms.ink, ...ink.map((value) => value / 255), scene.show.mesh ? 0.35 : 0.6);
    this.attribute(0, panel.positionBuffer, 3);
    const count = panel.edges();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, panel.edgeIndices);
    gl.drawElements(gl.LINES, count, gl.UNSIGNED_INT, 0);
  }

  drawLines(panel, { places, colours, count, width }, opacity) {
    const { gl } = this, uniforms = this.use("lines", panel, 2.5);
    gl.uniform2f(uniforms.pixel, ...this.size.map((side) => 2 / side));
    gl.uniform1f(uniforms.width, width * this.ratio);
    gl.uniform1f(uniforms.opacity, opacity);
    this.attribute(0, places, 3, { stride: 24, divisor: 1 });
    this.attribute(1, places, 3, { stride: 24, offset: 12, divisor: 1 });
    this.attribute(2, colours, 3, { type: gl.UNSIGNED_BYTE, divisor: 1 });
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
  }

  drawPoints(panel, { places, colours, count, width }, opacity) {
    const { gl } = this, uniforms = this.use("points", panel, 3);
    gl.uniform1f(uniforms.width, width * this.ratio);
    gl.uniform1f(uniforms.opacity, opacity);
    this.attribute(0, places, 3);
    this.attribute(1, colours, 3, { type: gl.UNSIGNED_BYTE });
    gl.drawArrays(gl.POINTS, 0, count);
  }

  // Selects a program and sets the camera; `lift` is mm towards the viewer.
  use(name, panel, lift = 0) {
    const { gl, scene } = this, { camera, extent } = scene, [width, height] = this.size;
    const { program, uniforms } = this.programs[name];
    for (let location = 0; location < 3; location++) gl.disableVertexAttribArray(location);
    gl.useProgram(program);
    gl.uniformMatrix3fv(uniforms.rotation, true, camera.rotation);
    gl.uniform3fv(uniforms.centre, scene.centre);
    gl.uniform2fv(uniforms.pan, camera.pan);
    gl.uniform2f(uniforms.scale, height / width / extent, 1 / extent);
    gl.uniform1f(uniforms.reach, scene.reach);
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
}
