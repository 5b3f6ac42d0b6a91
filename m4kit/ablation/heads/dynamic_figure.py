"""Figure of the study of dynamic fusion."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from m4kit.ablation.heads.dynamic import Condition, DynamicStudy, Example
from m4kit.ablation.heads.judge import HEADS
from m4kit.landmarks import CONTOURS
from m4kit.visualize.style import INK

if TYPE_CHECKING:
    from m4kit.visualize.notebook_figure import NotebookFigure

_FAINT = "#8c959f"
_HEADS = ("#cc79a7", "#e69f00", "#0072b2", "#009e73")
_STATIC, _DYNAMIC = "#ffffff", "#ff375f"
_YAW_EDGES = np.arange(0, 91, 15)
_LEAST = 3
"""Fewest faces in a step of yaw for which a mean is drawn."""

_AXES = {
    "yaw": "|true yaw| in degrees",
    "blur": "blur: radius in crop pixels",
    "occlusion": "share of the face hidden",
}


def dynamic_figure(study: DynamicStudy) -> NotebookFigure:
    """Draw dynamic head weights and their gain against yaw, blur and occlusion, and faces that gain and lose most.

    Above: each head's mean weight, with the middle half of the faces as a band and the static weights dashed. Middle:
    NME of the dynamic network minus that of the static one, with its 95 % interval; it helps below 0. Below: the
    faces that it helps and hurts most, with landmarks of the static network in white and of the dynamic one in red.
    """
    from m4kit.visualize.notebook_figure import DPI, NotebookFigure

    shown = [(title, faces) for title, faces in (("helped", study.helped), ("hurt", study.hurt)) if faces]
    figure = NotebookFigure(
        figsize=(11, 6 + 2 * len(shown)), dpi=DPI, facecolor="white", layout="constrained"
    )
    above, *below = figure.subfigures(1 + len(shown), 1, height_ratios=[6, *[2] * len(shown)], squeeze=False)[
        :, 0
    ]
    weights, gains = above.subplots(2, 3, sharey="row")
    for column, (kind, label) in enumerate(_AXES.items()):
        steps = _yaw_steps(study) if kind == "yaw" else [(one.level, one) for one in study.of_kind(kind)]
        _draw_weights(weights[column], steps, study.static_weights)
        _draw_gains(gains[column], steps)
        gains[column].set_xlabel(label)
        for axes in (weights[column], gains[column]):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
            axes.tick_params(labelsize=8, colors=INK)
    weights[0].set_ylabel("weight of each head")
    weights[0].set_title("band: the middle half of the faces; dashed: static weights", fontsize=8, color=INK)
    gains[0].set_ylabel("NME of dynamic minus static, %")
    weights[0].legend(frameon=False, fontsize=8, ncols=2)
    for part, (title, faces) in zip(below, shown, strict=True):
        _draw_faces(part, f"{title} most\n(white static, red dynamic)", faces)
    low, high = study.plain.interval()
    figure.suptitle(
        f"Dynamic against static weights: {len(study.names)} faces of {study.dataset}\n"
        f"NME over all faces {study.plain.static.mean():.2f} % static, {study.plain.dynamic.mean():.2f} % dynamic, "
        f"difference {study.plain.difference.mean():+.3f} ({low:+.3f} to {high:+.3f}): {study.plain.verdict}",
        fontsize=12,
        color=INK,
    )
    return figure


def _yaw_steps(study: DynamicStudy) -> list[tuple[float, Condition]]:
    """The unchanged faces in steps of 15 degrees of yaw, each with its middle, without those of unknown yaw."""
    turn, plain, steps = np.minimum(np.abs(study.yaw), 89.9), study.plain, []
    for low, high in pairwise(_YAW_EDGES):
        some = (turn >= low) & (turn < high)
        if some.sum() >= _LEAST:
            part = Condition("yaw", low, plain.weights[some], plain.static[some], plain.dynamic[some])
            steps.append(((low + high) / 2, part))
    return steps


def _draw_weights(axes, steps: list[tuple[float, Condition]], static: np.ndarray) -> None:
    places = [place for place, _ in steps]
    for head in range(HEADS):
        low, middle, high = (
            np.array([reduce(one.weights[:, head]) for _, one in steps])
            for reduce in (lambda w: np.percentile(w, 25), np.mean, lambda w: np.percentile(w, 75))
        )
        axes.fill_between(places, low, high, color=_HEADS[head], alpha=0.15, linewidth=0)
        axes.plot(places, middle, marker="o", markersize=4, color=_HEADS[head], label=f"head {head + 1}")
        axes.axhline(static[head], color=_HEADS[head], linewidth=1, linestyle="--", alpha=0.6)
    axes.set_ylim(0, None)


def _draw_gains(axes, steps: list[tuple[float, Condition]]) -> None:
    axes.axhline(0, color=_FAINT, linewidth=1)
    for place, one in steps:
        low, high = one.interval()
        middle = one.difference.mean()
        colour = {"better": "#1a7f37", "worse": "#d1242f"}.get(one.verdict, INK)
        reach = [[max(0, middle - low)], [max(0, high - middle)]]
        axes.errorbar(place, middle, reach, fmt="o", markersize=5, capsize=3, color=colour)
        if one.kind == "yaw":
            above = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"n = {len(one.difference)}", (place, high), **above, fontsize=7, color=_FAINT)


def _draw_faces(part, title: str, faces: tuple[Example, ...]) -> None:
    places = part.subplots(1, max(6, len(faces)), squeeze=False)[0]
    for axes in places:
        axes.set_axis_off()
    for axes, face in zip(places, faces, strict=False):
        axes.imshow(face.crop)
        for landmarks, colour in ((face.static_landmarks, _STATIC), (face.dynamic_landmarks, _DYNAMIC)):
            for contour, _ in CONTOURS:
                axes.plot(*landmarks[contour].T, color=colour, linewidth=0.9)
        axes.set(xlim=(-0.5, face.crop.shape[1] - 0.5), ylim=(face.crop.shape[0] - 0.5, -0.5))
        weights = " ".join(f"{weight:.2f}".removeprefix("0") for weight in face.weights)
        axes.set_title(f"{face.static:.2f} to {face.dynamic:.2f} %\n{weights}", fontsize=8, color=INK)
    left = {"transform": places[0].transAxes, "rotation": 90, "ha": "right", "va": "center"}
    places[0].text(-0.06, 0.5, title, **left, fontsize=8, color=INK)
