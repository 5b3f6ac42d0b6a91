"""The study of the head weights on one data set: which settings are compared, and how the best are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from m4kit import metrics
from m4kit.ablation.heads.judge import (
    HEADS,
    Judgement,
    bin_counts,
    checked_weights,
    judge,
    judge_own,
    simplex,
    yaw_bins,
)
from m4kit.ablation.heads.record import BEST, DIGITS, DYNAMIC, LEARNED, UNIFORM, HeadStudy
from m4kit.evaluate.heads import HeadAnswers

_REACH = 0.1
"""How far from the best coarse weights the fine grid reaches, per head."""


def study(
    answers: HeadAnswers,
    *,
    dataset: str,
    weights_file: str = "",
    truth: np.ndarray | None = None,
    dynamic: HeadAnswers | None = None,
    others: Mapping[str, object] | None = None,
    chosen: HeadStudy | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> HeadStudy:
    """Compare settings of the head weights on a labelled set, from one run of the network.

    The settings are each head alone, uniform weights, the learned static ones, and the best static ones: those of the
    whole simplex in steps of 0.1, and of 0.05 around the optimum. Dynamic weights are added if `answers` come from a
    network that has them, or if the answers of a second network on the same faces are given as `dynamic`. `others`
    names weights of your own.

    `truth` (n, 62) are the true raw parameters, if known, for the error of the vertices. `dataset` and `weights_file`
    are stored in the record.

    The best weights are best on the same faces that chose them. To report them without this bias, give the study of
    another set as `chosen`: its best weights are evaluated here, and nothing is searched.
    """
    learned = not np.ptp(answers.weights, axis=0).any()
    if dynamic is None and not learned:
        dynamic = answers
    if dynamic is not None and [s.name for s in dynamic.samples] != [s.name for s in answers.samples]:
        raise ValueError(
            f"dynamic: expected answers on the same {len(answers)} faces, got {len(dynamic)} faces with other "
            "names or in another order; run both networks on one set"
        )
    settings = {f"head {head + 1}": row for head, row in enumerate(np.eye(HEADS))}
    settings[UNIFORM] = np.full(HEADS, 1 / HEADS)
    if learned:
        settings[LEARNED] = checked_weights(answers.weights[0])[0]
    for name, weights in (others or {}).items():
        if name in (*settings, BEST, DYNAMIC):
            raise ValueError(f"others: expected names of your own, got {name!r}, which the study uses itself")
        settings[name] = checked_weights(weights)[0]
    if chosen is not None and not _same_network(chosen, answers.network, weights_file):
        raise ValueError(
            f"chosen: expected a study of the same network, {weights_file!r}, got one of "
            f"{chosen.weights_file!r}; the heads of another network need weights of their own"
        )
    with tqdm(total=3, desc="weights", disable=not progress) as bar:
        if chosen is None:
            grid = _searched(answers, np.stack(list(settings.values())), truth, bar)
            settings[BEST] = grid.weights[grid.headline.argmin()]
        else:
            grid = judge(answers, settings[UNIFORM], truth=truth).take(slice(0))
            settings[BEST] = chosen.weights(BEST)
        table, names = judge(answers, np.stack(list(settings.values())), truth=truth), tuple(settings)
        if dynamic is not None:
            table, names = table.joined(judge_own(dynamic, truth=truth)), (*names, DYNAMIC)
        bar.update(bar.total - bar.n)
    bins = yaw_bins(answers)
    every = table.joined(grid)
    s = len(names)
    intervals, gaps = paired_intervals(
        every.faces, bins, range(s), confidence=confidence, resamples=resamples, seed=seed
    )
    differences = paired_differences(every.headline, range(s), gaps)
    return HeadStudy(
        dataset=dataset,
        inputs=answers.evaluate().inputs,
        weights_file=weights_file,
        network=answers.network,
        faces=len(answers),
        counts=tuple(bin_counts(bins).tolist()),
        settings=names,
        table=replace(table, faces=None),
        intervals=intervals[:s],
        differences=differences[:s],
        grid=replace(grid, faces=None),
        grid_intervals=intervals[s:],
        grid_differences=differences[s:, names.index(BEST)],
        chosen_on=chosen.dataset if chosen else "",
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def _same_network(chosen: HeadStudy, network: str, weights_file: str) -> bool:
    """Whether a study is of these heads; compared by file name if a fingerprint is not known."""
    if chosen.network and network:
        return chosen.network == network
    return chosen.weights_file == weights_file


def _searched(answers: HeadAnswers, settings: np.ndarray, truth: np.ndarray | None, bar: tqdm) -> Judgement:
    """All static weights that are tried: the simplex, settings (s, 4), and finer steps around the best of them."""
    coarse = _distinct(np.concatenate([simplex(0.1), settings]))
    grid = judge(answers, coarse, truth=truth)
    bar.update(1)
    best, fine = coarse[grid.headline.argmin()], simplex(0.05)
    near = fine[(abs(fine - best) < _REACH + 1e-9).all(axis=1)]
    near = _distinct(np.concatenate([coarse, near]))[len(coarse) :]
    bar.update(1)
    return grid.joined(judge(answers, near, truth=truth)) if len(near) else grid


def _distinct(weights: np.ndarray) -> np.ndarray:
    """The rows of weights (w, 4) without repetitions, in order of their first occurrence."""
    _, first = np.unique(weights.round(9), axis=0, return_index=True)
    return weights[np.sort(first)]


def paired_intervals(
    faces: np.ndarray,
    bins: np.ndarray,
    references: Sequence[int],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap intervals of headlines (w, 2), and of their differences from r `references` (w, r, 2).

    `faces` (w, n) are errors and `bins` (n,) the faces' yaw bins from `yaw_bins`. All rows are resampled together, so
    the differences are paired.
    """
    members = bins[:, None] == np.arange(len(metrics.YAW_BINS))
    if not members.any(axis=0).all():
        members = np.ones((len(bins), 1), bool)
    members, errors = members.astype(np.float32), np.ascontiguousarray(faces.T)

    def headlines(rows: np.ndarray) -> np.ndarray:
        # A bin that is empty in this resample makes its mean NaN.
        with np.errstate(invalid="ignore"):
            means = members[rows].T @ errors[rows] / members[rows].sum(axis=0)[:, None]
        headline = means.mean(axis=0, dtype=float)
        return np.column_stack([headline, headline[:, None] - headline[references]])

    found = metrics.bootstrap(
        np.arange(len(bins)), statistic=headlines, confidence=confidence, resamples=resamples, seed=seed
    )
    return found[..., 0].T, found[..., 1:].transpose(1, 2, 0)


def paired_differences(headline: np.ndarray, references: Sequence[int], intervals: np.ndarray) -> np.ndarray:
    """Headlines (w,) minus those of r references, each with its interval (w, r, 2): (w, r, 3)."""
    differences = headline[:, None] - headline[references]
    return np.concatenate([differences[..., None], intervals], axis=2).round(DIGITS)
