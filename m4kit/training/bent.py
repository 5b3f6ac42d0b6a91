"""Makes training faces with extreme shapes by bending photos, and labels them with a network's own answers.

A caricature needs an identity three times as far from the mean as a photo does, and a network that saw only photos
does not give it. Here each crop is bent: it becomes a relief, with the depth of the head's mesh, and smoothly less
around it. Identity and expression change at random, the head turns a little, and the relief is drawn again (face
profiling: Zhu et al., Face Alignment Across Large Poses, CVPR 2016). The label moves with the picture, so it stays as
good as it was. Nearly half of these crops also look like art.

The labels are the network's own answers in two views. A training on them changes nothing on photos, as far as it can
avoid it.

    python -m m4kit.training.bent --data DATA --weights m4net-base --out OUT

writes the crops into `OUT/bent_SOURCE.zip`, and `OUT/labels.npz` with the photos and the bent faces, without
annotated points. A training needs the archives of the photos in the same folder (links will do).
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from m4kit.camera import CROP_SIZE, crop_from_landmarks, decompose, head_poses, rotation_from_euler
from m4kit.commands import add_quiet, add_weights, shows_progress
from m4kit.engine import Engine, exact_engine
from m4kit.face_model import EXPRESSION_MODES, IDENTITY_MODES, FaceModel
from m4kit.files import OutputFolder, whole_file
from m4kit.images import jpeg
from m4kit.network import M4Net
from m4kit.parameters import fuse, join, landmarks_in_crop, split, split_camera
from m4kit.raster import look
from m4kit.training.art_looks import look_like_art
from m4kit.training.data import Labels
from m4kit.training.sources import SOURCES, Source, read_source
from m4kit.views import regress

LARGEST_YAW = 75.0
"""Faces beyond this yaw, in degrees, are not bent: most of the head is hidden."""

TURN, NOD = 12.0, 8.0
"""Largest turn and nod in degrees; small ones are more frequent."""

OWN, OWN_SHARE = (1.0, 4.0), 0.7
"""Range of the factor by which a face's own identity grows, and the share of the faces where it does."""

CHANGE, WIDE_MODES, NARROW = (2.0, 11.0), 16, 0.35
"""Range of the length of a random change of identity, in standard deviations.

The first modes, which move the face most, have the most of it, the others the share `NARROW`.
"""

ART = 0.45
"""Share of the bent faces that look like art."""

_VIEWS = 2
_PAD, _STEP = 40, 2
_SIDE = (CROP_SIZE + 2 * _PAD) // _STEP + 1
_ROW, _COLUMN = np.divmod(np.arange(_SIDE**2), _SIDE)
"""A square grid of points over the padded crop: its margin and steps in pixels, its side and places in steps."""

_JPEG_QUALITY = 92


class Move(NamedTuple):
    """How a face changes.

    A turn and a nod in degrees about the head's own axes, the new identity (40,), and the new expression (10,).
    """

    turn: float
    nod: float
    identity: np.ndarray
    expression: np.ndarray


def random_move(random: np.random.Generator, parameters: np.ndarray) -> Move:
    """Draw a move for a face with raw parameters (62,)."""
    turn, nod = (float(random.triangular(-most, 0, most)) for most in (TURN, NOD))
    _, identity, expression = split(parameters)
    spread = np.where(np.arange(IDENTITY_MODES) < WIDE_MODES, 1.0, NARROW)
    change = (
        random.normal(size=IDENTITY_MODES) * spread * np.exp(random.normal(scale=0.4, size=IDENTITY_MODES))
    )
    if random.random() < OWN_SHARE:
        identity = identity * random.uniform(*OWN)
    identity = identity + change * (random.uniform(*CHANGE) / np.linalg.norm(change))
    expression = expression * random.uniform(0.6, 1.7)
    if random.random() < 0.6:
        # The first mode opens the mouth.
        spread = np.where(np.arange(EXPRESSION_MODES) < 1, 0.5, 1.0)
        expression = expression + random.normal(size=EXPRESSION_MODES) * random.uniform(0, 1.2) * spread
    return Move(turn, nod, identity, expression)


