"""The study of networks that start from the same weights and are trained with different head weights.

Fusing again evaluates weights on heads that were trained under one weighting, which favours that one. Here each
weighting has a training of its own; everything else is equal. A study has one seed, so its intervals are over faces
and do not say how far the errors would move if the trainings were run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m4kit.ablation.heads.judge import HEADS, bin_counts, judge, judge_own, simplex, yaw_bins
from m4kit.ablation.heads.record import VERDICTS, difference_text, verdicts, weights_text
from m4kit.ablation.heads.study import paired_differences, paired_intervals, people_of
from m4kit.ablation.record import RecordFormat, reshaped
from m4kit.datasets import Sample
from m4kit.evaluate.heads import predict_heads
from m4kit.face_model import FaceModel
from m4kit.files import write_whole
from m4kit.network import M4Net
from m4kit.tables import as_text
from m4kit.training import TrainingError
from m4kit.training.data import Labels
from m4kit.training.loop import Config, Trainer
from m4kit.weights import fingerprint

if TYPE_CHECKING:
    import pandas as pd

    from m4kit.visualize.notebook_figure import NotebookFigure

LEARNED, DYNAMIC = "learned", "dynamic"

WEIGHTINGS: dict[str, tuple[float, ...] | None] = {
    "uniform": (0.25, 0.25, 0.25, 0.25),
    LEARNED: None,
    "early head first": (0.7, 0.1, 0.1, 0.1),
    "last head first": (0.1, 0.1, 0.1, 0.7),
    DYNAMIC: None,
}
"""Weights that are fixed during training; None where they are learned, once for all faces or for each face."""

FILE = "weightings.parquet"
"""Name of the record, in the folder of a study and in `m4kit/assets`."""

_START = "start.txt"
"""In the folder of a study: the fingerprint of the weights that its trainings began with."""

_SHAPES = {
    **{"weights": (HEADS,), "own": (), "intervals": (2,), "differences": (3,), "again": (), "best": ()},
    **{"best_weights": (HEADS,), "heads": (HEADS,)},
}
"""The shape of each array of a `WeightingStudy`, without its rows."""

_FORMAT = RecordFormat(
    name="weighting study",
    version=2,
    columns=("names", *_SHAPES),
    about=("dataset", "faces", "counts", "size", "start", "training"),
    command="m4kit ablate weightings",
)


@dataclass(frozen=True, eq=False)
class WeightingStudy:
    """Results of w trainings under different weightings, on the same n faces. Errors are NME in percent.

    - `names` and `weights` (w, 4): the weightings, and the weights that each network ended with (for "dynamic", their
      mean over the faces).
    - `own` (w,): error of each network under its own weights, with its bootstrap interval `intervals` (w, 2).
      `differences` (w, 3): `own` minus that of "learned", with the paired interval.
    - `again` (w,): error when the heads of the "learned" network are fused with these weights instead.
    - `best` (w,) and `best_weights` (w, 4): lowest error of each network's heads under static weights in steps of
      0.1, chosen on these same faces. `heads` (w, 4): error of each of its heads alone.
    - `dataset` and `faces`: their name and number; `counts` (3,): the number in each yaw bin, zeros if a yaw is not
      known. `training`: config of all trainings; `size` and `start`: the network's size and initial weights.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    own: np.ndarray
    intervals: np.ndarray
    differences: np.ndarray
    again: np.ndarray
    best: np.ndarray
    best_weights: np.ndarray
    heads: np.ndarray
    dataset: str
    faces: int
    counts: tuple[int, ...]
    size: str
    start: str
    training: dict = field(repr=False)

    def verdict(self, name: str) -> str:
        """Say how a training compares with that under learned weights: "better", "worse" or "does not differ"."""
        return VERDICTS[int(verdicts(self.differences[self.names.index(name)]))]

    def report(self) -> str:
        """Write the study as text, one line per training."""
        balanced = "balanced" if all(self.counts) else "over all faces"
        lines = [
            f"{self.faces} faces of {self.dataset}",
            f"{self.size}, {self.training.get('steps')} steps from {self.start}",
            f"NME {balanced} in %, with 95 % intervals (bootstrap over faces)",
            f"one training a weighting, seed {self.training.get('seed')}: the intervals do not cover other seeds",
            "the best static weights were chosen on these same faces, which favours them",
        ]
        return "\n".join([*lines, as_text(self.summary())])

    def summary(self) -> pd.DataFrame:
        """Tabulate the trainings, one row each: their weights, errors and intervals, and how they compare."""
        import pandas as pd

        columns = {
            "trained under": self.names,
            "weights": list(map(weights_text, self.weights)),
            "NME": self.own,
            "interval": [f"{low:.3f} to {high:.3f}" for low, high in self.intervals],
            f"minus {LEARNED}": [difference_text(*one) for one in self.differences],
            "verdict": [self.verdict(name) for name in self.names],
            "fused again": self.again,
            "best static": self.best,
            "at": list(map(weights_text, self.best_weights)),
            **{f"head {head + 1}": self.heads[:, head] for head in range(HEADS)},
        }
        shown = pd.DataFrame(columns).round(3)
        shown.loc[self.names.index(LEARNED), [f"minus {LEARNED}", "verdict"]] = ""
        return shown

    def save(self, path: str | Path) -> Path:
        """Write the record as a parquet file, atomically; returns the path."""
        columns = {"names": self.names} | {name: list(getattr(self, name)) for name in _SHAPES}
        return _FORMAT.write(path, columns, {name: getattr(self, name) for name in _FORMAT.about})

    @classmethod
    def packaged(cls) -> WeightingStudy:
        """Load the study that comes with m4kit; `docs/evaluation.md` has its command."""
        return cls.load(Path(str(resources.files("m4kit.assets") / FILE)))

    @classmethod
    def load(cls, path: str | Path) -> WeightingStudy:
        """Read a record that `save` wrote. Raises `RecordError` if it is missing, damaged or of another version."""
        table, about = _FORMAT.read(path)
        arrays = {
            name: reshaped(path, name, np.hstack(table[name]), (len(table), *shape))
            for name, shape in _SHAPES.items()
        }
        return cls(tuple(table["names"]), **arrays, **about | {"counts": tuple(about["counts"])})


