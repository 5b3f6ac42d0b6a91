"""Which stage is to blame: how much of each face's error goes when one stage after another is put right.

    blame = scenes.blame_stages(samples)
    blame.summary()   # what the crop, the camera and the shape add, by condition and severity
    blame.figure()

A face's error is taken apart by four answers, each with one thing more put right:

1. the system's own;
2. from the crop around the true landmarks: what goes is the detector's and the crop's;
3. the same, with the camera (place, size, pose) that the network gives for the clean photo there: what goes is the
   camera's;
4. the clean photo's answer there: what goes is the shape's (identity and expression), and what stays is what the
   network gets wrong without any bad condition.

The four parts sum up to the error. A part is negative where putting the stage right makes it worse. The order is the
system's own; in another one the parts would differ where two stages go wrong together.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from m4kit import metrics
from m4kit.camera import box_from_crop, crop_from_landmarks
from m4kit.datasets import DatasetError, Sample, warn_left_out
from m4kit.images import ImageError
from m4kit.network import HEAD_STAGES
from m4kit.prediction import Face, Prediction
from m4kit.predictor import Predictor
from m4kit.scenes.analysis import match
from m4kit.scenes.data import ScenePhoto, scene_photos
from m4kit.scenes.figures import blame_figure
from m4kit.scenes.tables import Column, Table, frame_of, table_of

if TYPE_CHECKING:
    import pandas

    from m4kit.visualize.notebook_figure import NotebookFigure

STAGES = ("crop", "camera", "shape", "clean")
"""The parts of an error, in the order in which they are put right."""

HEADS = tuple(f"head_{number + 1}" for number in range(len(HEAD_STAGES)))

COLUMNS = (
    Column("photo", "text", "the photo's name"),
    Column("condition", "text", "one of the seven, or empty"),
    Column("severity", "number", "0 to 5, of a photo made worse"),
    Column("truth", "whole", "the true face's number in the photo"),
    Column("nme", "number", "the system's own error, percent; NaN for a face that it missed"),
    Column("true_crop", "number", "from the crop around the true landmarks, percent"),
    Column("clean_camera", "number", "the same with the clean photo's camera, percent"),
    Column("clean_photo", "number", "the clean photo's answer from the true crop, percent"),
    *(Column(name, "number", f"the answer of head {name[-1]} alone, percent") for name in HEADS),
    Column("best_head", "number", "that of the head which is best on this face, percent"),
    *(Column(name, "number", f"the {name}'s part of `nme`, percent") for name in STAGES[:-1]),
    Column("clean", "number", "the rest: the error on the clean photo, percent"),
)

SUMMARY_COLUMNS = (
    Column("condition", "text", "one of the seven, or empty"),
    Column("severity", "number", "NaN where there is none"),
    Column("faces", "whole", "faces that the system found, whose error is taken apart"),
    Column("missed", "whole", "faces that it did not find"),
    *(
        Column(name, "number", "mean over the faces, percent")
        for name in ("nme", *STAGES, *HEADS, "best_head")
    ),
    Column("missed_true_crop", "number", "mean error of the missed faces had the crop been right, percent"),
)


@dataclass(frozen=True, eq=False)
class Blame:
    """What `blame_stages` found: `faces`, a table of `COLUMNS` with a row for each true face."""

    faces: Table = field(repr=False)

    def __len__(self) -> int:
        return len(self.faces["photo"])

    @property
    def frame(self) -> pandas.DataFrame:
        """`faces` as a pandas frame."""
        return frame_of(self.faces)

    @cached_property
    def _groups(self) -> list[tuple[str, float]]:
        severities = np.nan_to_num(self.faces["severity"], nan=-1.0).tolist()
        return sorted(set(zip(self.faces["condition"].tolist(), severities, strict=True)))

    def summary(self) -> Table:
        """Means for each condition and severity: the columns of `SUMMARY_COLUMNS`."""
        rows = []
        for condition, severity in self._groups:
            own = (self.faces["condition"] == condition) & (
                np.nan_to_num(self.faces["severity"], nan=-1.0) == severity
            )
            whole = own & np.isfinite(self.faces["clean"])
            missed = own & np.isnan(self.faces["nme"])
            row = {"condition": condition, "faces": int(whole.sum()), "missed": int(missed.sum())}
            row |= {} if severity < 0 else {"severity": severity}
            for name in ("nme", *STAGES, *HEADS, "best_head") if whole.any() else ():
                row[name] = float(self.faces[name][whole].mean())
            if missed.any():
                row["missed_true_crop"] = float(self.faces["true_crop"][missed].mean())
            rows.append(row)
        return table_of(rows, SUMMARY_COLUMNS)

    def figure(self) -> NotebookFigure:
        """The parts of the mean error, a bar for each condition and severity."""
        return blame_figure(self.summary())


def blame_stages(
    source: Iterable[Sample], *, predictor: Predictor | None = None, progress: bool = True
) -> Blame:
    """Put one stage after another right, on every face whose true landmarks and clean photo are known.

    `source` is samples as `benchmark` makes them with a truth; to look at a report's worst photos, give those of
    the samples that it was made of. `predictor` is by default the packaged one. Photos that cannot be read are left
    out with one warning. Raises `DatasetError` if no face has true landmarks and a clean photo, or none can be read.
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
            row = _scene(photo) | {"truth": number}
            rows.append(row | _errors(own.get(number), put_right, clean, truth))
    warn_left_out("blame_stages", left_out)
    if not rows:
        raise DatasetError(
            f"blame_stages: expected at least one readable photo, got {len(left_out)} of which none could be read"
        )
    return Blame(table_of(rows, COLUMNS))


def _in_true_crops(once: Predictor, image: np.ndarray, truths: Sequence[np.ndarray]) -> list[Face]:
    """The faces (one for each truth (68, 2)) as the network answers in the crop around the true landmarks."""
    return [once(image, boxes=box_from_crop(crop_from_landmarks(truth)))[0] for truth in truths]


def _own(prediction: Prediction, photo: ScenePhoto) -> dict[int, Face]:
    """The faces that the system found, by the number of the true face."""
    found = np.array([np.asarray(face.box) for face in prediction], dtype=float).reshape(-1, 5)
    hits = match(found, photo.boxes)
    return {int(hit): face for hit, face in zip(hits, prediction, strict=True) if hit >= 0}


def _scene(photo: ScenePhoto) -> dict[str, object]:
    row: dict[str, object] = {"photo": photo.name, "condition": photo.condition or ""}
    return row if photo.severity is None else row | {"severity": float(photo.severity)}


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
    """The face's identity and expression where the other's camera puts them."""
    heads = face.heads.copy()
    heads[:, :12] = other.camera.ravel()
    total = float(np.sum(face.head_weights))
    heads[:, :12] /= total
    return Face(face.box, other.crop, heads, face.head_weights, face.model)