def moved(
    head: FaceModel, crop: np.ndarray, parameters: np.ndarray, move: Move
) -> tuple[np.ndarray, np.ndarray]:
    """Move a face; returns its new crop (120, 120, 3) uint8 RGB and raw parameters (62,).

    `head` is the model of the whole head. The face fills the new crop as it filled the old one.
    """
    camera, *coefficients = split(parameters.astype(np.float64))
    _, rotation, _ = decompose(camera)
    vertices, target = (
        np.asarray(head.vertices(*values), dtype=float) @ camera[:, :3].T + camera[:, 3]
        for values in (coefficients, (move.identity, move.expression))
    )
    centre = vertices.mean(axis=0)
    turn = rotation @ rotation_from_euler(move.turn, move.nod, 0) @ rotation.T
    places, change = _relief(head, vertices, target - vertices, behind=centre[2])
    at = (places + change - centre) @ turn.T + centre

    linear = np.column_stack([turn @ camera[:, :3], turn @ (camera[:, 3] - centre) + centre])
    new = join(linear, move.identity, move.expression)
    old_frame, new_frame = (crop_from_landmarks(landmarks_in_crop(head, one)) for one in (parameters, new))
    zoom = old_frame.size / new_frame.size
    shift = old_frame.centre - zoom * new_frame.centre
    at = zoom * at
    at[:, :2] += shift
    frame, shape = split_camera(new)
    frame = zoom * frame
    frame[:2, 3] += shift
    frame[2, 3] = 0
    return _drawn(crop, at), join(frame, shape).astype(np.float32)


