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
    face_shares,
    judge,
    judge_own,
    simplex,
    yaw_bins,
)
from m4kit.ablation.heads.record import BEST, DIGITS, DYNAMIC, LEARNED, OTHER_HALF, UNIFORM, HeadStudy
from m4kit.datasets import Sample
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

    The best weights are best on the same faces that chose them. "best of other half" is without this bias: `seed`
    splits the people into halves, each half chooses its best static weights, and each face is judged under those of
    the half without it. All other settings are compared with it. For one set of weights without the bias, give the
    study of another set as `chosen`: its best weights are evaluated here, and nothing is searched.
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
    people, bins = people_of(answers.samples), yaw_bins(answers)
    with tqdm(total=3, desc="weights", disable=not progress) as bar:
        crossed = None
        if chosen is None:
            halves = _halves(people, seed)
            grid, best = _searched(answers, np.stack(list(settings.values())), halves, truth, bar)
            settings[BEST] = grid.weights[grid.headline.argmin()]
            if halves:
                # Each half is judged under the weights of the other.
                each = np.where(halves[0][:, None], best[1], best[0])
                crossed = judge_own(replace(answers, weights=each), truth=truth)
        else:
            grid = judge(answers, settings[UNIFORM], truth=truth).take(slice(0))
            settings[BEST] = chosen.weights(BEST)
        table, names = judge(answers, np.stack(list(settings.values())), truth=truth), tuple(settings)
        if crossed is not None:
            table, names = table.joined(crossed), (*names, OTHER_HALF)
        if dynamic is not None:
            table, names = table.joined(judge_own(dynamic, truth=truth)), (*names, DYNAMIC)
        bar.update(bar.total - bar.n)
    every = table.joined(grid)
    s = len(names)
    intervals, gaps = paired_intervals(
        every.faces, bins, range(s), people=people, confidence=confidence, resamples=resamples, seed=seed
    )
    differences = paired_differences(every.headline, range(s), gaps)
    reference = names.index(BEST if crossed is None else OTHER_HALF)
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
        grid_differences=differences[s:, reference],
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


def people_of(samples: Sequence[Sample]) -> np.ndarray:
    """Number the people on n samples from 0, (n,); a face whose person is unknown is a person of its own."""
    names = [f"face {number}" if one.person is None else one.person for number, one in enumerate(samples)]
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names])


def _halves(people: np.ndarray, seed: int) -> list[np.ndarray]:
    """Split the people (n,) at random into two halves, each a mask (n,) of its faces; none if there is one person."""
    first = np.random.default_rng(seed).permutation(people.max() + 1)[people] % 2 == 0
    return [] if first.all() else [first, ~first]


def _searched(
    answers: HeadAnswers,
    settings: np.ndarray,
    halves: Sequence[np.ndarray],
    truth: np.ndarray | None,
    bar: tqdm,
) -> tuple[Judgement, list[np.ndarray]]:
    """Judge all static weights that are tried; also find the best (4,) for each of `halves`, masks (n,) of faces.

    Tried are the simplex, settings (s, 4), and finer steps around the best of these for all faces and for each half.
    A half has only the finer steps around its own best to choose from.
    """
    bins, fine = yaw_bins(answers), simplex(0.05)

    def best(judged: Judgement, faces: np.ndarray) -> np.ndarray:
        return judged.weights[(judged.faces[:, faces] @ face_shares(bins[faces])).argmin()]

    def near(weights: np.ndarray, middle: np.ndarray) -> np.ndarray:
        return (abs(weights - middle) < _REACH + 1e-9).all(axis=1)

    coarse = _distinct(np.concatenate([simplex(0.1), settings]))
    grid = judge(answers, coarse, truth=truth)
    bar.update(1)
    middles = [best(grid, faces) for faces in halves]
    finer = fine[np.any([near(fine, one) for one in (coarse[grid.headline.argmin()], *middles)], axis=0)]
    finer = _distinct(np.concatenate([coarse, finer]))[len(coarse) :]
    bar.update(1)
    if len(finer):
        grid = grid.joined(judge(answers, finer, truth=truth))
    is_coarse = np.arange(len(grid)) < len(coarse)
    own = [grid.take(is_coarse | near(grid.weights, middle)) for middle in middles]
    return grid, [best(some, faces) for some, faces in zip(own, halves, strict=True)]


def _distinct(weights: np.ndarray) -> np.ndarray:
    """The rows of weights (w, 4) without repetitions, in order of their first occurrence."""
    _, first = np.unique(weights.round(9), axis=0, return_index=True)
    return weights[np.sort(first)]


def paired_intervals(
    faces: np.ndarray,
    bins: np.ndarray,
    references: Sequence[int],
    *,
    people: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap the intervals of headlines (w, 2), and of their differences from r `references` (w, r, 2).

    `faces` (w, n) are errors, `bins` (n,) the faces' yaw bins from `yaw_bins`, and `people` (n,) who is on each. The
    faces of one person are drawn together. All rows are resampled together, so the differences are paired.
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
        np.arange(len(bins)),
        statistic=headlines,
        groups=people,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    return found[..., 0].T, found[..., 1:].transpose(1, 2, 0)


def paired_differences(headline: np.ndarray, references: Sequence[int], intervals: np.ndarray) -> np.ndarray:
    """Subtract the headlines of r references from headlines (w,), each with its interval (w, r, 2): (w, r, 3)."""
    differences = headline[:, None] - headline[references]
    return np.concatenate([differences[..., None], intervals], axis=2).round(DIGITS)
