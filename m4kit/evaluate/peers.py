"""Compares several networks on the same faces in one table, with the published figures of others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import NamedTuple

import numpy as np
import pandas as pd

from m4kit import metrics
from m4kit.datasets import Sample
from m4kit.evaluate.crops import true_crops
from m4kit.evaluate.landmarks import LandmarkEvaluation, true_landmarks
from m4kit.views import PredictCrops

ROUNDS = 15
"""How often the time of a face is measured; the table shows the median."""

_BINS = tuple(f"{low}-{high}" for low, high in metrics.YAW_BINS)


class Competitor(NamedTuple):
    """A network for the table: its name, its function of crops, its evaluation, and its number of weights."""

    name: str
    predict_crops: PredictCrops
    evaluation: LandmarkEvaluation
    weights: int | None


class Published(NamedTuple):
    """Others' figures on all 2,000 faces of AFLW2000-3D, NaN where there is none.

    `bins` and `nme` are the NME of the 68 landmarks in percent, by yaw bin and their mean. `pose` is the mean
    absolute error in degrees. `source` says where they are from.
    """

    network: str
    bins: tuple[float, float, float]
    nme: float
    pose: float
    source: str


PUBLISHED = (
    Published(
        "SynergyNet",
        (2.656, 3.316, 4.268),
        3.413,
        3.35,
        "C.-Y. Wu et al., 3DV 2021. NME: the authors' checkpoint, run by github.com/Hikaylee/SynergyNet. Pose: the "
        "paper, as quoted in the README of github.com/choyingw/SynergyNet",
    ),
    Published(
        "DSFNet",
        (np.nan,) * 3,
        np.nan,
        3.25,
        "H. Li et al., CVPR 2023. Pose: DSFNet-f, as listed by paperswithcode.com. The abstract's NME, 3.80 %, is of "
        "dense points in 3D, another measure",
    ),
)
"""Networks that are compared by their authors' figures. The numbers of the papers' tables were not checked."""


def comparison(
    competitors: Sequence[Competitor],
    samples: Sequence[Sample],
    annotations: Mapping[str, Sequence[Sample]],
    *,
    published_crops: bool = False,
) -> pd.DataFrame:
    """One row for each network.

    Columns: NME in percent by yaw bin and balanced for each annotation, pose MAE in degrees, median time of a face in
    milliseconds, weights in millions, and faces missed.

    `annotations` are samples by the annotation's name, of the same photos as `samples`. The times are of one crop,
    taken in turn by all networks in this process; m4kit's networks and the peers that run in PyTorch use one thread.
    """
    _, crops = next(true_crops(samples[:ROUNDS], published_crops=published_crops))
    times = measure_times(
        {one.name: _one_by_one(one.predict_crops, crops) for one in competitors}, rounds=ROUNDS
    )
    rows = {}
    for one in competitors:
        row = {}
        for annotation, faces in annotations.items():
            errors = annotated(one.evaluation, faces)
            balanced = errors.balanced if errors.turns_known else None
            bins = [np.nan] * len(_BINS) if balanced is None else balanced.bins
            mean = errors.nme.mean() if balanced is None else balanced.mean
            row |= {
                (f"NME, {annotation}", name): value
                for name, value in zip((*_BINS, "mean"), (*bins, mean), strict=True)
            }
        rows[one.name] = row | {
            ("", "pose"): float(np.mean(one.evaluation.pose_mae)),
            ("", "ms"): float(np.median(times[one.name])),
            ("", "weights (M)"): np.nan if one.weights is None else one.weights / 1e6,
            ("", "missed"): len(one.evaluation.missed),
        }
    return pd.DataFrame(rows).T


def annotated(evaluation: LandmarkEvaluation, samples: Sequence[Sample]) -> LandmarkEvaluation:
    """The same predictions compared with another annotation, for the faces that have it."""
    by_name = {sample.name: sample for sample in samples}
    chosen = np.array([name in by_name for name in evaluation.names])
    names = tuple(name for name in evaluation.names if name in by_name)
    return replace(
        evaluation,
        names=names,
        predicted=evaluation.predicted[chosen],
        true=true_landmarks([by_name[name] for name in names]),
        predicted_poses=evaluation.predicted_poses[chosen],
        true_poses=evaluation.true_poses[chosen],
    )


def comparison_report(table: pd.DataFrame, *, published: Sequence[Published] = PUBLISHED) -> str:
    """The table as text; below it, set apart, published figures with their source."""
    digits = {"pose": "{:.2f}", "ms": "{:.1f}", "weights (M)": "{:.2f}", "missed": "{:.0f}"}
    shown = table.apply(
        lambda column: [
            "-" if np.isnan(value) else digits.get(column.name[1], "{:.3f}").format(value) for value in column
        ]
    )
    lines = [
        "NME in % by |yaw| in degrees and as the mean of the bins; pose: mean absolute error in degrees; ms: median "
        "time of a face; missed faces do not count in the errors",
        shown.to_string(),
    ]
    if published:
        rows = {one.network: [*one.bins, one.nme, one.pose] for one in published}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=[*_BINS, "mean", "pose"])
        lines += [
            "as published, on all 2,000 faces of AFLW2000-3D, not measured here:",
            frame.to_string(na_rep="-"),
            *(f"  {one.network}: {one.source}" for one in published),
        ]
    return "\n".join(lines)


def measure_times(functions: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds (rounds,) of each function, after one warm-up round.

    All run once a round, so that other load on the machine slows all of them equally.
    """
    times = {name: np.empty(rounds + 1) for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name][turn] = 1000 * (time.perf_counter() - start)
    return {name: values[1:] for name, values in times.items()}


def _one_by_one(predict_crops: PredictCrops, crops: np.ndarray) -> Callable[[], object]:
    """A function that predicts the next of the crops at each call."""
    turns = cycle(crops)
    return lambda: predict_crops(next(turns)[None])
