// Shaders of the 3D view, WebGL 2. Each program is a pair: vertex shader, fragment shader.

const LIGHTING = `
uniform vec3 keyDirection, keyColour, fillDirection, fillColour, sky, ground;
uniform float softness, gloss;
// The same as m4kit.light.shade, without hollows.
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

// Light is computed per vertex: triangles cover only a few pixels each.
const SURFACE = `${PLACING}${LIGHTING}
    layout(location = 0) in vec3 position;
    layout(location = 1) in vec3 normal;
    layout(location = 2) in vec3 colour;
    uniform float shading;
    out vec3 outside;
    vec3 turned() {
      gl_Position = placed(position);
      vec3 n = rotation * normal;
      outside = mix(colour, lit(n, pow(colour, vec3(2.2))), shading);
      return n;
    }`;

const PROGRAMS = {
  mesh: [
    `${SURFACE}
    out vec3 inside;
    void main() {
      vec3 n = turned();
      // Back faces are a plain dim shell, except in slivers along an outline, which would show as dark dots.
      inside = mix(outside, 0.6 * encoded(0.35 * received(-n)), clamp(-3.0 * n.z, 0.0, 1.0));
    }`,
    `in vec3 outside, inside;
    uniform float opacity;
    out vec4 result;
    void main() { result = vec4(gl_FrontFacing ? outside : inside, opacity); }`,
  ],
  // Triangles that face the viewer.
  front: [
    `${SURFACE}
    void main() { turned(); }`,
    `in vec3 outside;
    uniform float opacity;
    out vec4 result;
    void main() { result = vec4(outside, opacity); }`,
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
