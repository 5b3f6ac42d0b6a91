"""Makes the labels of a training: our face model, fitted to photos that have only a few annotated points.

3DDFA-V2's mb1 gives the points of each face: 68 landmarks and a dense sample of its surface, carried to our model
(see `teacher`). An M4Net may be a second teacher; then the points are the mean of both. Our model is fitted to the
points.

Who somebody is comes from the annotated points too, because the teachers' answers hold little of it. The fit is
refined by them, without the annotators' habits: offsets that they show on all faces. The frames of one person in
`youtube_faces` get one identity, the robust mean of the frames' own. The other faces get the identity that is likely
after one photo, given how much the identities found vary between these people and within the photos of one. Camera
and expression are then fitted to the teachers' points again. The labels also hold the annotated points, without the
habits, and training uses them directly.

Sources differ by parts of a pixel in where a crop's coordinates begin. This offset is measured along x, where mirror
images show it, and holds along y too, since both axes are counted alike.

    python -m m4kit.training.labels --data DATA --peers PEERS [--teacher WEIGHTS] --out OUT

The command writes `labels.npz` (see `data.Labels`), `map.npz`, the affine map from BFM parameters to ours for a
start from 3DDFA-V2's weights, and for each source two contact sheets: `worst_SOURCE.jpg`, the worst faces that were
kept, and `faces_SOURCE.jpg`, held-out faces with their labels from three sides. It prints how good the labels of
held-out faces are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from m4kit.camera import CROP_SIZE, decompose, head_poses, rotation_from_euler
from m4kit.evaluate.identity import IdentityEvaluation, video_of
from m4kit.evaluate.landmarks import DEPTH_GROUPS
from m4kit.face_model import FaceModel
from m4kit.files import OutputFolder, whole_file
from m4kit.landmarks import face_size
from m4kit.parameters import landmarks_in_crop, split, split_camera
from m4kit.training import TrainingError
from m4kit.training.data import Labels
from m4kit.training.fitting import (
    Variances,
    fit,
    identity_of_people,
    likely_identities,
    offsets,
    variances_of_people,
)
from m4kit.training.refinement import annotation, draw_to_annotation, habits_in_crop, place_annotated
from m4kit.training.sources import SOURCES, Source, read_source
from m4kit.training.teacher import OwnTeacher, PeerTeacher, mean_of_teachers
from m4kit.training.transfer import affine_map
from m4kit.vertex_colours import clay
from m4kit.visualize.mesh_picture import mesh_still

WORST = 0.06
"""Faces whose median distance to their annotated points is above this share of their size are left out."""

OUTLINE_YAW = 20.0
"""Degrees of yaw beyond which annotated outlines are left out: they show the edge of the cheek, not the jaw."""

SHEET_SIDE, ZOOM = 8, 2
"""Faces per row and column of a contact sheet, and how much larger they are than crops."""


def main() -> None:
    """Write the labels, the affine map and the contact sheets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with aflw_train and youtube_faces")
    parser.add_argument("--peers", type=Path, required=True, help="folder of 3DDFA-V2's files")
    parser.add_argument("--teacher", type=Path, help="M4Net weights (.safetensors), a second teacher")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sources", nargs="+", default=SOURCES, help="those with people first")
    options = parser.parse_args()
    sheets = [f"{sheet}_{source}.jpg" for source in options.sources for sheet in ("worst", "faces")]
    try:
        with OutputFolder(options.out, ["labels.npz", "map.npz", *sheets]):
            _write(options)
    # WeightsError, FaceModelError and OutputError are ValueErrors.
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")


def _write(options: argparse.Namespace) -> None:
    model = FaceModel.load()
    peer = PeerTeacher.load(model, options.peers)
    own = OwnTeacher(model, options.teacher, peer.vertices) if options.teacher else None
    variances, parts, answers = None, [], []
    for name in options.sources:
        source = read_source(options.data, name)
        kept, points = ask(source, model, peer, own, out=options.out)
        labels, variances = label(source, model, peer.vertices, points, variances=variances)
        good = write_sheets(source, model, labels, out=options.out)
        print(report(source, model, peer.vertices, labels, points, good=good))
        parts.append(labels.subset(np.flatnonzero(good)))
        # The first of the six views is the crop itself.
        answers.append(kept[good, 0])
    labels = Labels.joined(parts)
    labels.save(options.out / "labels.npz")
    to_ours = affine_map(
        peer.raw(np.concatenate(answers)),
        labels.parameters.astype(np.float64),
        peer.whitening[1],
        face_model=model.fingerprint,
    )
    np.savez(options.out / "map.npz", **to_ours._asdict())


