"""How wrong a prediction is: formulas over arrays, without data or protocol (those are in `evaluate`).

Landmark errors are percents of sqrt(w * h), the size of the true landmarks' bounding box; angles are degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

YAW_BINS = ((0, 30), (30, 60), (60, 90))
"""The three yaw bins of AFLW2000-3D in degrees; 30 and 60 belong to the lower ones."""


FAILURE_NME = 8.0
"""Percent: landmarks with a larger NME count as failed. About twice the mean error on AFLW2000-3D."""


class BalancedMean(NamedTuple):
    """The mean of the yaw bins' means, the means (3,), and how many faces each bin holds (3,)."""

    mean: float
    bins: np.ndarray
    counts: np.ndarray


def nme(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Normalised mean error of each face, (...), in percent.

    `predicted` and `true` are landmarks (..., 68, 2 or 3) in the same pixels; only x and y count. The error
    is the mean distance over the landmarks, divided by sqrt(w * h) of the true landmarks' bounding box (Zhu
    et al., CVPR 2016).
    """
    return np.linalg.norm(_normalised_errors(predicted, true), axis=-1).mean(axis=-1)


def mean_error_vector(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean of predicted - true over the landmarks of each face, (..., 2) as x, y, in percent as for `nme`.

    Its mean over many faces is a constant offset: of the labels' convention, of the crop's pixels, of the
    model.
    """
    return _normalised_errors(predicted, true).mean(axis=-2)


def nme_without_offset(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Normalised mean error of each of n faces, (n,), in percent, after the set's mean error vector is taken off.

    What is left when a constant offset between two conventions counts for nothing. The offset is fitted on these
    very faces: compare with it, and quote `nme`.
    """
    errors = _normalised_errors(predicted, true)
    return np.linalg.norm(errors - errors.mean(axis=(0, 1)), axis=-1).mean(axis=-1)


def yaw_bin(yaw: np.ndarray) -> np.ndarray:
    """Which of `YAW_BINS` each yaw (...) in degrees belongs to; -1 where it is not known.

    The size counts, and a turn beyond 90 degrees falls into the last bin.

    >>> yaw_bin(np.array([-30, 45, 95, np.nan]))
    array([ 0,  1,  2, -1])
    """
    turn = np.abs(np.asarray(yaw, dtype=float))
    return np.where(np.isfinite(turn), np.searchsorted([high for _, high in YAW_BINS[:-1]], turn), -1)


def balanced_mean(errors: np.ndarray, yaw: np.ndarray) -> BalancedMean:
    """The mean that weighs the three yaw bins alike, as papers quote it for AFLW2000-3D.

    `errors` (n,) and `yaw` (n,), in degrees, for `yaw_bin`. The mean of an empty bin is NaN, and so is then the
    balanced mean.
    """
    errors, bin_of = np.asarray(errors, dtype=float), yaw_bin(yaw)
    if errors.ndim != 1 or errors.shape != bin_of.shape:
        raise ValueError(
            "balanced_mean: expected one error and one yaw a face, (n,) each, "
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
    """Absolute differences of angles in degrees, (...), the short way round: 179 and -179 are 2 degrees
    apart.

    `predicted` and `true` hold yaw, pitch and roll in their last axis, or any other angles.
    """
    predicted, true = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    if predicted.shape != true.shape:
        raise ValueError(
            f"pose_error: expected two arrays of one shape, got {predicted.shape} and {true.shape}"
        )
    return np.abs((predicted - true + 180) % 360 - 180)


def bootstrap_interval(
    values: np.ndarray,
    *,
    statistic: Callable[[np.ndarray], float] = np.mean,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic of `values` (n, ...), drawn anew by the first axis.

    Faces are drawn with replacement, so the interval says how far the figure would move on other faces of the
    same kind. Resamples where the statistic is NaN, as with an empty yaw bin, are left out.
    """
    values = np.asarray(values)
    if values.ndim < 1 or len(values) < 1:
        raise ValueError(
            f"bootstrap_interval: expected at least one value, (n, ...), got shape {values.shape}"
        )
    random = np.random.default_rng(seed)
    draws = [statistic(values[random.integers(0, len(values), len(values))]) for _ in range(resamples)]
    tail = 50 * (1 - confidence)
    draws = np.array(draws, dtype=float)
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return np.nan, np.nan
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)


def _normalised_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Predicted - true, (..., 68, 2), in percent of the true landmarks' size."""
    predicted, true = (np.asarray(points, dtype=float) for points in (predicted, true))
    for name, points in (("predicted", predicted), ("true", true)):
        if points.ndim < 2 or points.shape[-2] != 68 or points.shape[-1] not in (2, 3):
            raise ValueError(f"{name} landmarks: expected (..., 68, 2 or 3), got {points.shape}")
    if predicted.shape[:-2] != true.shape[:-2]:
        raise ValueError(
            "expected as many predicted as true faces, "
            f"got {predicted.shape} and {true.shape}; pair them first"
        )
    size = np.sqrt(np.prod(np.ptp(true[..., :2], axis=-2), axis=-1))
    if not (size > 0).all():
        raise ValueError("true landmarks: expected finite points that span a box, got some that do not")
    return 100 * (predicted[..., :2] - true[..., :2]) / size[..., None, None]


def auroc(score: np.ndarray, failed: np.ndarray) -> float:
    """How likely a failed face has a higher score than a right one, ties counting half; NaN without either.

    >>> auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    bad, good = int(failed.sum()), int((~failed).sum())
    if not bad or not good:
        return float("nan")
    return float((rankdata(score)[failed].sum() - bad * (bad + 1) / 2) / (bad * good))


def surest(score: np.ndarray, *, set_aside: float = 0.1) -> np.ndarray:
    """The faces (n,) bool that are kept when the given share with the highest scores is set aside.

    >>> surest(np.array([0.2, 0.9, 0.1, 0.3]), set_aside=0.25)
    array([ True, False,  True,  True])
    """
    kept = np.zeros(len(score), bool)
    kept[np.argsort(score, kind="stable")[: len(score) - round(set_aside * len(score))]] = True
    return kept