def _relief(
    head: FaceModel, vertices: np.ndarray, change: np.ndarray, *, behind: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute points (n, 3) of a grid over the padded crop, in the crop frame, and how far each moves with the mesh.

    `vertices` (V, 3) are the head's in the crop frame, `change` (V, 3) their moves.
    """
    half = CROP_SIZE / 2 + _PAD
    # Pixels of the grid, from the padded crop's upper left corner.
    pixels = (vertices * [1, -1, 1] + [half, half, 0]) / [_STEP, _STEP, 1]
    corners = np.asarray(head.triangles).T
    window = (0, 0, _SIDE, _SIDE)
    seen = look(_at_corners(pixels, corners), window, values=_at_corners(change, corners))
    known = np.isfinite(seen.depth).reshape(_SIDE, _SIDE)
    values = np.column_stack([np.nan_to_num(seen.depth - behind), seen.values.T]).astype(np.float32)
    # The border, where all values are 0, stays where it is, at the depth of the head's centre.
    border = np.ones_like(known)
    border[1:-1, 1:-1] = False
    filled = _filled(values.reshape(_SIDE, _SIDE, 4), known | border).reshape(-1, 4)
    places = np.column_stack([_STEP * _COLUMN - half, half - _STEP * _ROW, filled[:, 0] + behind])
    return places, filled[:, 1:].astype(float)


def _at_corners(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Arrange points (n, c) by the corners (3, T) of triangles, (c, 3, T)."""
    return np.ascontiguousarray(points[corners].transpose(2, 0, 1))


def _filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill the unknown values (h, w, c) smoothly from those `known` (h, w), coarse to fine."""
    if known.all() or min(known.shape) < 3:
        return values
    weight = known.astype(np.float32)
    size = tuple(-(-side // 2) for side in known.shape[::-1])
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(values * weight[..., None], size, interpolation=cv2.INTER_AREA)
    coarse = coarse / np.maximum(share, 1e-6)[..., None]
    coarse = _filled(coarse.astype(np.float32), share > 0)
    return np.where(known[..., None], values, cv2.resize(coarse, known.shape[::-1]))


def _drawn(crop: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Draw the relief of a crop (120, 120, 3) with its grid points `at` (n, 3) in the crop frame."""
    number = np.arange(_SIDE**2).reshape(_SIDE, _SIDE)
    a, b, c, d = (
        number[rows, columns].ravel()
        for rows in (slice(-1), slice(1, None))
        for columns in (slice(-1), slice(1, None))
    )
    corners = np.concatenate([np.stack([a, c, b]), np.stack([b, c, d])], axis=1)
    centre = (CROP_SIZE - 1) / 2
    pixels = at * [1, -1, 1] + [centre, centre, 0]
    source = np.column_stack([_COLUMN, _ROW]) * _STEP - 0.5
    window = (0, 0, CROP_SIZE, CROP_SIZE)
    seen = look(_at_corners(pixels, corners), window, values=_at_corners(source, corners))
    maps = seen.values.reshape(2, CROP_SIZE, CROP_SIZE)
    padded = cv2.copyMakeBorder(crop, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_REFLECT_101)
    picture = cv2.remap(padded, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered = np.isfinite(seen.depth).reshape(CROP_SIZE, CROP_SIZE)
    filled = _filled(picture.astype(np.float32), covered)
    return np.clip(np.round(filled), 0, 255).astype(np.uint8)


def own_labels(source: Source, model: FaceModel, engine: Engine, *, progress: bool = True) -> Labels:
    """Label all faces of a source with the network's own answers."""
    parts = np.array_split(np.arange(len(source.names)), len(source.names) // 256 + 1)
    bar = tqdm(parts, desc=f"asking for {source.name}", disable=not progress, mininterval=5)
    parameters = np.concatenate(
        [fuse(*regress(engine, model, source.crops(part), views=_VIEWS)) for part in bar]
    )
    return Labels.unannotated(
        source.names, source.name, parameters, validation=source.validation, face_model=model.fingerprint
    )


def bend_faces(
    source: Source, labels: Labels, head: FaceModel, *, out: Path, seed: int = 0, progress: bool = True
) -> Labels:
    """Bend each face of a source once; returns the new faces' labels, and writes their crops into `out`."""
    yaw = np.array([pose.yaw for pose in head_poses(split(labels.parameters).camera)])
    faces = np.flatnonzero(np.abs(yaw) < LARGEST_YAW)
    names, parameters = [f"{face:06d}.jpg" for face in faces], labels.parameters[faces]
    with whole_file(out / f"bent_{source.name}.zip") as path, zipfile.ZipFile(path, "w") as archive:
        bar = tqdm(source.crops(faces), desc=f"bending {source.name}", disable=not progress, mininterval=5)
        for i, crop in enumerate(bar):
            random = np.random.default_rng([seed, faces[i]])
            new, parameters[i] = moved(head, crop, parameters[i], random_move(random, parameters[i]))
            if random.random() < ART:
                new = look_like_art(new, random)
            archive.writestr(zipfile.ZipInfo(names[i]), jpeg(new, quality=_JPEG_QUALITY))
    held_out = labels.validation[faces]
    return Labels.unannotated(
        names, f"bent_{source.name}", parameters, validation=held_out, face_model=labels.face_model
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m m4kit.training.bent", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {' and '.join(SOURCES)}")
    add_weights(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    add_quiet(parser)
    options = parser.parse_args(arguments)
    shown = {"progress": shows_progress(options)}
    try:
        model, engine = FaceModel.load(), exact_engine(options.weights, M4Net.load)
        archives = [f"bent_{name}.zip" for name in SOURCES]
        with OutputFolder(options.out, ["labels.npz", *archives]):
            parts = []
            for name in SOURCES:
                source = read_source(options.data, name)
                labels = own_labels(source, model, engine, **shown)
                bent = bend_faces(source, labels, model.head, out=options.out, seed=options.seed, **shown)
                parts += [labels, bent]
            Labels.joined(parts).save(options.out / "labels.npz")
    # TrainingError, WeightsError, FaceModelError and OutputError are ValueErrors.
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
