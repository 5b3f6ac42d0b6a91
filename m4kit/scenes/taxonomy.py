"""What went wrong with a face, in words: a small taxonomy whose rules are stated and whose limits are named.

A rule only speaks where what it compares with is known: the truth, or else what the system says of the clean
photo.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

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
"""A detection that hits no face, but overlaps a missed one by at least this, was meant for it."""

BOX_IOU = 0.5
"""Below this overlap with an annotated box, a hit is of the wrong size or place: the limit of PASCAL VOC and
UFDD."""

CROP_SCALES = (0.8, 1.25)
CROP_SHIFT = 8 / 120
"""In scale and shift of the right crop: fewer than 3 % of the crops of the training lie beyond either."""

FLIPPED_FROM, FLIPPED_TO = 20.0, 10.0
"""Degrees: a head that is turned at least so far, and is said to be turned at least so far to the other side.
Less is no clear turn."""

POSE_LIMIT = 15.0
"""Degrees, of any of the three angles: about four times the mean error on AFLW2000-3D."""

DRIFT_LIMIT = 7.0
"""Percent of the face's size, of a group's mean: twice the mean error on AFLW2000-3D."""

CONFIDENT_TO, UNSURE_FROM = 0.1, 0.5
"""Probabilities of failure: up to the one the system takes a face for right, from the other on for wrong."""

RULES = {
    MISSED: f"no detection overlaps the face by an IoU of {HIT_IOU} or more, or another face took it",
    FALSE_ALARM: "all faces of the photo are labelled, and the detection neither hits one nor is near one",
    WRONG_CROP: f"the crop is less than {CROP_SCALES[0]} or more than {CROP_SCALES[1]} times as large as around the "
    f"reference's landmarks, or more than {100 * CROP_SHIFT:.1f} % of its side away; where only a box is known, its "
    f"overlap with the detection's is below {BOX_IOU}; and a detection that hits no face but overlaps a missed one "
    f"by {NEAR_IOU} or more",
    POSE_FLIPPED: f"the head is turned by {FLIPPED_FROM:g} degrees or more and said to be turned by {FLIPPED_TO:g} "
    "or more to the other side, or stands on its head (roll off by more than 90)",
    POSE_OFF: f"one of the three angles is off by more than {POSE_LIMIT:g} degrees, and the pose is not flipped",
    DRIFTED: f"the mean error of a group ({', '.join(GROUPS)}) is more than {DRIFT_LIMIT:g} % of the face's size; "
    "the groups are named, worst first",
    IMPLAUSIBLE: f"the identity lies more than {IDENTITY_LIMIT:.2f}, or the expression more than "
    f"{EXPRESSION_LIMIT:.2f}, standard deviations (root mean square) from the mean face",
    CONFIDENT: f"the failure probability is {CONFIDENT_TO:g} or less, the landmarks' error above {FAILURE_NME:g} %",
    UNSURE: f"the failure probability is {UNSURE_FROM:g} or more, the landmarks' error not above {FAILURE_NME:g} %, "
    "and no other rule speaks",
}
"""Every label with its rule, worst first: the order in which `failures_of` gives them."""


def failures_of(row: Mapping[str, object], *, all_labelled: bool) -> tuple[str, ...]:
    """What went wrong with one face, a row of a report's faces; worst first, empty if no rule speaks.

    `all_labelled` says whether the photo's truth names every face. Drifted groups are in one label:
    `landmarks drifted: jaw, lips`.
    """
    if row["face"] < 0:
        return (MISSED,)
    if row["truth"] < 0 and _number(row, "iou") >= NEAR_IOU:
        return (WRONG_CROP,)
    if row["truth"] < 0 and all_labelled:
        return (FALSE_ALARM,)
    found = []
    if row["truth"] >= 0 and _wrong_crop(row):
        found.append(WRONG_CROP)
    found += _pose_failures(row)
    errors = {group: _number(row, f"error_{group}") for group in GROUPS}
    drifted = sorted(
        (group for group in GROUPS if errors[group] > DRIFT_LIMIT), key=lambda group: -errors[group]
    )
    if drifted:
        found.append(f"{DRIFTED}: {', '.join(drifted)}")
    if (
        _number(row, "identity_distance") > IDENTITY_LIMIT
        or _number(row, "expression_distance") > EXPRESSION_LIMIT
    ):
        found.append(IMPLAUSIBLE)
    return tuple(found + _misjudged(row, failed=bool(found)))


def label_of(failure: str) -> str:
    """A failure without its groups: one of the keys of `RULES`.

    >>> label_of("landmarks drifted: jaw, lips")
    'landmarks drifted'
    """
    return failure.partition(":")[0]


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
    """Whether the system's confidence was wrong."""
    probability = _number(row, "failure_probability")
    error = _number(row, "nme" if row.get("landmark_reference") == "truth" else "landmark_drift")
    if error > FAILURE_NME and probability <= CONFIDENT_TO:
        return [CONFIDENT]
    return [UNSURE] if error <= FAILURE_NME and probability >= UNSURE_FROM and not failed else []


def _number(row: Mapping[str, object], name: str) -> float:
    return float(row.get(name, np.nan))
