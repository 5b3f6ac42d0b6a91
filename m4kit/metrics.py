"""Error metrics over arrays, without data or protocol (those are in `evaluate`).

Landmark errors are percents of the face's size, sqrt(w * h) of the true landmarks' bounding box. Angles are degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from m4kit.landmarks import face_size

YAW_BINS = ((0, 30), (30, 60), (60, 90))
"""The three yaw bins of AFLW2000-3D in degrees. 30 and 60 belong to the lower bins."""

FAILURE_NME = 8.0
"""Percent: landmarks with a larger NME count as failed. About twice the mean error on AFLW2000-3D."""

DISTANCES = ("lip gap", "eye aspect ratio", "nose width", "face width")
"""What `distances` measures."""


class BalancedMean(NamedTuple):
    """The mean of the yaw bins' means, the bins' means (3,), and the number of faces in each bin (3,)."""

    mean: float
    bins: np.ndarray
    counts: np.ndarray


def nme(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute the normalised mean error (NME) of each face, (...), in percent.

    `predicted` and `true` are landmarks (..., 68, 2 or 3) in the same pixels; only x and y count. The error is the
    mean distance over the landmarks, divided by sqrt(w * h) of the true landmarks' bounding box (Zhu et al., CVPR
    2016).
    """
    return np.linalg.norm(normalised_errors(predicted, true), axis=-1).mean(axis=-1)


