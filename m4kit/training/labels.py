"""Pseudo ground truth in our face model for photos with sparse annotated points.

One or two teachers answer (see `teacher`): 3DDFA-V2's mb1, an M4Net, or both with equal weight. Our model is fitted
to each teacher's points. The mean of the fits is the prior of a second fit, to the hand-annotated points
(`refinement`), which removes the annotators' habits: offsets that they show on all faces. The labels also hold the
annotated points as they are, and training uses them directly.

Sources differ by parts of a pixel in where a crop's coordinates begin. This offset is measured along x, where mirror
images show it, and holds along y too, since both axes are counted alike.

    python -m m4kit.training.labels --data DATA --peers PEERS --out OUT
    python -m m4kit.training.labels --data DATA --peers PEERS --teacher WEIGHTS --out OUT

The command writes `labels.npz` (see `data.Labels`), `worst_SOURCE.jpg` with the worst faces that were kept, and with
`--peers` also `map.npz`, the affine map from BFM parameters to ours for a start from 3DDFA-V2's weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from m4kit.camera import CROP_SIZE, head_pose
from m4kit.datasets import HELD_OUT_PEOPLE, held_out
from m4kit.face_model import FaceModel
from m4kit.files import OutputFolder, whole_file
from m4kit.landmarks import face_size
from m4kit.parameters import PARAMETERS, join, landmarks_in_crop, split_camera
from m4kit.training.data import Labels, averaging_matrix, read_crops
from m4kit.training.refinement import annotation, draw_to_annotation, place_annotated
from m4kit.training.teacher import OwnTeacher, PeerTeacher

LANDMARK_NOISE = 0.6
DENSE_NOISE = 4.0
"""Assumed errors of the teacher's landmarks and dense points, in crop pixels."""

WORST = 0.06
"""Faces whose median distance to their annotated points is above this share of their size are left out."""

OUTLINE_YAW = 20.0
"""Degrees of yaw beyond which annotated outlines are left out: they show the edge of the cheek, not the jaw."""

SHEET_SIDE = 8
"""Faces per row and column of a contact sheet."""


def fit(model: FaceModel, vertices: np.ndarray, points: np.ndarray, *, iterations: int = 25) -> np.ndarray:
    """Fit raw parameters (n, 62) to points (n, 68 + dense, 3): the landmarks, then these vertices.

    Alternates between the weak-perspective camera (orthogonal Procrustes in 3D) and the 50 coefficients (maximum a
    posteriori). The camera's depth offset, which no point determines, is 0.
    """
    mean = np.concatenate([model.landmarks().numpy(), model.mean.numpy()[vertices]]).astype(np.float64)
    modes = np.concatenate([model.landmark_modes.numpy(), model.modes.numpy()[:, vertices]], axis=1)
    basis = modes.astype(np.float64).reshape(len(modes), -1)
    noise = np.full(len(mean), DENSE_NOISE)
    noise[:68] = LANDMARK_NOISE
    weight = 1 / noise**2
    share = (weight / weight.sum())[:, None]
    values, vectors = np.linalg.eigh((basis * weight.repeat(3)) @ basis.T)
    coefficients = np.zeros((len(points), len(modes)))
    centre = (points * share).sum(1, keepdims=True)
    aim = points - centre
    for _ in range(iterations):
        shape = (mean.ravel() + coefficients @ basis).reshape(len(points), -1, 3)
        shape_centre = (shape * share).sum(1, keepdims=True)
        moved = shape - shape_centre
        u, singular, vt = np.linalg.svd((aim * share).transpose(0, 2, 1) @ moved)
        sign = np.ones((len(points), 3))
        sign[:, 2] = np.sign(np.linalg.det(u @ vt))
        rotation = (u * sign[:, None]) @ vt
        scale = (singular * sign).sum(1) / (moved**2 * share).sum((1, 2))
        translation = centre - scale[:, None, None] * shape_centre @ rotation.transpose(0, 2, 1)
        back = (points - translation) @ rotation / scale[:, None, None] - mean
        right = (back * weight[:, None]).reshape(len(points), -1) @ basis.T
        # (s^2 A + I) c = s^2 b in the eigenbasis of A, which all faces share.
        gain = scale[:, None] ** 2 / (scale[:, None] ** 2 * values + 1)
        coefficients = (right @ vectors * gain) @ vectors.T
    camera = np.concatenate([scale[:, None, None] * rotation, translation.transpose(0, 2, 1)], axis=2)
    camera[:, 2, 3] = 0
    return join(camera, coefficients)


