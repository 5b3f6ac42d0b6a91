"""New training faces from labelled crops: each face is turned further to its side, and may become another person.

Faces seen from the side are rare in AFLW, and its labels there are the teachers' answers. Here the label of a face
that is seen well moves with the picture, so that the labels of the new faces are as good as those of the old ones.

The crop becomes a relief. The head's mesh gives the depth of the head, and around it depth falls off smoothly to
that of the head's centre. The relief is turned about the head, bent by a change of identity, and drawn again (face
profiling: Zhu et al., Face Alignment Across Large Poses, CVPR 2016). A head is only turned further away, where little
that was hidden comes into view.

    python -m m4kit.training.turned --data DATA --labels LABELS --out OUT

writes the crops into `OUT/turned_SOURCE.zip`, and `OUT/labels.npz` with the old faces and the new ones, without
annotated points. A training needs the old archives in the same folder (links will do).
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from m4kit.camera import CROP_SIZE, crop_from_landmarks, decompose, head_pose, rotation_from_euler
from m4kit.commands import add_quiet, shows_progress
from m4kit.face_model import FaceModel
from m4kit.files import OutputFolder, whole_file
from m4kit.images import jpeg
from m4kit.parameters import join, landmarks_in_crop, split, split_camera
from m4kit.raster import look
from m4kit.training.data import Labels, read_crops

LARGEST_YAW = 60.0
"""Faces beyond this yaw, in degrees, are not turned further."""

TURN, NOD = (12.0, 50.0), 12.0
"""Range of the turn, and largest nod, in degrees."""

OTHER_PERSON, EXAGGERATED = 0.35, 0.15
"""Shares of the faces with a random change of identity, and with their own identity exaggerated."""

_CHANGE, _EXAGGERATION = 0.7, (1.5, 3.0)
_PAD, _STEP = 40, 2
_JPEG_QUALITY = 95


class Move(NamedTuple):
    """How a face changes: a turn and a nod in degrees about the head's own axes, and the new identity (40,)."""

    turn: float
    nod: float
    identity: np.ndarray


def random_move(random: np.random.Generator, parameters: np.ndarray) -> Move:
    """Draw a move for a face with raw parameters (62,), away from the viewer."""
    camera, identity, _ = split(parameters)
    yaw = head_pose(camera).yaw
    side = np.sign(yaw) if abs(yaw) > 8 else random.choice([-1.0, 1.0])
    turn = side * min(random.uniform(*TURN), 90 - abs(yaw))
    kind = random.random()
    if kind < OTHER_PERSON:
        identity = identity + random.normal(scale=_CHANGE, size=identity.shape)
    elif kind < OTHER_PERSON + EXAGGERATED:
        identity = identity * random.uniform(*_EXAGGERATION)
    return Move(float(turn), float(random.triangular(-NOD, 0, NOD)), identity)


def moved(
    head: FaceModel, crop: np.ndarray, parameters: np.ndarray, move: Move
) -> tuple[np.ndarray, np.ndarray]:
    """A face after a move: its crop (120, 120, 3) uint8 RGB and raw parameters (62,).

    `head` is the model of the whole head. The face fills the new crop as it filled the old one.
    """
    camera, identity, expression = split(parameters.astype(np.float64))
    _, rotation, _ = decompose(camera)
    vertices, target = (
        np.asarray(head.vertices(values, expression), dtype=float) @ camera[:, :3].T + camera[:, 3]
        for values in (identity, move.identity)
    )
    centre = vertices.mean(axis=0)
    turn = rotation @ rotation_from_euler(move.turn, move.nod, 0) @ rotation.T
    places, change = _relief(head, vertices, target - vertices, behind=centre[2])
    at = (places + change - centre) @ turn.T + centre

    linear = turn @ camera[:, :3]
    new = join(np.column_stack([linear, turn @ (camera[:, 3] - centre) + centre]), move.identity, expression)
    old_frame, new_frame = (crop_from_landmarks(landmarks_in_crop(head, one)) for one in (parameters, new))
    zoom = old_frame.size / new_frame.size
    shift = old_frame.centre - zoom * new_frame.centre
    at = zoom * at
    at[:, :2] += shift
    frame, coefficients = split_camera(new)
    frame = zoom * frame
    frame[:2, 3] += shift
    frame[2, 3] = 0
    return _drawn(crop, at), join(frame, coefficients).astype(np.float32)


