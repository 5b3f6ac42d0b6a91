"""Names what went wrong with a face: labels, each with a stated rule.

A rule compares with the truth, or where that is not known with the answer for the clean photo. It does not apply
where neither is known.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from m4kit.boxes import HIT_IOU
from m4kit.confidence.signs import EXPRESSION_LIMIT, IDENTITY_LIMIT
from m4kit.landmarks import GROUPS
from m4kit.metrics import FAILURE_NME

MISSED = "missed"
FALSE_ALARM = "false alarm"
WRONG_CROP = "wrong scale or crop"
POSE_FLIPPED = "pose flipped"
POSE_OFF = "pose off"
DRIFTED = "landmarks drifted"
IMPLAUSIBLE = "implausible shape"
CONFIDENT = "confident though wrong"
UNSURE = "low confidence though right"

NEAR_IOU = 0.1
"""A detection that hits no face was meant for a missed one if their overlap is at least this."""

BOX_IOU = 0.5
"""Least overlap of a hit with an annotated box, else size or place is wrong: the limit of PASCAL VOC and UFDD."""

CROP_SCALES = (0.8, 1.25)
CROP_SHIFT = 8 / 120
"""Limits for scale and shift against the right crop. Fewer than 3 % of the training crops exceed either."""

FLIPPED_FROM, FLIPPED_TO = 20.0, 10.0
"""Degrees: least true yaw, and least predicted yaw to the other side, of a flipped pose. Less is no clear turn."""

POSE_LIMIT = 15.0
"""Degrees, for each of the three angles: about four times the mean error on AFLW2000-3D."""

DRIFT_LIMIT = 7.0
"""Percent of the face's size, for the mean of a group: twice the mean error on AFLW2000-3D."""

CONFIDENT_TO, UNSURE_FROM = 0.1, 0.5
"""Checked failure probabilities: a face up to the first counts as predicted right, from the second on as wrong."""

RULES = {
    MISSED: f"no detection overlaps the face by an IoU of {HIT_IOU} or more, or another face took it",
    FALSE_ALARM: "all faces of the photo are labelled, and the detection neither hits nor comes near one",
    WRONG_CROP: f"the crop is less than {CROP_SCALES[0]} or more than {CROP_SCALES[1]} times as large as the crop "
    f"around the reference's landmarks, or more than {100 * CROP_SHIFT:.1f} % of its side away; where only a box is "
    f"known, its IoU with the detection is below {BOX_IOU}; also a detection that hits no face but overlaps a missed "
    f"one by {NEAR_IOU} or more",
    POSE_FLIPPED: f"the head is turned by {FLIPPED_FROM:g} degrees or more, and the predicted head by "
    f"{FLIPPED_TO:g} or more to the other side; or roll is off by more than 90",
    POSE_OFF: f"one of the three angles is off by more than {POSE_LIMIT:g} degrees, and the pose is not flipped",
    DRIFTED: f"the mean error of a group ({', '.join(GROUPS)}) is more than {DRIFT_LIMIT:g} % of the face's size; "
    "the groups are named, worst first",
    IMPLAUSIBLE: f"the identity lies more than {IDENTITY_LIMIT:.2f}, or the expression more than "
    f"{EXPRESSION_LIMIT:.2f}, standard deviations (root mean square) from the mean face",
    CONFIDENT: f"the checked failure probability is {CONFIDENT_TO:g} or less, the landmarks' error above "
    f"{FAILURE_NME:g} %",
    UNSURE: f"the checked failure probability is {UNSURE_FROM:g} or more, the landmarks' error not above "
    f"{FAILURE_NME:g} %, and no other rule applies",
}
"""Every label with its rule, worst first, in the order of `failures_of`."""


def failures_of(row: Mapping[str, object], *, all_labelled: bool) -> tuple[str, ...]:
    """The labels of what went wrong with one face, worst first; empty if no rule applies.

    `row` holds columns of a report's faces, without those that are not known. `all_labelled` tells whether the
    photo's truth names every face. The groups that drifted follow their label: `landmarks drifted: jaw, lips`.
    """
    missed, hit = row.get("face") is None, row.get("truth") is not None
    if missed:
        return (MISSED,)
    if not hit and _number(row, "iou") >= NEAR_IOU:
        return (WRONG_CROP,)
    if not hit and all_labelled:
        return (FALSE_ALARM,)
    found = [WRONG_CROP] if hit and _wrong_crop(row) else []
    found += _pose_failures(row)
    errors = {group: _number(row, f"error_{group}") for group in GROUPS}
    drifted = sorted((group for group in GROUPS if errors[group] > DRIFT_LIMIT), key=errors.get, reverse=True)
    if drifted:
        found.append(f"{DRIFTED}: {', '.join(drifted)}")
    identity, expression = (_number(row, f"{part}_distance") for part in ("identity", "expression"))
    if identity > IDENTITY_LIMIT or expression > EXPRESSION_LIMIT:
        found.append(IMPLAUSIBLE)
    return (*found, *_misjudged(row, failed=bool(found)))


def failure_flags(failures: pd.Series) -> pd.DataFrame:
    """Which labels of `RULES` each row of a report's `failures` has: one bool column per label."""
    return pd.DataFrame({label: failures.str.contains(label, regex=False, na=False) for label in RULES})


def _wrong_crop(row: Mapping[str, object]) -> bool:
    scale, shift, iou = (_number(row, name) for name in ("crop_scale", "crop_shift", "iou"))
    if np.isfinite(scale):
        return not CROP_SCALES[0] <= scale <= CROP_SCALES[1] or shift > CROP_SHIFT
    return iou < BOX_IOU


def _pose_failures(row: Mapping[str, object]) -> list[str]:
    own, reference = (
        np.array([_number(row, f"{word}{angle}") for angle in ("yaw", "pitch", "roll")])
        for word in ("", "reference_")
    )
    off = np.abs((own - reference + 180) % 360 - 180)
    to_the_other_side = (
        abs(reference[0]) >= FLIPPED_FROM and abs(own[0]) >= FLIPPED_TO and own[0] * reference[0] < 0
    )
    if to_the_other_side or off[2] > 90:
        return [POSE_FLIPPED]
    return [POSE_OFF] if (off > POSE_LIMIT).any() else []


def _misjudged(row: Mapping[str, object], *, failed: bool) -> list[str]:
    """Whether the checked failure probability was wrong."""
    probability = _number(row, "checked_failure_probability")
    error = _number(row, "nme" if row.get("landmark_reference") == "truth" else "landmark_drift")
    if error > FAILURE_NME and probability <= CONFIDENT_TO:
        return [CONFIDENT]
    return [UNSURE] if error <= FAILURE_NME and probability >= UNSURE_FROM and not failed else []


def _number(row: Mapping[str, object], name: str) -> float:
    return float(row.get(name, np.nan))
