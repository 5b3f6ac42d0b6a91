"""Splits each face's error into the parts that come from the crop, the camera, the shape, and the network itself.

    blame = scenes.blame_stages(samples)
    blame.summary()   # the mean parts by condition and severity
    blame.figure()

Each part is the error that goes when one more stage is put right, from step to step:

1. the system's own answer;
2. the answer for the crop around the true landmarks: the difference is due to detector and crop;
3. the same with the camera (place, size, pose) that the network gives for the clean photo: due to the camera;
4. the clean photo's answer in the true crop: due to the shape (identity and expression). The rest is the error that
   the network makes without any bad condition.

The four parts sum to the error. A part is negative where putting a stage right makes the answer worse. The steps
follow the system's own order; in another order the parts would differ where two stages go wrong together.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd
from tqdm import tqdm

from m4kit import metrics
from m4kit.camera import box_from_crop, crop_from_landmarks
from m4kit.datasets import DatasetError, Sample, warn_left_out
from m4kit.datasets.photos import Photo
from m4kit.images import ImageError
from m4kit.network import HEAD_STAGES
from m4kit.parameters import split
from m4kit.prediction import Face, Prediction
from m4kit.predictor import Predictor
from m4kit.scenes.analyst import detections, match
from m4kit.scenes.cells import grouped
from m4kit.scenes.columns import NUMBER, TEXT, WHOLE, frame_of
from m4kit.scenes.data import scene_photos
from m4kit.scenes.figures import blame_figure
from m4kit.visualize.notebook_figure import NotebookFigure

STAGES = ("crop", "camera", "shape", "clean")
"""The parts of an error, in the order in which stages are put right; `clean` is the rest."""

HEADS = tuple(f"head_{number + 1}" for number in range(len(HEAD_STAGES)))

_COLUMNS = {
    **{"photo": TEXT, "condition": TEXT, "severity": NUMBER, "truth": WHOLE},
    **dict.fromkeys(
        ("nme", "true_crop", "clean_camera", "clean_photo", *HEADS, "best_head", *STAGES), NUMBER
    ),
}


@dataclass(frozen=True, eq=False)
class Blame:
    """The result of `blame_stages`: `faces`, one row per true face. Errors are NMEs in percent.

    - `photo`, `condition`, `severity`, and `truth`, the number of the true face in the photo;
    - `nme`: the system's own error; NaN for a face that it missed;
    - `true_crop`, `clean_camera`, `clean_photo`: the errors of steps 2 to 4;
    - `head_1` to `head_4`: the error of one head alone; `best_head`: the smallest of them;
    - `crop`, `camera`, `shape`, `clean`: the parts of `nme`.
    """

    faces: pd.DataFrame = field(repr=False)

    def __len__(self) -> int:
        return len(self.faces)

    def summary(self) -> pd.DataFrame:
        """One row for each condition and severity.

        `faces` and `missed` count the true faces that were found and missed. Then come the means over the faces
        found, and `missed_true_crop`, the mean error of the missed faces in the true crop.
        """
        faces, missed = self.faces, self.faces["nme"].isna()
        means = ["nme", *STAGES, *HEADS, "best_head"]
        table = faces.assign(faces=~missed, missed=missed, missed_true_crop=faces["true_crop"].where(missed))
        return (
            grouped(table)
            .agg({"faces": "sum", "missed": "sum"} | dict.fromkeys([*means, "missed_true_crop"], "mean"))
            .reset_index()
        )

    def figure(self) -> NotebookFigure:
        """The parts of the mean error as stacked bars, one for each condition and severity."""
        return blame_figure(self.summary())


def blame_stages(
    source: Iterable[Sample], *, predictor: Predictor | None = None, progress: bool = True
) -> Blame:
    """Split the error of every face whose true landmarks and clean photo are known.

    `source` is samples as `benchmark` makes them with a truth. For a report's worst photos, give the samples of these
    photos. `predictor` is by default the packaged one. Photos that cannot be read are left out with one warning.
    Raises `DatasetError` if no face has true landmarks and a clean photo, or if no photo can be read.
    """
    photos, predictor = scene_photos(source), predictor or Predictor()
    photos = [
        photo
        for photo in photos
        if photo.clean_image is not None and any(face.landmarks is not None for face in photo.faces)
    ]
    if not photos:
        raise DatasetError(
            "blame_stages: expected samples with true landmarks and a clean photo, got none; make them with "
            "benchmark(photos, truth)"
        )
    once = copy.copy(predictor)
    once.passes = 1
    rows, left_out = [], []
    cleans: tuple[object, Sequence[np.ndarray], list[Face]] = (None, [], [])
    for photo in tqdm(photos, desc="blame", unit="photo", disable=not progress):
        numbers = [number for number, face in enumerate(photo.faces) if face.landmarks is not None]
        truths = [np.asarray(photo.faces[number].landmarks, dtype=float)[:, :2] for number in numbers]
        try:
            image = photo.image()
            if cleans[0] is not photo.clean_image or not np.array_equal(cleans[1], truths):
                cleans = (photo.clean_image, truths, _in_true_crops(once, photo.clean_image(), truths))
        except ImageError as error:
            left_out.append(f"{photo.name} ({error})")
            continue
        own = _own(predictor(image), photo)
        right = _in_true_crops(once, image, truths)
        for number, truth, put_right, clean in zip(numbers, truths, right, cleans[2], strict=True):
            row = {
                "photo": photo.name,
                "condition": photo.condition,
                "severity": photo.severity,
                "truth": number,
            }
            rows.append(row | _errors(own.get(number), put_right, clean, truth))
    warn_left_out("blame_stages", left_out)
    if not rows:
        raise DatasetError(
            f"blame_stages: expected at least one readable photo, got {len(left_out)} of which none could be read"
        )
    return Blame(frame_of(rows, _COLUMNS))


def _in_true_crops(once: Predictor, image: np.ndarray, truths: Sequence[np.ndarray]) -> list[Face]:
    """The network's answer in the crop around each face's true landmarks (68, 2)."""
    return [once(image, boxes=box_from_crop(crop_from_landmarks(truth)))[0] for truth in truths]


def _own(prediction: Prediction, photo: Photo) -> dict[int, Face]:
    """The faces that the system found, by the numbers of the true faces."""
    hits = match(detections(prediction), photo.boxes)
    return {face: prediction[number] for number, face in hits.items()}


def _errors(own: Face | None, right: Face, clean: Face, truth: np.ndarray) -> dict[str, float]:
    """Errors in percent, and the parts of the system's own."""

    def error(face: Face) -> float:
        return float(metrics.nme(face.landmarks[:, :2], truth))

    row = {
        "true_crop": error(right),
        "clean_camera": error(_with_camera(right, clean)),
        "clean_photo": error(clean),
    }
    if own is None:
        return row
    heads = [error(own.with_head_weights(alone)) for alone in np.eye(len(own.heads))]
    row |= {"nme": error(own), "best_head": min(heads)} | dict(zip(HEADS, heads, strict=True))
    steps = [row[name] for name in ("nme", "true_crop", "clean_camera", "clean_photo")]
    parts = [before - after for before, after in pairwise(steps)]
    return row | dict(zip(STAGES, [*parts, steps[-1]], strict=True))


def _with_camera(face: Face, other: Face) -> Face:
    """The face's identity and expression under the other face's camera."""
    heads = face.heads.copy()
    split(heads).camera[:] = other.camera / float(np.sum(face.head_weights))
    return Face(face.box, other.crop, heads, face.head_weights, face.model)