def _relief(
    head: FaceModel, vertices: np.ndarray, change: np.ndarray, *, behind: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) of a grid over the padded crop, in the crop frame, and how far each moves with the mesh.

    `vertices` (V, 3) are the head's in the crop frame, `change` (V, 3) their moves.
    """
    count = (CROP_SIZE + 2 * _PAD) // _STEP + 1
    # Pixels of the grid, from the padded crop's upper left corner.
    pixels = (vertices * [1, -1, 1] + [CROP_SIZE / 2 + _PAD, CROP_SIZE / 2 + _PAD, 0]) / [_STEP, _STEP, 1]
    triangles = np.asarray(head.triangles)
    seen = look(np.ascontiguousarray(pixels[triangles].transpose(2, 1, 0)), (0, 0, count, count))
    found = seen.triangle >= 0
    values = np.zeros((count * count, 4), dtype=np.float32)
    values[found, 0] = seen.depth[found] - behind
    corners = change[triangles[seen.triangle[found]]]
    values[found, 1:] = (corners * seen.weights[found][..., None]).sum(axis=1)
    known = found.reshape(count, count).copy()
    # The border stays where it is, at the depth of the head's centre.
    known[[0, -1]] = known[:, [0, -1]] = True
    filled = _filled(values.reshape(count, count, 4), known).reshape(-1, 4)
    row, column = np.divmod(np.arange(count * count), count)
    half = CROP_SIZE / 2 + _PAD
    places = np.column_stack([_STEP * column - half, half - _STEP * row, filled[:, 0] + behind])
    return places, filled[:, 1:].astype(float)


def _filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values (h, w, c) whose unknown ones are filled smoothly from those `known` (h, w), coarse to fine."""
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
    """The relief of a crop (120, 120, 3) with its grid points `at` (n, 3) in the crop frame."""
    count = (CROP_SIZE + 2 * _PAD) // _STEP + 1
    number = np.arange(count * count).reshape(count, count)
    a, b, c, d = (
        number[:-1, :-1].ravel(),
        number[:-1, 1:].ravel(),
        number[1:, :-1].ravel(),
        number[1:, 1:].ravel(),
    )
    triangles = np.concatenate([np.column_stack([a, c, b]), np.column_stack([b, c, d])])
    centre = (CROP_SIZE - 1) / 2
    pixels = at * [1, -1, 1] + [centre, centre, 0]
    seen = look(np.ascontiguousarray(pixels[triangles].transpose(2, 1, 0)), (0, 0, CROP_SIZE, CROP_SIZE))
    corners = triangles[seen.triangle]
    row, column = np.divmod(corners, count)
    place = np.stack([(column * seen.weights).sum(1), (row * seen.weights).sum(1)], axis=-1) * _STEP - 0.5
    place = place.reshape(CROP_SIZE, CROP_SIZE, 2).astype(np.float32)
    padded = cv2.copyMakeBorder(crop, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_REFLECT_101)
    picture = cv2.remap(padded, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered = (seen.triangle >= 0).reshape(CROP_SIZE, CROP_SIZE)
    filled = _filled(picture.astype(np.float32), covered)
    return np.clip(np.round(filled), 0, 255).astype(np.uint8)


def turn_faces(
    labels: Labels, head: FaceModel, *, data: Path, out: Path, seed: int = 0, progress: bool = True
) -> Labels:
    """Move each face to train on once; returns the new faces' labels, and writes their crops into `out`."""
    yaw = np.array([head_pose(camera).yaw for camera in split_camera(labels.parameters)[0]])
    chosen = ~labels.validation & (np.abs(yaw) < LARGEST_YAW)
    parts = []
    for source in np.unique(labels.source[chosen]):
        faces = np.flatnonzero(chosen & (labels.source == source))
        crops = read_crops(data / f"{source}.zip", labels.names[faces].tolist())
        names, parameters = [f"{face:06d}.jpg" for face in faces], labels.parameters[faces]
        with whole_file(out / f"turned_{source}.zip") as path, zipfile.ZipFile(path, "w") as archive:
            bar = tqdm(faces, desc=f"turning {source}", disable=not progress, mininterval=5)
            for i, face in enumerate(bar):
                move = random_move(np.random.default_rng([seed, face]), parameters[i])
                crop, parameters[i] = moved(head, crops[i], parameters[i], move)
                archive.writestr(zipfile.ZipInfo(names[i]), jpeg(crop, quality=_JPEG_QUALITY))
        count = len(faces)
        parts.append(
            Labels(
                names=np.array(names),
                source=np.full(count, f"turned_{source}"),
                parameters=parameters,
                points21=np.full((count, 21, 2), np.nan, np.float32),
                points68=np.full((count, 68, 2), np.nan, np.float32),
                validation=np.zeros(count, bool),
                face_model=labels.face_model,
            )
        )
    return Labels.joined(parts)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m m4kit.training.turned", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the labels' archives")
    parser.add_argument("--labels", type=Path, required=True, help="labels of m4kit.training.labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    add_quiet(parser)
    options = parser.parse_args(arguments)
    try:
        labels, model = Labels.load(options.labels), FaceModel.load()
        labels.check_fits(model)
        archives = [f"turned_{source}.zip" for source in np.unique(labels.source)]
        with OutputFolder(options.out, ["labels.npz", *archives], inputs=[options.labels]):
            shown = {"progress": shows_progress(options)}
            new = turn_faces(
                labels, model.head, data=options.data, out=options.out, seed=options.seed, **shown
            )
            Labels.joined([labels, new]).save(options.out / "labels.npz")
    # TrainingError, FaceModelError and OutputError are ValueErrors.
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