def mean_face(fits: list[np.ndarray]) -> np.ndarray:
    """The mean (n, 62) of several fits (n, 62) of the same faces; each camera is a scaled rotation."""
    cameras, coefficients = zip(*map(split_camera, fits), strict=True)
    scales = [np.linalg.norm(camera[:, 0, :3], axis=1)[:, None, None] for camera in cameras]
    # `from_matrix` gives the rotation nearest to the mean matrix.
    rotation = Rotation.from_matrix(
        np.mean([c[:, :, :3] / s for c, s in zip(cameras, scales, strict=True)], axis=0)
    )
    camera = np.mean(cameras, axis=0)
    camera[:, :, :3] = np.mean(scales, axis=0) * rotation.as_matrix()
    return join(camera, np.mean(coefficients, axis=0))


def annotated(data: Path, source: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of a source's faces, their annotated points in the crop frame, and which faces are held out.

    Both sets map a photo's coordinate x into a crop of `size` photo pixels by (x - left) * 120 / size, counted from
    the crop's left edge, where the crop frame has x = -60.
    """
    file = np.load(data / f"{source}.npz", allow_pickle=False)
    names = file["names"].tolist()
    n = len(names)
    points21, points68 = np.full((n, 21, 2), np.nan, np.float32), np.full((n, 68, 2), np.nan, np.float32)
    if source == "aflw_train":
        left_top, size = file["roi"][:, :2], file["roi"][:, 2:] - file["roi"][:, :2]
        points = file["pts21"].transpose(0, 2, 1)
        seen = (points != -1).all(-1)
        crop = (points - left_top[:, None]) * (CROP_SIZE / size[:, None])
        points21[:] = np.where(seen[..., None], crop, np.nan)
        validation = held_out(names, 0.05)
    else:
        points68[:] = file["pts68"] * (CROP_SIZE / 128)
        validation = held_out(file["identity"].tolist(), HELD_OUT_PEOPLE)
    for points in (points21, points68):
        points[..., 0] -= CROP_SIZE / 2
        points[..., 1] = CROP_SIZE / 2 - points[..., 1]
    return names, {"points21": points21, "points68": points68, "validation": validation}


def affine_map(theirs: np.ndarray, ours: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (62, 62) and offset (62,) that best map their raw parameters to ours, by ridge regression."""
    mean = theirs.mean(0)
    x = (theirs - mean) / spread
    y_mean = ours.mean(0)
    solution = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(PARAMETERS), x.T @ (ours - y_mean))
    matrix = (solution / spread[:, None]).T
    return matrix, y_mean - matrix @ mean


