// A face of a live page: from parameters to vertices, landmarks and colours, as `Face`, `HeadFrame` and `vertex_colours`
// do it in Python.

const CAMERA = 12;
const CROP = 120;
const AXIS_LENGTH = 75;

// The weighted sum of the heads' parameters.
function fused(heads, weights) {
  const sum = new Float64Array(heads[0].length);
  heads.forEach((head, k) => head.forEach((value, i) => { sum[i] += weights[k] * value; }));
  return sum;
}

const matrixOf = (parameters) => [0, 1, 2, 4, 5, 6, 8, 9, 10].map((i) => parameters[i]);
const offsetOf = (parameters) => [parameters[3], parameters[7], parameters[11]];
const transposed = (m) => [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
const applied = (m, [x, y, z]) => [0, 3, 6].map((row) => m[row] * x + m[row + 1] * y + m[row + 2] * z);
const unit = (v) => { const length = Math.hypot(...v) || 1; return v.map((value) => value / length); };

// Points, three numbers each, under a matrix and moved by an offset.
function placed(points, m, [dx, dy, dz]) {
  const result = new Float32Array(points.length);
  for (let i = 0; i < points.length; i += 3) {
    const x = points[i], y = points[i + 1], z = points[i + 2];
    result[i] = m[0] * x + m[1] * y + m[2] * z + dx;
    result[i + 1] = m[3] * x + m[4] * y + m[5] * z + dy;
    result[i + 2] = m[6] * x + m[7] * y + m[8] * z + dz;
  }
  return result;
}

function lengths(field) {
  return Float32Array.from({ length: field.length / 3 }, (_, v) => Math.hypot(field[3 * v], field[3 * v + 1], field[3 * v + 2]));
}

const minus = (a, b) => a.map((value, i) => value - b[i]);

// A face under some weights of the heads, with its own coefficients or others (`coefficients`), exaggerated k times.
class Shown {
  constructor(face, { weights = face.weights, coefficients = null, k = 1 } = {}) {
    this.face = face;
    this.model = face.model;
    this.parameters = fused(face.heads, weights);
    this.coefficients = coefficients ?? this.parameters.slice(CAMERA);
    this.k = k;
  }

  // In the model's frame.
  get shape() {
    return (this.ownShape ??= this.model.shape(this.coefficients, this.k));
  }

  // In the face's frame, turned by `rotation`, by default the face's own: see `HeadFrame.from_photo`.
  vertices(rotation = this.face.rotation) {
    return placed(this.shape, ...this.place(rotation));
  }

  // The matrix and the offset that take the model's frame to the face's.
  place(rotation = this.face.rotation) {
    const { scale, own } = this.face, back = transposed(rotation).map((value) => value / scale);
    const moved = minus(offsetOf(this.parameters), offsetOf(own));
    return [product(back, matrixOf(this.parameters)), applied(back, moved)];
  }

  // The 68 landmarks, in shares of a square photo of the crop, y down.
  inCrop() {
    const points = placed(this.model.landmarks(this.shape), matrixOf(this.parameters), offsetOf(this.parameters)), result = [];
    for (let i = 0; i < points.length; i += 3) result.push([0.5 + points[i] / CROP, 0.5 - points[i + 1] / CROP]);
    return result;
  }

  // The head's axes, from the tip of the nose.
  axes(rotation, landmarks) {
    const [matrix] = this.place(rotation), nose = [...landmarks.slice(90, 93)];
    return [0, 1, 2].flatMap((axis) => {
      const along = unit([matrix[axis], matrix[3 + axis], matrix[6 + axis]]);
      return [...nose, ...nose.map((value, i) => value + AXIS_LENGTH * along[i])];
    });
  }

  // Numbers for each vertex, with their unit and the limits of the colour scale.
  values(mode) {
    const { model, face } = this;
    if (mode === "depth") {
      const row = face.rotation.slice(6), vertices = this.vertices();
      const towards = Float32Array.from({ length: model.count }, (_, v) => row[0] * vertices[3 * v] + row[1] * vertices[3 * v + 1] + row[2] * vertices[3 * v + 2]);
      const least = towards.reduce((a, b) => Math.min(a, b));
      return numbers(towards.map((value) => value - least), "mm towards the viewer");
    }
    if (mode === "distance") {
      const by = minus(this.shape, model.mean), normals = model.normals;
      const out = Float32Array.from({ length: model.count }, (_, v) => by[3 * v] * normals[3 * v] + by[3 * v + 1] * normals[3 * v + 1] + by[3 * v + 2] * normals[3 * v + 2]);
      const most = Math.max(face.leastDistance, out.reduce((a, b) => Math.max(a, Math.abs(b)), 0));
      return { values: out, unit: "mm outward from the mean", limits: [-most, most] };
    }
    if (mode === "spread") {
      const squares = new Float32Array(model.count), own = this.parameters.slice(CAMERA);
      for (const head of face.heads) {
        const by = new Float32Array(3 * model.count);
        model.add(by, minus(Float64Array.from(head.slice(CAMERA)), own));
        lengths(by).forEach((length, v) => { squares[v] += length ** 2 / face.heads.length; });
      }
      return numbers(squares.map(Math.sqrt), "mm between the heads");
    }
    const moved = lengths(minus(this.shape, face.predicted.shape));
    return numbers(moved, `mm from ${face.heads.length > 1 ? "the prediction" : "the start"}`, 1);
  }
}

function numbers(values, unit, least = 1e-9) {
  const low = values.reduce((a, b) => Math.min(a, b), 0), high = values.reduce((a, b) => Math.max(a, b), least);
  return { values, unit, limits: [low, high] };
}

// Numbers as colours of a scale, a table of 256.
function scaled({ values, limits: [low, high] }, table) {
  const colours = new Uint8Array(3 * values.length);
  for (let v = 0; v < values.length; v++) {
    const at = 3 * Math.round(255 * Math.min(Math.max((values[v] - low) / Math.max(high - low, 1e-9), 0), 1));
    colours[3 * v] = table[at]; colours[3 * v + 1] = table[at + 1]; colours[3 * v + 2] = table[at + 2];
  }
  return colours;
}

// The direction of the surface in the photo's view as (R, G, B).
function normalColours(shown) {
  const vertices = shown.vertices(), normals = new Float32Array(vertices.length);
  normalsOf(vertices, shown.model.triangles[shown.model.whole], normals);
  return Uint8Array.from(placed(normals, shown.face.rotation, [0, 0, 0]), (value) => Math.round(127.5 * (value + 1)));
}
