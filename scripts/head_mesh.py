"""The head's mesh for `build_face_model.py`: the base mesh's head, subdivided and cut along smooth curves.

Each vertex is a weighted sum of the base mesh's vertices. A matrix holds the weights, so that modes follow.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array, csr_array, diags_array, eye_array, vstack
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

EYEBALL_FRONT = -2.0
"""The face's part of an eyeball is in front of this z, in mm from the middle between the eyes."""

PUPIL, IRIS = 2.0, 5.9
"""Radii in mm."""
GAZE_DROP = 1.0
"""How much lower the pupils are than the eyeballs' middles, in mm: the opening of the lids is lower still."""
EYE_RINGS = (PUPIL, PUPIL + 0.3, IRIS, IRIS + 0.4)
"""Radii of the circles of vertices on the eyeballs. Colours by vertex change from one circle to the next."""

BLEND = 1.5
"""Width in mm of the strip in which the colours of hair and ears end."""


def neck_height(points: np.ndarray) -> np.ndarray:
    """Height of points (V, 3) above the edge of the neck, in mm from the middle between the eyes."""
    return points[:, 1] + 0.385 * (points[:, 2] + 90) + 124


def hair_height(points: np.ndarray) -> np.ndarray:
    """Height of points (V, 3) above the hairline from ear to ear, in mm; frame as in `neck_height`."""
    return points[:, 1] + 45 - 0.45 * (points[:, 2] + 80)


def ear_depth(points: np.ndarray) -> np.ndarray:
    """How far points (V, 3) are inside an ellipse around the ear in side view, in about mm; frame as above."""
    return 21 * (1 - np.hypot((points[:, 1] + 21) / 33, (points[:, 2] + 76) / 21))


FACE_EDGE = (0.015, -0.149, -0.009, 0.722, 0.758, -0.384)
"""Coefficients of a polynomial: the cosine of the edge's angle from the front, by the direction's height."""


def face_depth(points: np.ndarray) -> np.ndarray:
    """How far points (V, 3) on the skin are inside the face's edge, in about mm; negative outside.

    The edge runs over the upper forehead, before the ears and under the chin. For each direction from a point inside
    the head, it is at an angle from the front that changes smoothly with the direction's height. The frame is that of
    `neck_height`.
    """
    y, z = points[:, 1] + 15, points[:, 2] + 60
    distance = np.sqrt(points[:, 0] ** 2 + y**2 + z**2)
    return z - distance * np.polynomial.polynomial.polyval(y / distance, FACE_EDGE)


class Cut:
    """The head's part of the base mesh.

    `vertices` are indices into the base. `body`, `eyeballs`, `teeth` and `tongue` are the quads of the parts,
    `sampled` the faces (quads, triangles) whose vertices the principal components are computed on. `mirror`,
    the masks `cavity`, `eyeball`, `ears` and `sampled_vertices`, the `depth` in the mouth (see `cavity_depth`) and
    `eyeball_depth`, the z of eyeballs in mm, are for `vertices`.
    """

    RINGS_KEPT = 6
    """Rings of the mouth cavity that belong to the face."""

    def __init__(self, source, mean: np.ndarray):
        """`source` holds the base mesh; `mean` (V, 3) is in mm, relative to the middle between the eyes."""
        groups = source.groups
        eyeballs = np.concatenate([groups["helper-l-eye"], groups["helper-r-eye"]])
        teeth = np.concatenate([groups["helper-upper-teeth"], groups["helper-lower-teeth"]])
        mirror = mirror_map(source.vertices)
        depth = cavity_depth(groups["body"], mirror)

        ears = np.zeros(len(mean), dtype=bool)
        for name in ("l-ear-scale-incr", "r-ear-scale-incr"):
            offsets = source.target(f"mpfb2/targets/ears/{name}.target.gz")
            ears |= np.linalg.norm(offsets, axis=1) > 0.06
        ears &= (np.abs(mean[:, 0]) > 55) & (mean[:, 1] < 14)

        sampled = sampled_faces(groups["body"], eyeballs, mean, ears=ears, depth=depth, mirror=mirror)
        head = neck_height(mean) > -35
        body = groups["body"][head[groups["body"]].all(1)]
        body = body[in_largest_component(body, len(mean))]

        quads = np.concatenate([body, eyeballs, teeth, groups["helper-tongue"]])
        self.vertices = np.unique(quads)
        new = np.full(len(mean), -1)
        new[self.vertices] = np.arange(len(self.vertices))
        self.body, self.eyeballs, self.teeth, self.tongue = (
            new[part] for part in (body, eyeballs, teeth, groups["helper-tongue"])
        )
        self.sampled = [[int(new[corner]) for corner in face] for face in sampled]
        self.sampled_vertices = np.isin(np.arange(len(self.vertices)), np.concatenate(self.sampled))
        self.mirror = new[mirror[self.vertices]]
        self.depth = depth[self.vertices]
        self.cavity = self.depth >= 0
        self.eyeball = np.isin(self.vertices, eyeballs)
        self.eyeball_depth = np.where(self.eyeball, mean[self.vertices, 2], np.nan)
        self.ears = ears[self.vertices]