def main() -> None:
    """Write the labels and the affine map."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with aflw_train and youtube_faces")
    parser.add_argument("--peers", type=Path, help="folder of 3DDFA-V2's files; its mb1 becomes a teacher")
    parser.add_argument("--teacher", type=Path, help="M4Net weights (.safetensors) that become a teacher")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sources", nargs="+", default=["aflw_train", "youtube_faces"])
    options = parser.parse_args()
    if options.peers is None and options.teacher is None:
        parser.error("expected a teacher; give --peers, --teacher or both")
    names = ["labels.npz", *(f"worst_{source}.jpg" for source in options.sources)]
    if options.peers is not None:
        names.append("map.npz")
    try:
        with OutputFolder(options.out, names):
            _write(options)
    # WeightsError, FaceModelError and OutputError are ValueErrors.
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")


def _write(options: argparse.Namespace) -> None:
    model = FaceModel.load()
    teachers = []
    if options.peers is not None:
        teachers.append(PeerTeacher.load(model, options.peers))
    if options.teacher is not None:
        teachers.append(OwnTeacher(model, options.teacher))
    parts, answers = zip(
        *(
            label_source(source, model, teachers, data=options.data, out=options.out)
            for source in options.sources
        ),
        strict=True,
    )
    labels = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    Labels(**labels, face_model=model.fingerprint).save(options.out / "labels.npz")
    if options.peers is not None:
        ours, peer = labels["parameters"].astype(np.float64), teachers[0]
        # The first of the six views is the crop itself.
        theirs = peer.raw(np.concatenate(answers)[:, 0])
        matrix, offset = affine_map(theirs, ours, peer.whitening[1])
        np.savez(options.out / "map.npz", matrix=matrix, offset=offset, face_model=model.fingerprint)


def label_source(
    source: str, model: FaceModel, teachers: list[PeerTeacher | OwnTeacher], *, data: Path, out: Path
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns of a source's labels, and the first teacher's answers for the same faces.

    Writes each teacher's answers and the contact sheet of the worst faces into `out`. Answers that are already there
    are read.
    """
    names, columns = annotated(data, source)
    fits, kept = [], []
    for teacher in teachers:
        path = out / f"answers_{teacher.name}_{source}.npy"
        if not path.is_file():
            answers = teacher.ask(read_crops(data / f"{source}.zip", names))
            with whole_file(path) as part, part.open("wb") as file:
                np.save(file, answers)
        kept.append(np.load(path))
        points = teacher.points(kept[-1])
        parts = np.array_split(points, len(points) // 500 + 1)
        fits.append(np.concatenate([fit(model, teacher.vertices, part) for part in parts]))
    fitted = mean_face(fits)
    turned = np.abs([head_pose(camera).yaw for camera in split_camera(fitted)[0]]) > OUTLINE_YAW
    columns["points68"][turned, :17] = np.nan
    shift = align_annotation(model, fitted, columns)
    parameters, habits = draw_to_annotation(model, fitted, *annotation(columns))
    print(f"{source}: annotated points were moved by {shift:.2f}; {habits_text(habits)}")
    missed = agreement(model, parameters, columns)
    good = missed < WORST
    print(f"{source}: {len(names)} faces, {np.count_nonzero(~good)} left out")
    worst = np.argsort(np.where(good, missed, -1))[-(SHEET_SIDE**2) :][::-1]
    sheet = contact_sheet(
        read_crops(data / f"{source}.zip", [names[i] for i in worst]),
        place_annotated(model, parameters[worst])[:, 21:],
        annotation({name: column[worst] for name, column in columns.items()}),
    )
    cv2.imwrite(str(out / f"worst_{source}.jpg"), sheet[..., ::-1])
    labels = {
        "names": np.array(names)[good],
        "source": np.full(good.sum(), source),
        "parameters": parameters[good].astype(np.float32),
    }
    labels |= {name: column[good] for name, column in columns.items()}
    return labels, kept[0][good]


def habits_text(habits: np.ndarray, *, count: int = 3) -> str:
    """Describe the largest of the annotators' habits (89, 3) in mm: AFLW's 21 points, then the 68."""
    lengths = np.linalg.norm(habits, axis=1)
    largest = [i for i in np.argsort(-lengths) if lengths[i] > 0][:count]
    named = (f"{i + 1} of 21" if i < 21 else f"{i - 20} of 68" for i in largest)
    offsets = (", ".join(f"{value:+.1f}" for value in habits[i]) for i in largest)
    points = "; ".join(f"point {name} by ({offset})" for name, offset in zip(named, offsets, strict=True))
    return f"habits of the annotation in mm (x, y, z of the head): {points or 'none'}"


def align_annotation(model: FaceModel, parameters: np.ndarray, columns: dict[str, np.ndarray]) -> float:
    """Move all annotated points, in place, right and down by the same distance, and return it in crop pixels.

    Fits to views and their mirror images favour no side, so the median distance to them along x shows where the
    annotation's pixels begin.
    """
    points, trust = annotation(columns)
    shift = -float(np.median((points - place_annotated(model, parameters))[trust == 1, 0]))
    for name in ("points21", "points68"):
        columns[name] += np.array([shift, -shift], dtype=np.float32)
    return shift


def contact_sheet(
    crops: np.ndarray,
    landmarks: np.ndarray,
    annotated_points: tuple[np.ndarray, np.ndarray],
    *,
    zoom: int = 2,
) -> np.ndarray:
    """Draw crops (n, 120, 120, 3) uint8 RGB in rows, with fitted landmarks (green) and annotated points (red).

    `landmarks` are (n, 68, 2); `annotated_points` are points (n, 89, 2) and the trust in each (n, 89). Points are in
    the crop frame; those without trust are not drawn.
    """
    side = CROP_SIZE * zoom
    rows = -(-len(crops) // SHEET_SIDE)
    sheet = np.zeros((rows * side, SHEET_SIDE * side, 3), np.uint8)
    for number, crop in enumerate(crops):
        picture = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC)
        known = annotated_points[1][number] > 0
        for points, colour in (
            (landmarks[number], (60, 255, 60)),
            (annotated_points[0][number][known], (255, 40, 40)),
        ):
            for x, y in points:
                centre = ((x + CROP_SIZE / 2) * zoom - 0.5, (CROP_SIZE / 2 - y) * zoom - 0.5)
                cv2.circle(picture, tuple(round(v * 8) for v in centre), 10, colour, -1, cv2.LINE_AA, 3)
        row, column = divmod(number, SHEET_SIDE)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = picture
    return sheet


def agreement(model: FaceModel, parameters: np.ndarray, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Median distance (n,) from each fitted face to its annotated points, as a share of its size."""
    placed = landmarks_in_crop(model, parameters.astype(np.float64))[..., :2]
    distances = np.concatenate(
        [
            np.linalg.norm(averaging_matrix() @ placed - columns["points21"], axis=2),
            np.linalg.norm(placed - columns["points68"], axis=2),
        ],
        axis=1,
    )
    return np.nanmedian(distances, axis=1) / face_size(placed)


if __name__ == "__main__":
    main()