def ask(
    source: Source, model: FaceModel, peer: PeerTeacher, own: OwnTeacher | None, *, out: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Ask the teachers: returns the peer's whitened answers (n, 6, 62) and all points (n, 468, 3) in the crop frame.

    Answers are kept in `out`, and read if they are there.
    """
    kept = []
    for teacher in filter(None, (peer, own)):
        path = out / f"answers_{teacher.name}_{source.name}.npy"
        if not path.is_file():
            answers = teacher.ask(source.crops())
            with whole_file(path) as part, part.open("wb") as file:
                np.save(file, answers)
        kept.append(np.load(path))
    points = peer.points(kept[0])
    if own is not None:
        cameras = split_camera(fit(model, peer.vertices, points))[0]
        rotations = decompose(cameras)[1]
        points = mean_of_teachers(points, own.points(kept[1]), rotations)
    return kept[0], points


def label(
    source: Source, model: FaceModel, vertices: np.ndarray, points: np.ndarray, *, variances: Variances | None
) -> tuple[Labels, Variances]:
    """Label all faces of a source; also returns the variances of its people, or those given if it names none.

    `points` (n, 68 + dense, 3) are the teachers', `vertices` their dense ones.
    """
    fitted = fit(model, vertices, points)
    points21, points68 = source.points21, source.points68.copy()
    turned = np.abs([pose.yaw for pose in head_poses(split_camera(fitted)[0])]) > OUTLINE_YAW
    points68[turned, :17] = np.nan
    shift = annotation_shift(model, fitted, *annotation(points21, points68))
    points21, points68 = (one + np.float32([shift, -shift]) for one in (points21, points68))
    refined, habits = draw_to_annotation(model, fitted, *annotation(points21, points68))
    print(f"{source.name}: annotated points were moved by {shift:.2f}; {habits_text(habits)}")
    # The loss uses the points, too, and they must mean the same as the teachers'.
    offsets21, offsets68 = np.split(habits_in_crop(fitted, habits).astype(np.float32), [21], axis=1)
    identity = split(refined).identity
    if source.people is not None:
        known = ~source.validation
        variances = variances_of_people(identity[known], source.people[known])
        identity = identity_of_people(identity, source.people)
    elif variances is not None:
        identity = likely_identities(identity, variances)
    else:
        raise TrainingError(
            f"{source.name}: its faces are single, and how much of their identity is likely is learned from photos "
            "of one person; give youtube_faces first"
        )
    parameters = fit(model, vertices, points, identity=identity)
    labels = Labels(
        names=np.array(source.names),
        source=np.full(len(source.names), source.name),
        parameters=parameters.astype(np.float32),
        points21=points21 - offsets21,
        points68=points68 - offsets68,
        validation=source.validation,
        face_model=model.fingerprint,
    )
    return labels, variances


def write_sheets(source: Source, model: FaceModel, labels: Labels, *, out: Path) -> np.ndarray:
    """Write both contact sheets; return which labels (n,) agree with their annotated points."""
    missed = agreement(model, labels.parameters, labels.points21, labels.points68)
    good = missed < WORST
    print(f"{source.name}: {len(labels)} faces, {np.count_nonzero(~good)} left out")
    worst = np.argsort(np.where(good, missed, -1))[-(SHEET_SIDE**2) :][::-1]
    shown = np.random.default_rng(0).permutation(np.flatnonzero(source.validation & good))[: SHEET_SIDE * 4]
    for name, chosen, draw in (("worst", worst, contact_sheet), ("faces", shown, mesh_sheet)):
        crops = source.crops(chosen)
        sheet = draw(model, crops, labels.subset(chosen))
        cv2.imwrite(str(out / f"{name}_{source.name}.jpg"), sheet[..., ::-1])
    return good


def report(
    source: Source,
    model: FaceModel,
    vertices: np.ndarray,
    labels: Labels,
    points: np.ndarray,
    *,
    good: np.ndarray,
) -> str:
    """Describe how labels of held-out faces agree with the teachers' points (n, 68 + dense, 3) and tell people apart.

    "Fit" is the model's fit to the points alone, "labels" what training uses.
    """
    held = source.validation & good
    fitted = fit(model, vertices, points[held])
    lines = [f"{source.name}, {held.sum()} held-out faces, against the teachers' points:"]
    for name, parameters in (("fit", fitted), ("labels", labels.parameters[held])):
        offset = offsets(model, vertices, parameters, points[held])
        errors = np.linalg.norm(offset, axis=2)
        share = 100 * offset[..., 2] / face_size(points[held, :68])[:, None]
        depth = (f"{group} {share[:, members].mean():+.2f}" for group, members in DEPTH_GROUPS.items())
        identity = split(parameters).identity
        lines += [
            f"{name}: landmarks {errors[:, :68].mean():.2f} pixels in 3D, surface {errors[:, 68:].mean():.2f}; "
            f"depth in percent of the face's size: {', '.join(depth)}",
            f"  identity: mean {np.linalg.norm(identity.mean(0)):.2f} standard deviations from the model's, a face "
            f"{np.linalg.norm(identity, axis=1).mean():.2f}; spread of a number {identity.std(0).mean():.2f}",
        ]
    inner = np.arange(17, 68)
    missed = landmarks_in_crop(model, labels.parameters[held])[:, inner, :2] - labels.points68[held][:, inner]
    if np.isfinite(missed).any():
        habits = np.linalg.norm(np.nanmean(missed, axis=0), axis=1)
        lines.append(
            f"labels' inner landmarks lie {np.nanmean(np.linalg.norm(missed, axis=2)):.2f} pixels from the annotated "
            f"ones; the mean offsets of single landmarks {habits.mean():.2f}, at most {habits.max():.2f}"
        )
    if source.people is not None:
        videos = np.array([video_of(name) for name in labels.names[held]])
        figures = IdentityEvaluation(split(fitted).identity, source.people[held], videos).figures
        lines.append(
            f"the fits tell people apart with an AUC of {figures.auc:.3f}, {figures.auc_apart:.3f} with two videos; "
            "labels have one identity for each person"
        )
    return "\n".join(lines)


def habits_text(habits: np.ndarray) -> str:
    """Describe the three largest of the annotators' habits (89, 3) in mm: AFLW's 21 points, then the 68."""
    lengths = np.linalg.norm(habits, axis=1)
    largest = [i for i in np.argsort(-lengths) if lengths[i] > 0][:3]
    named = (f"{i + 1} of 21" if i < 21 else f"{i - 20} of 68" for i in largest)
    offsets = (", ".join(f"{value:+.1f}" for value in habits[i]) for i in largest)
    points = "; ".join(f"point {name} by ({offset})" for name, offset in zip(named, offsets, strict=True))
    return f"habits of the annotation in mm (x, y, z of the head): {points or 'none'}"


def annotation_shift(
    model: FaceModel, parameters: np.ndarray, points: np.ndarray, trust: np.ndarray
) -> float:
    """Measure how far annotated points (n, 89, 2) must move right and down to lie on the fits, in crop pixels.

    Fits to views and their mirror images favour no side, so the median distance to them along x shows where the
    annotation's pixels begin.
    """
    return -float(np.median((points - place_annotated(model, parameters))[trust == 1, 0]))


def contact_sheet(model: FaceModel, crops: np.ndarray, labels: Labels) -> np.ndarray:
    """Draw crops (n, 120, 120, 3) uint8 RGB in rows, with fitted landmarks (green) and annotated points (red)."""
    landmarks = place_annotated(model, labels.parameters)[:, 21:]
    annotated, trust = annotation(labels.points21, labels.points68)
    pictures = []
    for number, crop in enumerate(crops):
        picture = cv2.resize(crop, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
        for points, colour in (
            (landmarks[number], (60, 255, 60)),
            (annotated[number][trust[number] > 0], (255, 40, 40)),
        ):
            for x, y in points:
                centre = ((x + CROP_SIZE / 2) * ZOOM - 0.5, (CROP_SIZE / 2 - y) * ZOOM - 0.5)
                cv2.circle(picture, tuple(round(v * 8) for v in centre), 10, colour, -1, cv2.LINE_AA, 3)
        pictures.append(picture)
    return in_rows(pictures, SHEET_SIDE)


def mesh_sheet(model: FaceModel, crops: np.ndarray, labels: Labels) -> np.ndarray:
    """Draw crops (n, 120, 120, 3) uint8 RGB beside their labels' meshes from the front, 45 and 90 degrees."""
    coefficients = split(labels.parameters)
    colours = clay(model)
    side, pictures = CROP_SIZE * ZOOM, []
    for crop, identity, expression in zip(crops, coefficients.identity, coefficients.expression, strict=True):
        vertices = model.vertices(identity, expression)
        pictures.append(cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC))
        for yaw in (0, 45, 90):
            turn = rotation_from_euler(yaw, 0, 0)
            pictures.append(mesh_still(model, vertices, colours, rotation=turn, side=side))
    return in_rows(pictures, 8)


def in_rows(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Arrange pictures (H, W, 3) of one size in rows of so many; the last row is filled up with black."""
    rows = -(-len(pictures) // columns)
    pictures = pictures + [np.zeros_like(pictures[0])] * (rows * columns - len(pictures))
    return np.vstack([np.hstack(pictures[row * columns : (row + 1) * columns]) for row in range(rows)])


def agreement(
    model: FaceModel, parameters: np.ndarray, points21: np.ndarray, points68: np.ndarray
) -> np.ndarray:
    """Compute the median distance (n,) from each fitted face to its annotated points, as a share of its size."""
    placed = place_annotated(model, parameters)
    distances = np.linalg.norm(placed - np.concatenate([points21, points68], axis=1), axis=2)
    return np.nanmedian(distances, axis=1) / face_size(placed[:, 21:])


if __name__ == "__main__":
    main()