def training_files() -> list[str]:
    """List the names of what `train_weightings` writes: a file, and a folder for each training."""
    return [_START, *map(_folder_name, WEIGHTINGS)]


def train_weightings(
    start: str | Path,
    labels: Labels,
    crops: str | Path,
    config: Config,
    *,
    out: str | Path,
    model: FaceModel | None = None,
    progress: bool = True,
) -> dict[str, M4Net]:
    """Train a network under each of `WEIGHTINGS`, all else equal; returns the networks by name.

    `start` is the file of weights that all trainings begin with, of a network with static fusion. Each training has a
    folder of its own in `out`, and continues where it was stopped. Raises `TrainingError` for a config that ends by
    the clock, because the trainings would differ, and for an `out` whose trainings began with other weights.
    """
    if config.minutes is not None:
        raise TrainingError(
            "weightings: expected steps, got minutes; trainings that end by the clock would differ"
        )
    network = M4Net.load(start)
    if network.fusion != "static":
        raise TrainingError(
            f"{start}: expected a network with static fusion to start from, got {network.fusion}"
        )
    kept, digest = Path(out) / _START, fingerprint(network)
    # A training without a checkpoint starts from the beginning.
    if any(Path(out).glob("*/checkpoint.pt")) and kept.is_file() and kept.read_text() != digest:
        raise TrainingError(
            f"{out}: expected trainings that started from {start}, got some from other weights; give their start to "
            "continue them, or another folder for a new study"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_whole(kept, digest.encode())
    networks = {}
    for name, weights in WEIGHTINGS.items():
        folder = Path(out) / _folder_name(name)
        network = M4Net.load(start)
        if name == DYNAMIC:
            network = network.with_dynamic_fusion()
        own = replace(config, fixed_head_weights=weights)
        trainer = Trainer(
            network, model or FaceModel.load(), labels, crops, own, out=folder, progress=progress
        )
        networks[name] = M4Net.load(trainer.run())
    return networks


def _folder_name(weighting: str) -> str:
    return weighting.replace(" ", "_")


def weighting_study(
    networks: Mapping[str, M4Net],
    samples: tuple[Sample, ...],
    *,
    dataset: str,
    start: str = "",
    training: dict | None = None,
    model: FaceModel | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> WeightingStudy:
    """Compare networks, named by the weightings that they were trained under, on labelled faces.

    One of them must be "learned". `start` and `training`, the config of all trainings, are stored in the record.
    """
    if LEARNED not in networks:
        raise ValueError(f"networks: expected one named {LEARNED!r}, got {', '.join(networks) or 'none'}")
    model = model or FaceModel.load()
    grid = simplex(0.1)
    answers = {
        name: predict_heads(network, model, samples, progress=progress) for name, network in networks.items()
    }
    own = [judge_own(one) for one in answers.values()]
    tried = [judge(one, grid) for one in answers.values()]
    weights = np.concatenate([one.weights for one in own])
    table = own[0]
    for one in own[1:]:
        table = table.joined(one)
    bins = yaw_bins(answers[LEARNED])
    names = tuple(networks)
    learned = [names.index(LEARNED)]
    people = people_of(samples)
    intervals, gaps = paired_intervals(
        table.faces, bins, learned, people=people, resamples=resamples, seed=seed
    )
    return WeightingStudy(
        names=names,
        weights=weights,
        own=table.headline,
        intervals=intervals,
        differences=paired_differences(table.headline, learned, gaps)[:, 0],
        again=judge(answers[LEARNED], weights).headline,
        best=np.array([one.headline.min() for one in tried]),
        best_weights=np.stack([grid[one.headline.argmin()] for one in tried]),
        heads=np.stack([judge(one, np.eye(HEADS)).headline for one in answers.values()]),
        dataset=dataset,
        faces=len(bins),
        counts=tuple(bin_counts(bins).tolist()),
        size=networks[LEARNED].size,
        start=start,
        training=training or {},
    )


def weightings_figure(study: WeightingStudy) -> NotebookFigure:
    """Draw both kinds of result: heads trained under each weighting, and one network's heads fused again."""
    from m4kit.visualize.notebook_figure import DPI, NotebookFigure

    figure = NotebookFigure(figsize=(9, 4.2), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(study.names))
    own, again = place - 0.12, place + 0.12
    spread = np.abs(study.intervals.T - study.own)
    label = "trained under these weights"
    axes.errorbar(own, study.own, spread, fmt="o", color="#0969da", capsize=4, label=label)
    label = "heads trained under learned weights, fused with these"
    axes.plot(again, study.again, "D", color="#bc4c00", markerfacecolor="white", label=label)
    for places, values, points, side in ((own, study.own, -9, "right"), (again, study.again, 9, "left")):
        beside = {"xytext": (points, 0), "textcoords": "offset points", "ha": side, "va": "center"}
        for at in zip(places, values, strict=True):
            axes.annotate(f"{at[1]:.3f}", at, **beside, fontsize=8)
    compared = [
        "" if name == LEARNED else f"{study.verdict(name)}: {difference[0]:+.3f}"
        for name, difference in zip(study.names, study.differences, strict=True)
    ]
    labels = [
        "\n".join(filter(None, [name, weights_text(weights), verdict]))
        for name, weights, verdict in zip(study.names, study.weights, compared, strict=True)
    ]
    axes.set_xticks(place, labels, fontsize=8)
    axes.set_xlim(-0.6, len(place) - 0.4)
    axes.set_ylabel("NME balanced in %" if all(study.counts) else "NME in %")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    axes.set_title(
        f"Trained under each weighting, and fused again: {study.size}, {study.training.get('steps')} steps, "
        f"one seed; {study.faces} faces\n(intervals are over faces and do not cover reruns)",
        fontsize=10,
    )
    return figure
