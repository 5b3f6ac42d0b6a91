"""The accuracy of any head weights, interpolated between those that a study measured."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import KDTree

from m4kit.ablation.heads.judge import HEADS, simplex
from m4kit.ablation.heads.record import HeadStudy
from m4kit.ablation.record import RecordError
from m4kit.network import HEAD_STAGES

STEP = 0.1
"""The step of the grid that a study covers everywhere. Around its best weights it is finer."""

_NEAR = 1e-5
"""Weights that are closer than this to measured ones have their values."""


class Accuracy(NamedTuple):
    """Accuracy under weights (..., 4), in percent.

    `nme` (...) is the headline of the study, `interval` (..., 2) its bootstrap interval, and `difference` (..., 3)
    the headline minus that of the study's `reference`, with the paired interval. `measured` (...) is True for weights
    that the study measured; for all others, the values are interpolated linearly.
    """

    nme: np.ndarray
    interval: np.ndarray
    difference: np.ndarray
    measured: np.ndarray


def accuracy_at(record: HeadStudy, weights) -> Accuracy:
    """Interpolate the accuracy under weights (..., 4), which must be at least 0 and sum to 1.

    Raises `RecordError` for a record without a grid, whose best weights came from the study of another set.
    """
    weights = np.asarray(weights, dtype=float)
    if weights.shape[-1:] != (HEADS,):
        raise ValueError(f"expected weights (..., {HEADS}), got {weights.shape}")
    columns, interpolate, neighbours = _interpolator(record)
    # Rounding must not push a sum above 1, which is outside the grid.
    rows = weights.reshape(-1, HEADS) / weights.reshape(-1, HEADS).sum(axis=1, keepdims=True)
    distance, nearest = neighbours.query(rows)
    measured = distance < _NEAR
    values = np.where(measured[:, None], columns[nearest], interpolate(_places(rows)))
    values = values.reshape(*weights.shape[:-1], columns.shape[1])
    return Accuracy(values[..., 0], values[..., 1:3], values[..., 3:], measured.reshape(weights.shape[:-1]))


def check_heads_of(record: HeadStudy, *, network: str, heads: int) -> None:
    """Raise `RecordError` unless a record has a grid and is of these heads.

    `network` is the fingerprint of the heads (`Prediction.network`), `heads` their number.
    """
    if heads != HEADS:
        raise RecordError(
            f"expected the {HEADS} heads of the study ({', '.join(HEAD_STAGES)}), got a face with {heads}; "
            "the accuracy of their weights is not known"
        )
    if not network:
        raise RecordError(
            "expected a prediction with the fingerprint of its network, got one without, so no study can be matched "
            "to its heads; predict with m4kit.predict"
        )
    if record.network != network:
        raise RecordError(
            f"expected a study of the heads that made this prediction (fingerprint {network}), got one of "
            f"{record.weights_file or 'other weights'} ({record.network or 'no fingerprint'}); make one with "
            "`m4kit ablate heads --weights FILE` and give it as study="
        )
    _interpolator(record)


@lru_cache(maxsize=4)
def _interpolator(record: HeadStudy) -> tuple[np.ndarray, LinearNDInterpolator, KDTree]:
    """The measured values (g, 6), their interpolator over `_places`, and the measured weights."""
    weights = record.grid.weights
    coarse = (abs(weights / STEP - (weights / STEP).round()) < _NEAR / STEP).all(axis=1)
    if coarse.sum() != len(simplex(STEP)):
        raise RecordError(
            f"expected a study of all weights in steps of {STEP:g}, got {len(weights)} weights"
            + (f", because the best were chosen on {record.chosen_on}" if record.chosen_on else "")
            + "; give the record of a study that searched"
        )
    columns = np.column_stack([record.grid.headline, record.grid_intervals, record.grid_differences])
    return columns, LinearNDInterpolator(_places(weights), columns), KDTree(weights)


def _places(weights: np.ndarray) -> np.ndarray:
    """Weights (..., 4) as points (..., 3), such that the regular grid of weights has a unique Delaunay triangulation.

    A body-centred cubic grid has one. On a cubic grid the eight corners of each cell lie on one sphere, and the
    choice between its triangulations is left to rounding.
    """
    sums = np.cumsum(weights, axis=-1)[..., :3]
    return sums - sums.sum(axis=-1, keepdims=True) / 6
