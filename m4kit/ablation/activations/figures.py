"""Figure of the activation study, as in the paper's Fig. S2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from m4kit.ablation.activations.numbers import (
    LAST,
    WINDOW,
    at_best_rate,
    dead_units,
    grouped,
    last_part,
    smoothed,
)
from m4kit.ablation.activations.record import BEST, ActivationRecord, RunRecord
from m4kit.network import ACTIVATIONS
from m4kit.visualize.style import INK
from m4kit.visualize.violin import draw_violin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from m4kit.visualize.notebook_figure import NotebookFigure

COLOURS = dict(
    zip(
        ACTIVATIONS,
        ("#d55e00", "#e69f00", "#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#8250df", "#6e7781"),
        strict=True,
    )
)
"""Saturating activations are orange, ReLU and its leaky variants blue and green, smooth ones pink, violet and grey.

Most colours are from Okabe and Ito (2008), so that colour-blind readers can distinguish them.
"""

WORDS = {
    **{"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU", "leaky_relu": "Leaky ReLU"},
    **{"rrelu": "RReLU", "elu": "ELU", "selu": "SELU", "gelu": "GELU"},
}

_FAINT = "#8c959f"
_START = 0.02
"""The share of a training, at its beginning, that the scale of the lines ignores."""


def activation_figure(
    record: ActivationRecord,
    *,
    purpose: str = BEST,
    activations: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
    window: int = WINDOW,
    log: bool = False,
) -> NotebookFigure:
    """Training losses as lines, and their distribution over the last part of the training as violins.

    A line is the mean over seeds of the loss, smoothed by a moving mean over `window` steps. Its band goes from the
    lowest to the highest seed. The legend has the share of dead units in each activation's worst stage. A violin
    shows the losses of all seeds' single batches in the last fifth of the steps, without smoothing; its bar is the
    median. A training that diverged ends in a cross and has no violin. Of a search, each activation's best learning
    rate is drawn.

    Raises `ValueError` if the record has no such training.
    """
    from m4kit.visualize.notebook_figure import DPI, NotebookFigure

    runs = at_best_rate(record.select(purpose=purpose, activations=activations, seeds=seeds))
    if not runs:
        raise ValueError(
            f"expected trainings with the purpose {purpose}, got none with these activations and seeds"
        )
    groups = grouped(runs)
    figure = NotebookFigure(figsize=(12, 5.4), dpi=DPI, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    limits, ends = [], []
    for name, own in groups.items():
        limits += _draw_line(left, own, _label(name, own), window, COLOURS[name])
        ends += [(run, COLOURS[name]) for run in own if run.diverged and len(_finite(run))]
    _draw_violins(right, groups)
    if limits:
        low, high = min(low for low, _ in limits), max(high for _, high in limits)
        margin = 0.05 * (high - low)
        left.set_ylim(*((0.97 * low, 1.03 * high) if log else (max(low - margin, 0), high + margin)))
    for run, colour in ends:
        # Values above the axes have their cross at the top.
        height = min(smoothed(_finite(run), window)[-1], left.get_ylim()[1])
        left.plot(run.step[len(_finite(run)) - 1], height, "x", color=colour, ms=9, mew=2, clip_on=False)
    longest = max(runs, key=lambda run: len(run.loss)).step
    for axes, title in ((left, curves_title(groups, window)), (right, batches_title(longest))):
        axes.set_title(title, fontsize=9.5, color=INK)
        axes.set_ylabel("training loss", fontsize=9, color=INK)
        axes.tick_params(which="both", labelsize=8, colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.set_axisbelow(True)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
    left.set_xlabel("step", fontsize=9, color=INK)
    left.legend(
        title="units of the worst stage that are dead at the end",
        title_fontproperties={"size": 8.5},
        frameon=False,
        fontsize=8.5,
        ncols=2,
        labelcolor=INK,
    )
    figure.suptitle(f"Training loss with each activation: {title_of(record, runs)}", fontsize=12, color=INK)
    return figure


def title_of(record: ActivationRecord, runs: Sequence[RunRecord]) -> str:
    """The setting of trainings, such as "small, 64 px, batch 64, 2000 steps, learning rate 0.01, 3 seeds"."""
    settings = record.plan["settings"]
    seeds, rates = len({run.seed for run in runs}), {run.learning_rate for run in runs}
    words = f"{settings['size']}, {settings['crop_size']} px, batch {settings['batch']}"
    words += f", {max(run.planned for run in runs)} steps"
    rate = f"learning rate {rates.pop():g}" if len(rates) == 1 else "each at its best learning rate"
    return f"{words}, {rate}, {seeds} seed{'s' * (seeds > 1)}"


def curves_title(groups: Mapping[str, Sequence[RunRecord]], window: int) -> str:
    """A title for lines of the loss: how many seeds of each activation, and how they are smoothed."""
    seeds = max((len(runs) for runs in groups.values()), default=0)
    smoothing = f"moving mean over {window} steps" if window > 1 else "each step"
    if seeds < 2:
        return f"One seed, {smoothing}"
    return f"Mean over {seeds} seeds, {smoothing}; band: lowest to highest seed"


def batches_title(steps: np.ndarray) -> str:
    """A title for the losses of single batches: which of the steps (n,) they come from."""
    if not len(steps):
        return ""
    shown = last_part(steps)
    return f"Single batches of the last {100 * LAST:.0f} %, steps {shown[0]} to {shown[-1]}"


def _label(name: str, runs: Sequence[RunRecord]) -> str:
    diverged, dead = sum(run.diverged for run in runs), dead_units(runs)
    words = f", {diverged} of {len(runs)} diverged" if diverged else ""
    return WORDS[name] + words + (f", {dead:.0f} % dead" if np.isfinite(dead) else "")


def _draw_line(axes: Axes, runs: Sequence[RunRecord], label: str, window: int, colour: str) -> list:
    """Draw the mean line and the band of one activation; returns the ranges (low, high) that the axis must show."""
    broken, fine = [run for run in runs if run.diverged], [run for run in runs if not run.diverged]
    limits = []
    if fine:
        # Seeds may have different lengths.
        n = min(len(run.loss) for run in fine)
        curves = np.stack([smoothed(run.loss[:n], window) for run in fine])
        steps, mean = fine[0].step[:n], curves.mean(axis=0)
        axes.plot(steps, mean, lw=1.6, label=label, color=colour)
        if len(fine) > 1:
            axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.15, lw=0)
        limits.append((curves.min(), curves[:, int(_START * n) :].max()))
    for run in broken:
        loss = _finite(run)
        if len(loss):
            line = {"label": label} if not fine and run is broken[0] else {}
            axes.plot(run.step[: len(loss)], smoothed(loss, window), lw=1, alpha=0.7, color=colour, **line)
            limits.append((loss.min(), loss[0]))
    return limits


def _finite(run: RunRecord) -> np.ndarray:
    """Losses of a training up to the first that is not finite."""
    broken = np.flatnonzero(~np.isfinite(run.loss))
    return run.loss[: broken[0]] if len(broken) else run.loss


def _draw_violins(axes: Axes, groups: dict[str, list[RunRecord]]) -> None:
    for at, (name, runs) in enumerate(groups.items()):
        losses = [last_part(run.loss) for run in runs if not run.diverged]
        if not losses:
            axes.text(at, 0.5, "diverged", rotation=90, ha="center", va="center", color=COLOURS[name],
                      fontsize=9, transform=axes.get_xaxis_transform())  # fmt: skip
            continue
        values = np.concatenate(losses)
        draw_violin(axes, at, values, colour=COLOURS[name])
        axes.plot([at - 0.18, at + 0.18], [np.median(values)] * 2, color=INK, lw=1.4)
    axes.set_xticks(range(len(groups)), [WORDS[name] for name in groups], rotation=30, ha="right")
    axes.set_xlim(-0.6, len(groups) - 0.4)
