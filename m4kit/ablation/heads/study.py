"""The study of the heads' weights on one data set: which settings are compared, and how the best are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from m4kit import metrics
from m4kit.ablation.heads.judge import (
    HEADS,
    PARTS,
    Judgement,
    bin_counts,
    checked_weights,
    judge,
    judge_own,
    simplex,
    yaw_bins,
)
from m4kit.ablation.heads.record import BEST, DIGITS, DYNAMIC, LEARNED, SEPARATE, UNIFORM, HeadStudy
from m4kit.evaluate.heads import HeadAnswers

_REACH = 0.1
_ROUNDS = 3


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
    """Compare settings of the heads' weights on a labelled set, from what the heads said of it once.

    Each head alone, uniform weights, the learned static ones, and the best static ones of the whole simplex in
    steps of 0.1 and of 0.05 around the optimum. Then the best weights for camera, identity and expression apart,
    found by turns, each part over the simplex. And dynamic ones, from a fully connected layer, if `answers` are of a
    network that has it, or those of a second network are given as `dynamic`, on the same faces. `others` names
    weights of your own.

    `truth` (n, 62) are true raw parameters, if known, for the error of the vertices. `dataset` and `weights_file`
    go into the record as words.

    The best weights are best on the very faces that chose them. To report them without this favour, give another
    set's study as `chosen`: its best weights are judged here, and nothing is searched.
    """
    learned = not np.ptp(answers.weights, axis=0).any()
    if dynamic is None and not learned:
        dynamic = answers
    if dynamic is not None and [s.name for s in dynamic.samples] != [s.name for s in answers.samples]:
        raise ValueError(
            f"dynamic: expected answers on the same {len(answers)} faces, got {len(dynamic)} faces of other "
            "names or in another order; run both networks on one set"
        )
    settings = {f"head {head + 1}": _setting(row) for head, row in enumerate(np.eye(HEADS))}
    settings[UNIFORM] = _setting(np.full(HEADS, 1 / HEADS))
    if learned:
        settings[LEARNED] = _setting(answers.weights[0])
    for name, weights in (others or {}).items():
        if name in (*settings, BEST, SEPARATE, DYNAMIC):
            raise ValueError(f"others: expected names of your own, got {name!r}, which the study has itself")
        settings[name] = _setting(weights)
    if chosen is not None and not _same_network(chosen, answers.network, weights_file):
        raise ValueError(
            f"chosen: expected the study of the same network, {weights_file!r}, got that of "
            f"{chosen.weights_file!r}; the heads of another network want weights of their own"
        )
    with tqdm(total=3 + _ROUNDS, desc="weights", disable=not progress) as bar:
        if chosen is None:
            grid = _searched(answers, np.stack(list(settings.values())), truth, bar)
            settings[BEST] = grid.weights[grid.headline.argmin()]
            settings[SEPARATE] = _best_apart(answers, settings[BEST], bar)
        else:
            grid = judge(answers, settings[UNIFORM][:1], truth=truth).take(slice(0))
            settings |= {name: chosen.weights(name) for name in (BEST, SEPARATE)}
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
    """Whether a study is of these heads; by name where a fingerprint is not known."""
    if chosen.network and network:
        return chosen.network == network
    return chosen.weights_file == weights_file


def _setting(weights) -> np.ndarray:
    """One setting (3, 4) of weights (4,) or (3, 4)."""
    return checked_weights(np.asarray(weights)[None] if np.ndim(weights) == 2 else weights)[0]


def _searched(answers: HeadAnswers, settings: np.ndarray, truth: np.ndarray | None, bar: tqdm) -> Judgement:
    """All static weights that are tried: of settings (s, 3, 4), the simplex, and in finer steps around its best."""
    static = settings[(settings == settings[:, :1]).all(axis=(1, 2)), 0]
    coarse = _distinct(np.concatenate([simplex(0.1), static]))
    grid = judge(answers, coarse, truth=truth)
    bar.update(1)
    best, fine = coarse[grid.headline.argmin()], simplex(0.05)
    near = _distinct(fine[(abs(fine - best) < _REACH + 1e-9).all(axis=1)], beyond=coarse)
    bar.update(1)
    return grid.joined(judge(answers, near, truth=truth)) if len(near) else grid


def _distinct(weights: np.ndarray, *, beyond: np.ndarray | None = None) -> np.ndarray:
    """The rows of weights (w, 4) that are not among earlier ones or among those of `beyond`."""
    seen = {tuple(row) for row in ([] if beyond is None else beyond.round(9).tolist())}
    kept = []
    for number, row in enumerate(map(tuple, weights.round(9).tolist())):
        if row not in seen:
            seen.add(row)
            kept.append(number)
    return weights[kept]


def _best_apart(answers: HeadAnswers, start: np.ndarray, bar: tqdm) -> np.ndarray:
    """The best weights (3, 4) for camera, identity and expression apart, from (3, 4) on.

    By turns, one part takes the best of the simplex while the others stay, until none gains.
    """
    current, grid = start, simplex(0.1)
    best = judge(answers, current[None]).headline[0]
    for _ in range(_ROUNDS):
        before = best
        for part in range(len(PARTS)):
            tried = np.repeat(current[None], len(grid), axis=0)
            tried[:, part] = grid
            errors = judge(answers, tried).headline
            if errors.min() < best:
                current, best = tried[errors.argmin()], errors.min()
        bar.update(1)
        if round(before - best, DIGITS) <= 0:
            break
    return current


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

    `faces` (w, n) are errors and `bins` (n,) the faces' yaw bins, as `yaw_bins` gives them. All rows are resampled
    together, so the differences are paired.
    """
    members = bins[:, None] == np.arange(len(metrics.YAW_BINS))
    if not members.any(axis=0).all():
        members = np.ones((len(bins), 1), bool)
    members, errors = members.astype(np.float32), np.ascontiguousarray(faces.T)

    def headlines(rows: np.ndarray) -> np.ndarray:
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