def sampled_faces(body, eyeballs, mean, *, ears, depth, mirror) -> list[list[int]]:
    """The faces of the base mesh that the principal components are computed on.

    Another choice would give the coefficients another meaning, so that networks would have to be trained again.
    """
    x, y, z = mean.T
    skin = (y < 86 - 0.003 * x**2) & (y > -116 + 0.24 * (20 - z)) & (z > -90 + 0.9 * np.clip(y + 8, 0, None))
    keep = (skin | ears) & (depth < 0)
    keep |= (depth >= 0) & (depth < Cut.RINGS_KEPT)
    quads = body[keep[body].all(1)]
    quads = without_spikes(quads[in_largest_component(quads, len(mean))])
    quads = np.concatenate([quads, eyeballs[(mean[eyeballs][:, :, 2] > EYEBALL_FRONT).all(1)]])
    return [*quads.tolist(), *mouth_cap(quads, depth >= 0, mirror, mean)]


def cavity_depth(quads: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The depth of each base vertex in the mouth, in rings from 0 behind the lips to 10; -1 elsewhere.

    The base mesh numbers the rings of its right half consecutively, with 17 vertices per ring. A few rows of vertices
    between them have later numbers and take the depth of their neighbours.
    """
    first, rings, half = 520, 11, 17
    index = np.arange(len(mirror))
    depth = np.where((index >= first) & (index < first + rings * half), (index - first) // half, -1)
    depth[mirror[depth >= 0]] = depth[depth >= 0]
    edges, _, _ = edges_of(quads)
    one, other = np.concatenate([edges, edges[:, ::-1]]).T
    between = (depth[one] < 0) & (depth[other] >= 1)
    nearest = np.full(len(depth), rings)
    np.minimum.at(nearest, one[between], depth[other[between]])
    return np.where(nearest < rings, nearest, depth)


class FineMesh:
    """The fine mesh of the head, whose first vertices are the face's.

    `matrix` (V, base) gives its vertices from those of a `Cut`, `face_vertices` is the number of the face's. `face`
    and `head` (T, 3) are the triangles. The face ends in the mouth with a cap, behind which the head goes on.
    `parts` are masks (V,) of all the head's regions but those of the face's skin.
    """

    def __init__(self, cut: Cut, mean: np.ndarray):
        """`mean` (base, 3) is the mean person in mm."""
        sources = ((cut.body, 1), (cut.eyeballs, 2), (cut.teeth, 1), (cut.tongue, 1))
        pieces = [subdivided(quads, len(mean), steps) for quads, steps in sources]
        self.matrix = vstack([matrix for matrix, _ in pieces]).tocsr()
        first = np.cumsum([0, *(matrix.shape[0] for matrix, _ in pieces)])
        self.position = self.matrix @ mean
        eyes = self.position[first[1] : first[2]]
        middle, eye = eyes.mean(0), eyes[eyes[:, 0] > 0].mean(0) - [0, GAZE_DROP, 0]

        triangles = [
            triangulate(quads + start, self.position)
            for (_, quads), start in zip(pieces, first[:-1], strict=True)
        ]
        # A base quad is 4 fine quads, or 16 after two steps, of two triangles each.
        front = (cut.eyeball_depth[cut.eyeballs] > EYEBALL_FRONT).all(1)
        of_body = np.select([deep_quads(cut), cut.cavity[cut.body].any(1)], ["throat", "mouth"], "skin")
        kinds = [
            of_body.repeat(8),
            np.where(front, "eye", "eye behind").repeat(32),
            np.full(len(triangles[2]), "teeth"),
            np.full(len(triangles[3]), "tongue"),
        ]
        self.triangles, self.kind = np.concatenate(triangles), np.concatenate(kinds).astype("U10")

        self.on_curve = np.zeros(0, dtype=int)

        def from_middle():
            return self.position - middle

        self._cut(neck_height(from_middle()), "skin", outside="dropped")
        self._cut(face_depth(from_middle()), "skin", outside="head")
        surface = np.flatnonzero(np.isin(self.kind, ["skin", "mouth"]))
        own = in_largest_component(self.triangles[surface], self.matrix.shape[0])
        self.kind[surface[~own]] = "head"
        # Two curves side by side, between which colours by vertex change.
        self._cut(face_depth(from_middle()) + BLEND, "head", outside="head")
        for radius in EYE_RINGS:
            self._cut(radius - from_axis(self.position, eye), "eye", outside="eye")
        self._cut(ear_depth(from_middle()), "head", outside="neck", inside="ear")
        self._cut(ear_depth(from_middle()) + BLEND, "neck", outside="neck")
        self._cut(hair_height(from_middle()), "neck", outside="neck", inside="scalp")
        self._cut(hair_height(from_middle()) + BLEND, "neck", outside="neck")

        of_face = np.isin(self.kind, ["skin", "mouth", "eye"])
        own, used = (np.unique(self.triangles[part]) for part in (of_face, self.kind != "dropped"))
        self.face_vertices, order = len(own), np.concatenate([own, np.setdiff1d(used, own)])
        new = np.full(self.matrix.shape[0], -1)
        new[order] = np.arange(len(order))
        self.matrix, self.position, self.triangles = (
            self.matrix[order],
            self.position[order],
            new[self.triangles],
        )

        face = self.triangles[of_face]
        others = self.triangles[~of_face & (self.kind != "dropped")]
        self.head = np.concatenate([face, others])
        in_mouth, in_throat = (self._touched(kind) for kind in ("mouth", "throat"))
        mouth = self.triangles[self.kind == "mouth"]
        cap = mouth_cap(mouth, in_mouth & in_throat, mirror_map(self.position), self.position)
        self.face = np.concatenate([face, *(fan(polygon) for polygon in cap)])

        radius, front = from_axis(self.position, eye), self._touched("eye")
        skin, ears, scalp = (self._touched(kind) for kind in ("skin", "ear", "scalp"))
        self.parts = {
            "scalp": scalp & ~ears & ~skin,
            "ears": ears & ~skin,
            "neck": self._touched("neck") & ~ears & ~scalp & ~skin,
            "mouth_inside": (in_mouth | in_throat) & ~skin,
            "eyeballs": front | self._touched("eye behind"),
            "irises": front & (radius < IRIS + 0.01) & (radius > PUPIL + 0.01),
            "pupils": front & (radius < PUPIL + 0.01),
            "teeth": self._touched("teeth"),
            "tongue": self._touched("tongue"),
        }

    def _touched(self, kind: str) -> np.ndarray:
        return np.isin(np.arange(self.matrix.shape[0]), self.triangles[self.kind == kind])

    def _cut(self, values, kind: str, *, outside: str, inside: str = "") -> None:
        """Cut the triangles of a kind along the curve where the vertices' values (V,) are 0, and name both sides."""
        chosen = self.kind == kind
        # Vertices of other parts stay, as do those of the curves before.
        still = np.isin(np.arange(len(values)), self.triangles[~chosen])
        still[self.on_curve] = True
        # An edge shared with another part is not cut: on one side of it alone, that would tear the mesh.
        edges, others = (edges_of(self.triangles[part])[0] for part in (chosen, ~chosen))
        shared = edges[np.isin(edges @ [len(values), 1], others @ [len(values), 1])]
        shared = shared[values[shared].prod(1) < 0]
        nearer = np.abs(values[shared]).argmin(1)
        values[shared[np.arange(len(shared)), nearer]] = 0
        moves, triangles, positive = cut_along(self.triangles[chosen], values, self.position, still)
        slid = np.flatnonzero(moves.diagonal() < 1)
        self.on_curve = np.concatenate([self.on_curve, slid, np.arange(len(values), moves.shape[0])])
        self.matrix, self.position = (moves @ self.matrix).tocsr(), moves @ self.position
        self.triangles = np.concatenate([self.triangles[~chosen], triangles])
        self.kind = np.concatenate([self.kind[~chosen], np.where(positive, inside or kind, outside)])


def from_axis(points: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Distance of points (V, 3) from the line along z through the nearer pupil; `eye` is on that of the left eye."""
    return np.hypot(np.abs(points[:, 0]) - eye[0], points[:, 1] - eye[1])


def deep_quads(cut: Cut) -> np.ndarray:
    """Which quads of the body line the throat, behind the face's part of the mouth cavity."""
    deep = (cut.depth[cut.body] >= cut.RINGS_KEPT).any(1)
    shallow = np.flatnonzero(~deep)
    deep[shallow[~in_largest_component(cut.body[shallow], len(cut.depth))]] = True
    return deep


def subdivided(quads: np.ndarray, vertices: int, steps: int) -> tuple[csr_array, np.ndarray]:
    """A matrix (fine, vertices) of so many Catmull-Clark steps of a part of a mesh, and the fine quads."""
    used, local = np.unique(quads, return_inverse=True)
    faces = local.reshape(quads.shape)
    matrix = csr_array((np.ones(len(used)), (np.arange(len(used)), used)), shape=(len(used), vertices))
    for _ in range(steps):
        step, faces = catmull_clark(faces, matrix.shape[0])
        matrix = step @ matrix
    return matrix, faces


NEAR = 0.3
"""A vertex this share of an edge or less from a curve moves onto it, so that no thin triangles are cut off."""


def cut_along(triangles, values, position, still) -> tuple[csr_array, np.ndarray, np.ndarray]:
    """Cut triangles along the curve where `values` (V,), linear on each edge, are 0.

    Returns a matrix (new, V) that moves vertices, but those of the mask `still`, onto the curve and adds vertices on
    it, the new triangles, and which of them have positive values. The cut is symmetric if the mesh and `position`
    (V, 3) are.
    """
    count, values = len(values), np.where(np.abs(values) < 1e-9, 0.0, values)
    edges, _, _ = edges_of(triangles)
    ends = np.concatenate([edges, edges[:, ::-1]])
    ends = ends[values[ends[:, 0]] * values[ends[:, 1]] < 0]
    size = np.abs(values[ends])
    share = size[:, 0] / size.sum(1)
    # A vertex in the middle of the face stays there. Two edges as short as each other are told apart by their ends.
    middle = np.abs(position[ends, 0]) < 1e-6
    near = (share <= NEAR) & (~middle[:, 0] | middle[:, 1]) & ~still[ends[:, 0]]
    key = np.round(share, 6) + 1e-8 * (np.abs(position[ends[:, 1], 0]) + 0.1 * position[ends[:, 1], 1])
    order = np.flatnonzero(near)[np.argsort(key[near])]
    _, chosen = np.unique(ends[order, 0], return_index=True)
    chosen = order[chosen]
    slid, aim, share = ends[chosen, 0], ends[chosen, 1], share[chosen]
    slide = eye_array(count).tolil()
    slide[slid, slid], slide[slid, aim] = 1 - share, share
    values[slid] = 0.0

    edges = edges[values[edges[:, 0]] * values[edges[:, 1]] < 0]
    size = np.abs(values[edges])
    share = size[:, 0] / size.sum(1)
    rows = np.arange(len(edges)).repeat(2)
    weights = np.stack([1 - share, share], axis=1)
    added = csr_array((weights.ravel(), (rows, edges.ravel())), shape=(len(edges), count))
    slide = slide.tocsr()
    matrix = vstack([slide, added @ slide]).tocsr()
    position, values = matrix @ position, np.concatenate([values, np.zeros(len(edges))])
    new = {tuple(edge): count + number for number, edge in enumerate(edges.tolist())}

    result = []
    for triangle in triangles.tolist():
        ring = []
        for one, other in zip(triangle, [*triangle[1:], triangle[0]], strict=True):
            ring.append(one)
            if (edge := (min(one, other), max(one, other))) in new:
                ring.append(new[edge])
        for sign in (1, -1):
            side = [corner for corner in ring if sign * values[corner] >= 0]
            if len(side) == 4:
                diagonals = np.linalg.norm(position[side[:2]] - position[side[2:]], axis=1)
                if diagonals[1] < diagonals[0]:
                    side = [*side[1:], side[0]]
            if len(side) >= 3 and (len(ring) > 3 or any(sign * values[corner] > 0 for corner in side)):
                result.extend(fan(side))
            elif len(ring) == 3 and sign == 1 and not values[ring].any():
                result.append(ring)
    result = np.array(result)
    return matrix, result, values[result].sum(1) >= 0


def edges_of(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The edges (E, 2) of faces (F, n), sorted and with the smaller vertex first.

    Also returns how many faces have each edge, (E,), and which edge follows each corner of a face, (F, n).
    """
    pairs = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    edges, of_face, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    return edges, count, of_face.reshape(faces.shape)


def fan(polygon) -> list[list[int]]:
    """The triangles of a polygon around its first corner."""
    return [[polygon[0], one, other] for one, other in pairwise(polygon[1:])]


def mirror_map(vertices: np.ndarray) -> np.ndarray:
    """Each vertex's partner across x = 0."""
    distance, partner = cKDTree(vertices).query(vertices * [-1, 1, 1])
    if distance.max() > 0.01:
        raise ValueError(
            f"expected a mesh symmetric in x, but a vertex lies {distance.max():.3f} from its mirror"
        )
    return partner


def in_largest_component(faces: np.ndarray, vertices: int) -> np.ndarray:
    """Which faces (F, 3 or 4) belong to the largest connected part."""
    edges, _, _ = edges_of(faces)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(vertices, vertices))
    label = connected_components(graph, directed=False)[1][faces[:, 0]]
    return label == np.bincount(label).argmax()


def without_spikes(quads: np.ndarray) -> np.ndarray:
    """Remove quads that stick out of the cut's edge on their own."""
    while True:
        _, count, of_quad = edges_of(quads)
        ends_here = (np.bincount(quads.ravel())[quads] == 1).any(axis=1)
        spikes = ends_here & ((count[of_quad] == 1).sum(axis=1) >= 2)
        if not spikes.any():
            return quads
        quads = quads[~spikes]


def mouth_cap(quads: np.ndarray, cavity: np.ndarray, mirror: np.ndarray, mean: np.ndarray) -> list[list[int]]:
    """Faces that close the mouth at its innermost ring, between each vertex and its mirror partner."""
    edges, count, _ = edges_of(quads)
    neighbours = {}
    for a, b in edges[(count == 1) & cavity[edges].all(axis=1)].tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    middle = [v for v in neighbours if mirror[v] == v]
    top, bottom = sorted(middle, key=lambda v: -mean[v, 1])
    chain = [top, next(v for v in neighbours[top] if mean[v, 0] < 0)]
    while chain[-1] != bottom:
        chain.append(next(v for v in neighbours[chain[-1]] if v != chain[-2]))
    other = [int(mirror[v]) for v in chain]
    caps = [[chain[0], chain[1], other[1]], [chain[-2], chain[-1], other[-2]]]
    caps += [[chain[i], chain[i + 1], other[i + 1], other[i]] for i in range(1, len(chain) - 2)]
    normal = sum(np.cross(mean[face[1]] - mean[face[0]], mean[face[2]] - mean[face[0]]) for face in caps)
    return caps if normal[2] > 0 else [face[::-1] for face in caps]


def catmull_clark(quads: np.ndarray, vertices: int) -> tuple[csr_array, np.ndarray]:
    """One Catmull-Clark step as a matrix (fine, vertices), and the fine quads (Catmull and Clark, 1978)."""
    edges, count, of_quad = edges_of(quads)
    # The quads' order numbers the new vertices on edges.
    order = np.unique(of_quad, return_index=True)[1].argsort()
    edges, inside, of_quad = edges[order], count[order] == 2, order.argsort()[of_quad]
    corners, ends, sides = (
        incidence(quads, vertices),
        incidence(edges, vertices),
        incidence(of_quad, len(edges)),
    )
    rim = ends[~inside]
    valence, at_rim = ends.sum(axis=0), rim.sum(axis=0)
    on_quads = corners / 4
    on_edges = diags_array(0.5 - inside / 4) @ ends + diags_array(inside / 4) @ sides.T @ on_quads
    moved = (
        diags_array(np.select([at_rim == 0, at_rim == 2], [1 - 3 / valence, 0.5], 1.0))
        + diags_array((at_rim == 0) / valence**2) @ (corners.T @ on_quads + ends.T @ ends)
        + diags_array((at_rim == 2) / 8) @ rim.T @ rim
    )
    out = vertices + of_quad
    middle = np.arange(len(quads))[:, None].repeat(4, axis=1) + vertices + len(edges)
    fine = np.stack([quads, out, middle, np.roll(out, 1, axis=1)], axis=-1).reshape(-1, 4)
    return vstack([moved, on_edges, on_quads]).tocsr(), fine


def incidence(faces: np.ndarray, vertices: int) -> csr_array:
    """1 where a face (F, n) has a vertex, (F, vertices)."""
    count, corners = faces.shape
    rows = np.arange(0, faces.size + 1, corners)
    return csr_array((np.ones(faces.size), faces.ravel(), rows), shape=(count, vertices))


def vertex_areas(vertices: np.ndarray, faces) -> np.ndarray:
    """Each vertex's share of the surface, in mm^2."""
    areas = np.zeros(len(vertices))
    for face in faces:
        corners = vertices[face]
        area = (
            np.linalg.norm(np.cross(corners[1:-1] - corners[0], corners[2:] - corners[0]), axis=1).sum() / 2
        )
        areas[face] += area / len(face)
    return areas


def triangulate(quads: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Cut quads into triangles (T, 3) along the shorter diagonal, symmetrically on both sides of the face."""
    first = np.linalg.norm(vertices[quads[:, 0]] - vertices[quads[:, 2]], axis=1)
    second = np.linalg.norm(vertices[quads[:, 1]] - vertices[quads[:, 3]], axis=1)
    along = np.where(
        (first <= second + 1e-4)[:, None, None],
        quads[:, [[0, 1, 2], [0, 2, 3]]],
        quads[:, [[0, 1, 3], [1, 2, 3]]],
    )
    return along.reshape(-1, 3)
