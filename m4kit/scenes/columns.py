"""Describes the columns of a report's two tables: their types, their meanings, and their names in charts.

What is not known is NaN (text, numbers), NA (whole numbers, flags) or None (arrays). Lengths and places are in photo
pixels, angles in degrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

TEXT, WHOLE, NUMBER, FLAG, ARRAY = "str", "Int64", "float64", "boolean", "object"

_SCENE = {
    "photo": TEXT,  # the photo's name
    "condition": TEXT,  # one of the seven or `distractor`; NaN: clean or not known
    "severity": NUMBER,  # 0 to 5; NaN for a real photo
    "seed": WHOLE,  # the seed that `degrade` was given
    "clean": TEXT,  # the clean photo of the same scene
}

PHOTO_COLUMNS = _SCENE | {
    "read": FLAG,  # whether the photo could be read
    "error": TEXT,  # why it, or its clean photo, could not be read
    "width": WHOLE,
    "height": WHOLE,
    "reference": TEXT,  # what tells where faces are: `truth`, `clean` (the faces found there), or NaN
    "all_labelled": FLAG,  # whether the truth names every face of the photo
    "faces": WHOLE,  # faces of the reference
    "found": WHOLE,  # detections
    "hits": WHOLE,  # faces of the reference that a detection hits
    "missed": WHOLE,  # faces of the reference that no detection hits
    "false_alarms": WHOLE,  # detections that hit no face; NA unless all faces are labelled
    "recall": NUMBER,  # hits / faces, 0 to 1
    "precision": NUMBER,  # hits / found, 0 to 1; NaN unless all faces are labelled
    "sharpness": NUMBER,  # `quality.photo_quality` of the photo, as the next three
    "contrast": NUMBER,
    "exposure": NUMBER,
    "clipped": NUMBER,
    "seconds": NUMBER,  # time for detection and landmarks
}
"""One row per photo."""

FACE_COLUMNS = (
    _SCENE
    | {
        "face": WHOLE,  # the detection's number in the photo, largest first, from 0; NA for a missed face
        "truth": WHOLE,  # the number of the reference's face that it hits, from 0; NA for none
        "failures": TEXT,  # by the rules of `taxonomy`, worst first, joined by `; `; NaN for none
        # The detection's box, and the detector's score, 0 to 1.
        **dict.fromkeys(("left", "top", "right", "bottom", "score"), NUMBER),
        # The reference's box.
        **dict.fromkeys(("true_left", "true_top", "true_right", "true_bottom"), NUMBER),
        "iou": NUMBER,  # overlap of the two boxes, 0 to 1; without a hit, the largest with a missed face
        # The crop that the network saw.
        **dict.fromkeys(("crop_left", "crop_top", "crop_size"), NUMBER),
        "parameters": ARRAY,  # the network's answer, (62,) float32
        "reference_points": ARRAY,  # the reference's landmarks in the thumbnail's pixels, (136,) float32: x, y, ...
        # The predicted pose, and the pose of `pose_reference`.
        **dict.fromkeys(("yaw", "pitch", "roll"), NUMBER),
        "pose_reference": TEXT,  # what the pose is compared with: `truth`, `clean`, or NaN
        **dict.fromkeys(("reference_yaw", "reference_pitch", "reference_roll"), NUMBER),
        "pose_error": NUMBER,  # mean absolute error of the true angles that are known
        "pose_drift": NUMBER,  # mean absolute difference to the angles in the clean photo
        "landmark_reference": TEXT,  # what `error_...` and `crop_...` compare with: `truth`, `clean`, or NaN
        "nme": NUMBER,  # `metrics.nme` against the true landmarks, percent
        "landmark_drift": NUMBER,  # the same against the clean photo's landmarks, percent
        "mesh_drift": NUMBER,  # mean distance of the vertices to the clean photo's, in 3D, percent
        "shape_drift": NUMBER,  # the same of the shape without pose, mm
        # Mean distance of a group's landmarks to the reference's, percent of the face's size.
        **dict.fromkeys(("error_jaw", "error_brows", "error_nose", "error_eyes", "error_lips"), NUMBER),
        "crop_scale": NUMBER,  # side of the crop, divided by that of the crop around the reference's landmarks
        "crop_shift": NUMBER,  # distance of the two crops' centres, divided by the same side
        # The signs of `confidence.signs`, by their names there.
        "head_spread": NUMBER,  # percent
        "flip_consistency": NUMBER,  # percent
        "jitter_consistency": NUMBER,  # percent
        "identity_distance": NUMBER,
        "expression_distance": NUMBER,
        **dict.fromkeys(("edge_agreement", "box_misfit", "crop_misfit", "turn", "size", "outside"), NUMBER),
        **dict.fromkeys(("sharpness", "contrast", "exposure", "clipped"), NUMBER),
        "checked_failure_probability": NUMBER,  # probability that the NME is above 8 %, 0 to 1, by these signs
        "reasons": TEXT,  # `Face.reasons`, joined by `; `; NaN for none
        "thumbnail": TEXT,  # file name of its crop in the report's folder `thumbnails`
    }
)
"""One row per detection, and one per face that was missed."""


class Words(NamedTuple):
    """A column for readers: its label and unit, the factor to this unit, and whether more is worse."""

    label: str
    unit: str = ""
    times: float = 1.0
    more_is_worse: bool = True

    @property
    def title(self) -> str:
        """The label with its unit, for axes and headings."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


WORDS = {
    "nme": Words("NME", "%"),
    "landmark_drift": Words("Landmarks' drift from the clean photo", "%"),
    "mesh_drift": Words("Mesh drift from the clean photo", "%"),
    "shape_drift": Words("Shape drift from the clean photo", "mm"),
    "pose_error": Words("Pose error", "°"),
    "pose_drift": Words("Pose drift from the clean photo", "°"),
    "checked_failure_probability": Words("Checked failure probability", "%", 100.0),
    "score": Words("Detector score", more_is_worse=False),
    "head_spread": Words("Heads' spread", "%"),
    "flip_consistency": Words("Change when mirrored", "%"),
    "jitter_consistency": Words("Change when the crop moves", "%"),
    "edge_agreement": Words("Contours on edges (1 is chance)", more_is_worse=False),
    "identity_distance": Words("Identity's distance from the mean", "standard deviations"),
    "expression_distance": Words("Expression's distance from the mean", "standard deviations"),
    "sharpness": Words("Sharpness of the face", more_is_worse=False),
    "contrast": Words("Contrast of the face", more_is_worse=False),
    "exposure": Words("Brightness of the face", more_is_worse=False),
    "clipped": Words("Black or white pixels of the face", "%", 100.0),
    "size": Words("Size of the face", "px", more_is_worse=False),
    "turn": Words("Turn away from the viewer", "°"),
    "yaw": Words("Yaw", "°"),
    "outside": Words("Part of the face outside the photo", "%", 100.0),
    "box_misfit": Words("Misfit of the detector's box"),
    "crop_misfit": Words("Misfit of the crop"),
    "severity": Words("Severity"),
}
"""The columns of the faces that charts show."""


def frame_of(rows: Iterable[Mapping[str, object]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a frame of those columns and types; what a row lacks is not known."""
    table = pd.DataFrame(list(rows), columns=list(columns)).astype(dict(columns))
    for name in (name for name, kind in columns.items() if kind == ARRAY):
        arrays = [np.asarray(one, np.float32) if np.ndim(one) else None for one in table[name]]
        table[name] = pd.Series(arrays, dtype=ARRAY)
    return table
