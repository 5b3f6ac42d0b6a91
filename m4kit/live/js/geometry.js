// Decoding of messages, and geometry of meshes and rotations.

// Bytes of a message's buffer, whose start may not be aligned.
const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const alignedCopy = (view) => bytesOf(view).slice().buffer;

// Decodes numbers that came as 16-bit steps within a bounding box; a live page, which needs no travel, has them as they are.
function unquantised(view, { low, step }) {
  if (!step) return new Float32Array(alignedCopy(view));
  const quantised = new Uint16Array(alignedCopy(view)), numbers = new Float32Array(quantised.length);
  for (let i = 0; i < numbers.length; i++) numbers[i] = low[i % 3] + step[i % 3] * quantised[i];
  return numbers;
}

// Writes the vertex normals of a mesh into `normals`.
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

// Writes the triangles that face a viewer into `front`, which is as long as `triangles`; returns how many indices they are.
function facing(vertices, triangles, rotation, front) {
  const [rx, ry, rz] = rotation.slice(6);
  let count = 0;
  for (let t = 0; t < triangles.length; t += 3) {
    const a = 3 * triangles[t], b = 3 * triangles[t + 1], c = 3 * triangles[t + 2];
    const ux = vertices[b] - vertices[a], uy = vertices[b + 1] - vertices[a + 1], uz = vertices[b + 2] - vertices[a + 2];
    const vx = vertices[c] - vertices[a], vy = vertices[c + 1] - vertices[a + 1], vz = vertices[c + 2] - vertices[a + 2];
    if (rx * (uy * vz - uz * vy) + ry * (uz * vx - ux * vz) + rz * (ux * vy - uy * vx) <= 0) continue;
    front[count++] = triangles[t];
    front[count++] = triangles[t + 1];
    front[count++] = triangles[t + 2];
  }
  return count;
}

// Each edge once, as pairs of vertices.
function edgesOf(triangles) {
  const edges = [], ways = new Set(), way = (from, to) => from * 65536 + to;
  for (let t = 0; t < triangles.length; t += 3) {
    for (let k = 0; k < 3; k++) ways.add(way(triangles[t + k], triangles[t + ((k + 1) % 3)]));
  }
  for (let t = 0; t < triangles.length; t += 3) {
    for (let k = 0; k < 3; k++) {
      const a = triangles[t + k], b = triangles[t + ((k + 1) % 3)];
      // Two triangles share an edge, in opposite directions; at the border there is one.
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

// Turns a rotation about the view's axes by angles in radians.
function turned(rotation, across, down) {
  const [cy, sy, cx, sx] = [Math.cos(across), Math.sin(across), Math.cos(down), Math.sin(down)];
  const aboutUp = [cy, 0, sy, 0, 1, 0, -sy, 0, cy];
  const aboutSide = [1, 0, 0, 0, cx, -sx, 0, sx, cx];
  const m = product(product(aboutSide, aboutUp), rotation);
  // Rounding errors add up over a long drag: make the rows orthonormal again.
  const unit = (v) => { const l = Math.hypot(...v); return v.map((x) => x / l); };
  const x = unit(m.slice(0, 3));
  const dot = x[0] * m[3] + x[1] * m[4] + x[2] * m[5];
  const y = unit([m[3] - dot * x[0], m[4] - dot * x[1], m[5] - dot * x[2]]);
  return [...x, ...y, x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]];
}

// The vertex nearest to a place in the view (mm), of the front triangle there; null beside the mesh.
function vertexAt(x, y, { vertices, triangles }, rotation) {
  if (!vertices || !triangles) return null;
  const seen = new Float32Array(vertices.length);
  for (let i = 0; i < vertices.length; i += 3) {
    const p = vertices.subarray(i, i + 3);
    for (let k = 0; k < 3; k++) {
      seen[i + k] = rotation[3 * k] * p[0] + rotation[3 * k + 1] * p[1] + rotation[3 * k + 2] * p[2];
    }
  }
  let best = null, front = -Infinity;
  for (let t = 0; t < triangles.length; t += 3) {
    const corners = [triangles[t], triangles[t + 1], triangles[t + 2]];
    const [a, b, c] = corners.map((v) => 3 * v);
    const area = (seen[b] - seen[a]) * (seen[c + 1] - seen[a + 1]) - (seen[c] - seen[a]) * (seen[b + 1] - seen[a + 1]);
    // A back face.
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