def mean_error_vector(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Average predicted - true over the landmarks of each face: (..., 2), x and y, in percent as for `nme`.

    Its mean over many faces is a constant offset, which comes from the label convention, the crop's pixels or the
    model.
    """
    return normalised_errors(predicted, true).mean(axis=-2)


def nme_without_offset(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute the NME of each of n faces, (n,), in percent, after subtracting the set's mean error vector.

    It ignores a constant offset between two label conventions. The offset is fitted on these same faces: use this
    value to compare, and report `nme`.
    """
    errors = normalised_errors(predicted, true)
    return np.linalg.norm(errors - errors.mean(axis=(0, 1)), axis=-1).mean(axis=-1)


def depth_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute signed errors of depth, predicted - true, (..., 68), in percent as for `nme`; positive is too near.

    `predicted` and `true` are landmarks (..., 68, 3) with z towards the camera. A photo does not determine how far
    away a face is, so each face's mean depth is removed from both: the errors of a face add up to 0.
    """
    for name, points in (("predicted", predicted), ("true", true)):
        if np.shape(points)[-2:] != (68, 3):
            raise ValueError(f"{name} landmarks: expected depth, (..., 68, 3), got {np.shape(points)}")
    errors = np.subtract(predicted, true, dtype=float)[..., 2]
    return 100 * (errors - errors.mean(axis=-1, keepdims=True)) / face_size(true)[..., None]


def nme_3d(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute the error in 3D of each face, (...), in percent: as `nme`, with the errors of depth as a third axis."""
    depth = depth_errors(predicted, true)[..., None]
    flat = normalised_errors(predicted, true)
    return np.linalg.norm(np.concatenate([flat, depth], axis=-1), axis=-1).mean(axis=-1)


def distances(landmarks: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Measure four distances that one sees on a face, (..., 4), in the order of `DISTANCES`.

    `landmarks` (..., 68, 2 or 3) are in the unit of `size` (...), and only x and y count. Widths and the gap are in
    percent of the size. Landmarks count from 0:

    - lip gap: 62 to 66, the middles of the inner lips;
    - eye aspect ratio: the mean of 37 to 41 and 38 to 40 (the lids), divided by 36 to 39 (the corners); the same for
      the other eye, and the mean of both (Soukupova and Cech, CVWW 2016);
    - nose width: 31 to 35, the outer ends of the nostrils;
    - face width: 0 to 16, the ends of the jaw line beside the ears.
    """
    points = np.asarray(landmarks, dtype=float)[..., :2]

    def apart(some, others):
        return np.linalg.norm(points[..., some, :] - points[..., others, :], axis=-1)

    lids = (apart([37, 43], [41, 47]) + apart([38, 44], [40, 46])) / 2
    eyes = (lids / apart([36, 42], [39, 45])).mean(axis=-1)
    gap, nose, face = np.moveaxis(100 * apart([62, 31, 0], [66, 35, 16]) / np.asarray(size)[..., None], -1, 0)
    return np.stack([gap, eyes, nose, face], axis=-1)


def correlation(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute Pearson's correlation over the first axis of two arrays (n, ...); NaN where one does not vary."""
    a, b = (values - values.mean(axis=0) for values in (predicted, true))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


def yaw_bin(yaw: np.ndarray) -> np.ndarray:
    """Find the index into `YAW_BINS` of each yaw (...) in degrees; -1 where the yaw is not finite.

    The absolute value counts, and a yaw beyond 90 degrees falls into the last bin.

    >>> yaw_bin(np.array([-30, 45, 95, np.nan]))
    array([ 0,  1,  2, -1])
    """
    turn = np.abs(np.asarray(yaw, dtype=float))
    return np.where(np.isfinite(turn), np.searchsorted([high for _, high in YAW_BINS[:-1]], turn), -1)


def balanced_mean(errors: np.ndarray, yaw: np.ndarray) -> BalancedMean:
    """Average the three yaw bins' means, as papers report it for AFLW2000-3D.

    `errors` and `yaw` in degrees are both (n,). The mean of an empty bin is NaN, and then so is the balanced mean.
    """
    errors, bin_of = np.asarray(errors, dtype=float), yaw_bin(yaw)
    if errors.ndim != 1 or errors.shape != bin_of.shape:
        raise ValueError(
            "balanced_mean: expected one error and one yaw per face, (n,) each, "
            f"got {errors.shape} and {bin_of.shape}"
        )
    if (bin_of < 0).any():
        raise ValueError(
            "balanced_mean: expected finite yaw angles, got NaN or infinity; drop those faces first"
        )
    members = [errors[bin_of == index] for index in range(len(YAW_BINS))]
    bins = np.array([member.mean() if len(member) else np.nan for member in members])
    return BalancedMean(float(bins.mean()), bins, np.array([len(member) for member in members]))


def pose_error(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute absolute differences of angles in degrees, (...), around the circle: 179 and -179 differ by 2.

    `predicted` and `true` hold yaw, pitch and roll in their last axis, or any other angles.
    """
    predicted, true = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    if predicted.shape != true.shape:
        raise ValueError(
            f"pose_error: expected two arrays of one shape, got {predicted.shape} and {true.shape}"
        )
    return np.abs((predicted - true + 180) % 360 - 180)


def rotation_error(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute the geodesic angle between rotations (..., 3, 3), (...), in degrees from 0 to 180.

    This is the angle of the one turn that carries one rotation into the other. Unlike `pose_error`, it does not
    depend on how a rotation is divided into angles.
    """
    # Better conditioned near 0 than the arc cosine of the trace.
    half = np.linalg.norm(np.subtract(predicted, true), axis=(-2, -1)) / np.sqrt(8)
    return np.degrees(2 * np.arcsin(np.minimum(half, 1)))


def bootstrap(
    values: np.ndarray,
    *,
    statistic: Callable[[np.ndarray], float | np.ndarray] = lambda rows: rows.mean(axis=0),
    groups: np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Compute a percentile bootstrap interval of a statistic of `values` (n, ...): low and high, (2, ...).

    Rows are drawn with replacement, so the interval shows how far the statistic would move on other faces of the same
    kind. `statistic` maps drawn rows (m, ...) to a number or an array, by default to their mean. An array gets one
    interval per element, all from the same draws. Resamples with a NaN, as from an empty yaw bin, are left out.

    With `groups` (n,), rows with the same label are drawn together, for example the faces of one photo or person.

    Raises `ValueError` if there are no values.
    """
    values = np.asarray(values)
    if values.ndim < 1 or len(values) < 1:
        raise ValueError(f"bootstrap: expected at least one value, (n, ...), got shape {values.shape}")
    group = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count, random = group.max() + 1, np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        times = np.bincount(random.integers(0, count, count), minlength=count)
        draws.append(statistic(values.repeat(times[group], axis=0)))
    draws = np.array(draws, dtype=float)
    known = draws[~np.isnan(draws).reshape(resamples, -1).any(axis=1)]
    if not len(known):
        return np.full((2, *draws.shape[1:]), np.nan)
    tail = 50 * (1 - confidence)
    return np.percentile(known, [tail, 100 - tail], axis=0)


def auroc(score: np.ndarray, failed: np.ndarray) -> float:
    """Compute the area under the ROC curve: how likely a failed face has a higher score than a correct one.

    `score` is (n,) and `failed` (n,) bool. Ties count half. NaN if there are no failed or no correct faces.

    >>> auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    bad, good = score[failed], np.sort(score[~failed])
    if not len(bad) or not len(good):
        return float("nan")
    lower = [np.searchsorted(good, bad, side=side) for side in ("left", "right")]
    return float(np.mean(lower) / len(good))


class Reliability(NamedTuple):
    """How many faces of each bin failed, (k,) each, as shares from 0 to 1.

    `predicted` is the mean probability, `failed` the share of failures, `low` and `high` its 95 % interval.
    """

    predicted: np.ndarray
    failed: np.ndarray
    low: np.ndarray
    high: np.ndarray


def reliability(probability: np.ndarray, failed: np.ndarray, *, bins: int = 10) -> Reliability:
    """Compare predicted probabilities (n,) with which faces failed, (n,) bool.

    All bins hold the same number of faces, to within one, the least probable failures first: failures are rare, so
    bins of equal width would be nearly empty. The interval is Wilson's (1927), which takes the faces as independent.

    >>> reliability(np.array([0.1, 0.3, 0.6, 0.8]), np.array([False, False, True, True]), bins=2).predicted
    array([0.2, 0.7])
    """
    # Slow to import.
    from scipy.stats import binomtest

    rows = np.array_split(np.argsort(probability, kind="stable"), bins)
    ends = [binomtest(int(failed[own].sum()), len(own)).proportion_ci(method="wilson") for own in rows]
    means = [(probability[own].mean(), failed[own].mean()) for own in rows]
    return Reliability(*np.transpose(means), *np.transpose(ends))


def surest(score: np.ndarray, *, set_aside: float = 0.1) -> np.ndarray:
    """Mark the faces, (n,), that remain when the share `set_aside` with the highest scores is removed.

    >>> surest(np.array([0.2, 0.9, 0.1, 0.3]), set_aside=0.25)
    array([ True, False,  True,  True])
    """
    kept = np.zeros(len(score), bool)
    kept[np.argsort(score, kind="stable")[: len(score) - round(set_aside * len(score))]] = True
    return kept


def normalised_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute predicted - true, (..., 68, 2), in percent of the true landmarks' size."""
    predicted, true = (np.asarray(points, dtype=float) for points in (predicted, true))
    for name, points in (("predicted", predicted), ("true", true)):
        if points.ndim < 2 or points.shape[-2] != 68 or points.shape[-1] not in (2, 3):
            raise ValueError(f"{name} landmarks: expected (..., 68, 2 or 3), got {points.shape}")
    if predicted.shape[:-2] != true.shape[:-2]:
        raise ValueError(
            f"expected as many predicted as true faces, got {predicted.shape} and {true.shape}; pair them first"
        )
    size = face_size(true)
    if not (size > 0).all():
        raise ValueError("true landmarks: expected finite points that span a box, got some that do not")
    return 100 * (predicted[..., :2] - true[..., :2]) / size[..., None, None]
