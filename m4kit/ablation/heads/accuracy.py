"""The accuracy under any weights of the heads, read off a study's record and interpolated between its weights.

The measured weights lie on a regular grid. Its cells are cut into tetrahedra as Freudenthal does it, so each point
has four measured neighbours at most, and shares of them that are its barycentric coordinates. In the sums
s = (w1, w1 + w2, w1 + w2 + w3) the cells are cubes, and the order of the fractions within one names the tetrahedron.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from m4kit.ablation.heads.judge import HEADS
from m4kit.ablation.heads.record import HeadStudy
from m4kit.ablation.record import RecordError
from m4kit.network import HEAD_STAGES

STEPS = (20, 10)
"""Parts of 1 in which the study goes: fine around its best, else coarse. The finest that is measured counts."""

_NEAR = 1e-5
_COLUMNS = 6


class Accuracy(NamedTuple):
    """What a record says of weights (..., 4), in percent.

    `nme` (...) is the headline of the study, `interval` (..., 2) its bootstrap interval, `difference` (..., 3) less
    the best static weights' with the paired interval. `measured` (...) tells the study's own weights from those
    between, for which all of these are interpolated linearly.
    """

    nme: np.ndarray
    interval: np.ndarray
    difference: np.ndarray
    measured: np.ndarray


def accuracy_at(record: HeadStudy, weights) -> Accuracy:
    """The accuracy under weights (..., 4) that are at least 0 and sum to 1, interpolated between measured ones.

    Raises `RecordError` for a record without the grid, since its best weights came from another set's study.
    """
    weights = np.asarray(weights, dtype=float)
    if weights.shape[-1:] != (HEADS,):
        raise ValueError(f"expected weights (..., {HEADS}), got {weights.shape}")
    rows = weights.reshape(-1, HEADS)
    values, measured = np.full((len(rows), _COLUMNS), np.nan), np.zeros(len(rows), dtype=bool)
    for parts, table in zip(STEPS, _tables(record), strict=True):
        left = np.isnan(values[:, 0])
        values[left], measured[left] = _interpolated(table, parts, rows[left])
    # Weights that the study measured beside the grid, such as the learned ones.
    for own, exact in zip(*_beside_the_grid(record), strict=True):
        same = abs(rows - own).max(axis=1) < _NEAR
        values[same], measured[same] = exact, True
    values = values.reshape(*weights.shape[:-1], _COLUMNS)
    return Accuracy(values[..., 0], values[..., 1:3], values[..., 3:], measured.reshape(weights.shape[:-1]))


def check_heads_of(record: HeadStudy, *, network: str, heads: int) -> None:
    """Raise `RecordError` unless a record is of the very heads that answered, and has a grid.

    `network` is their fingerprint (`Prediction.network`), `heads` how many they are.
    """
    if heads != HEADS:
        raise RecordError(
            f"expected the {HEADS} heads of the study ({', '.join(HEAD_STAGES)}), got a face with {heads}; "
            "the accuracy of their weights is not known"
        )
    if not network:
        raise RecordError(
            "the prediction does not say which network made it, so no study can be known to be of its heads; "
            "predict with m4kit.predict"
        )
    if record.network != network:
        raise RecordError(
            f"expected a study of the heads that made this prediction (fingerprint {network}), got one of "
            f"{record.weights_file or 'other weights'} ({record.network or 'no fingerprint'}); make one with "
            "`m4kit ablate heads --weights FILE` and give it as study="
        )
    _tables(record)


@lru_cache(maxsize=4)
def _tables(record: HeadStudy) -> tuple[np.ndarray, ...]:
    """For each of `STEPS`, what was measured (N + 2, N + 2, N + 2, 6) at the sums of the weights; NaN elsewhere."""
    tables = []
    for parts in STEPS:
        table = np.full((parts + 2,) * 3 + (_COLUMNS,), np.nan)
        sums = np.cumsum(record.grid.weights[:, 0], axis=1)[:, :3] * parts
        on_grid = (abs(sums - sums.round()) < _NEAR * parts).all(axis=1)
        table[tuple(sums[on_grid].round().astype(int).T)] = _columns(record)[on_grid]
        tables.append(table)
    expected = np.prod([STEPS[-1] + k for k in (1, 2, 3)]) // 6
    if np.isfinite(tables[-1][..., 0]).sum() != expected:
        raise RecordError(
            f"expected a study of all weights in steps of {1 / STEPS[-1]:g}, got {len(record.grid)} weights"
            + (f", for the best were chosen on {record.chosen_on}" if record.chosen_on else "")
            + "; give the record of a study that searched"
        )
    return tuple(tables)


@lru_cache(maxsize=4)
def _beside_the_grid(record: HeadStudy) -> tuple[np.ndarray, np.ndarray]:
    """Weights (m, 4) that were measured but are no whole steps, and what was (m, 6)."""
    weights = record.grid.weights[:, 0]
    beside = (abs(weights * STEPS[0] - (weights * STEPS[0]).round()) > _NEAR).any(axis=1)
    return weights[beside], _columns(record)[beside]


def _columns(record: HeadStudy) -> np.ndarray:
    return np.column_stack([record.grid.headline, record.grid_intervals, record.grid_differences])


def _interpolated(table: np.ndarray, parts: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, 6) of weights (n, 4), NaN where a neighbour is not known, and whether they are a neighbour's own."""
    # Rounded, lest 0.3 * 10 falls short of 3.
    sums = np.clip(np.cumsum(rows, axis=1)[:, :3] * parts, 0, parts).round(7)
    corner = np.floor(sums).astype(int)
    fraction = sums - corner
    # Of equal fractions the later goes first, so that the sums never fall.
    order = 2 - np.argsort(-fraction[:, ::-1], axis=1, kind="stable")
    ranked = np.take_along_axis(fraction, order, axis=1)
    shares = -np.diff(ranked, axis=1, prepend=1, append=0)
    values = np.zeros((len(rows), _COLUMNS))
    for number in range(4):
        if number:
            corner[np.arange(len(rows)), order[:, number - 1]] += 1
        share = shares[:, number, None]
        values += np.where(share > 1e-9, share * table[tuple(corner.T)], 0)
    return values, np.isfinite(values[:, 0]) & (shares.max(axis=1) > 1 - _NEAR)
