"""Draws figures of a scene report, for papers. Each function returns its figure.

A metric is one of `cells.METRICS`. A condition has the same colour in all figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from m4kit import metrics
from m4kit.conditions import CONDITIONS
from m4kit.datasets import DatasetError
from m4kit.datasets.photos import Photo
from m4kit.datasets.scenes import CLEAN
from m4kit.metrics import FAILURE_NME
from m4kit.predictor import Predictor
from m4kit.scenes.cells import (
    FEWEST,
    METRICS,
    cells,
    counted_once,
    error_words,
    heat_grid,
    interval,
    true_errors,
    values_by_condition,
    yes_or_no,
)
from m4kit.scenes.data import scene_photos
from m4kit.scenes.heat import digits, luminance, palette
from m4kit.scenes.report_data import ReportData, ReportError
from m4kit.visualize.drawing import draw_landmarks, draw_mesh, draw_pose
from m4kit.visualize.figures import overview
from m4kit.visualize.notebook_figure import DPI, NotebookFigure
from m4kit.visualize.style import GRID, INK, SOFT
from m4kit.visualize.violin import draw_violin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    **{CLEAN: SOFT, "focus": "#0072b2", "haze": "#56b4e9", "illumination": "#e69f00", "lens": "#cc79a7"},
    **{"motion": "#009e73", "snow": "#8c6bb1", "rain": "#d55e00", "distractor": "#8c959f"},
}
"""Colours of the conditions, distinct for colour-blind readers too (after Okabe and Ito)."""

OVERLAYS = ("landmarks", "pose", "translucent mesh", "solid mesh", "none")
"""Choices of what to draw over a face."""

_STAGES = {
    "clean": ("#b6bdc5", "also on the clean photo"),
    "shape": ("#56b4e9", "shape (identity, expression)"),
    "camera": ("#e69f00", "camera (place, size, pose)"),
    "crop": ("#d55e00", "detector and crop"),
}
"""Colour and label of each stage of `blame_stages`, in the order of the bars."""

_GALLERY_FONT, _GAP = 6.5, 10
_GALLERY_LINE = 1.36 * _GALLERY_FONT / 72 * DPI
_BIN_FACES, _MOST_BINS = 15, 10
_LEAST_ERROR = 0.1


def heat_map(report: ReportData, metric: str = "nme") -> NotebookFigure:
    """A metric by condition and severity, darker where it is worse; each cell shows the mean and the number of faces.

    Photos without a severity have their own column. Cells of few faces (`cells.FEWEST`) are hatched and have no
    colour. Raises `ReportError` if the report does not have the metric.
    """
    table, about = _cells(report, metric), METRICS[metric]
    places, form = heat_grid(table), digits(table["mean"])
    few = np.array([[cell is not None and cell.few for cell in line] for line in places.cells])
    known = np.array([[np.nan if cell is None else cell.mean for cell in line] for line in places.cells])
    grid = np.where(few, np.nan, known)
    figure = NotebookFigure(
        figsize=(2.3 + 0.85 * grid.shape[1], 1.3 + 0.48 * grid.shape[0]), dpi=DPI, layout="constrained"
    )
    axes = figure.subplots()
    picture = axes.imshow(grid, cmap=palette(about.more_is_worse), aspect="auto")
    for (row, column), mean in np.ndenumerate(known):
        if few[row, column]:
            axes.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5), 1, 1, facecolor=GRID, edgecolor="white", hatch="///", lw=0
                )
            )
        if np.isfinite(mean):
            dark = not few[row, column] and luminance(picture.cmap(picture.norm(mean))) < 0.45
            axes.text(
                column,
                row,
                f"{mean:{form}}\n$n$ = {places.cells[row][column].faces}",
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if dark else INK,
                linespacing=1.15,
            )
    axes.set_xticks(range(grid.shape[1]), places.severities)
    axes.set_yticks(range(grid.shape[0]), places.conditions)
    axes.set_xlabel("severity", color=SOFT)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(0.5, grid.shape[1] - 1), minor=True)
    axes.set_yticks(np.arange(0.5, grid.shape[0] - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.set_title(METRICS[metric].title, fontsize=10, color=INK, loc="left")
    if few.any():
        axes.set_xlabel(f"severity        hatched: fewer than {FEWEST} faces", color=SOFT)
    return figure


def line_chart(report: ReportData, metric: str = "nme") -> NotebookFigure:
    """A metric by severity: one line per condition, with 95 % bootstrap intervals where there are several scenes.

    Means over few faces (`cells.FEWEST`) are hollow.
    """
    table = _cells(report, metric).dropna(subset="severity")
    figure, axes = _chart(6.4, 3.6)
    for condition in CONDITIONS:
        own = table[table["condition"] == condition]
        if len(own):
            axes.fill_between(
                own["severity"], own["low"], own["high"], color=COLOURS[condition], alpha=0.13, linewidth=0
            )
            axes.plot(
                own["severity"],
                own["mean"],
                color=COLOURS[condition],
                marker="o",
                markersize=4,
                linewidth=1.8,
                label=condition,
            )
            few = own[own["few"]]
            hollow = {"markerfacecolor": "white", "markeredgecolor": COLOURS[condition], "markersize": 5}
            if len(few):
                axes.plot(few["severity"], few["mean"], "o", label="_few", **hollow)
    if not axes.lines:
        raise ReportError(f"line_chart: expected photos with a severity that have {metric}, got none")
    hollow = f"        hollow: fewer than {FEWEST} faces" * bool(table["few"].any())
    axes.set(xlabel=f"severity{hollow}", ylabel=METRICS[metric].title)
    axes.set_xticks(sorted(table["severity"].unique()))
    if METRICS[metric].more_is_worse and (table["mean"] >= 0).all():
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def violins(
    report: ReportData, metric: str = "nme", *, severities: Sequence[float] | None = None
) -> NotebookFigure:
    """The distribution of a metric for each condition, with its median, and the mean with its 95 % interval.

    A violin, or with few faces a point for each (`visualize.violin`). Uses all severities above 0, or those given. A
    metric that a face has or has not, such as recall, has no distribution: only mean and interval are drawn.
    """
    groups = values_by_condition(report, metric, severities=severities)
    figure, axes = _chart(6.4, 3.4)
    for place, (condition, own) in enumerate(groups.items()):
        if yes_or_no(metric, own["value"]):
            axes.set_ylim(-3, 103)
        else:
            draw_violin(axes, place, own["value"].to_numpy(), colour=COLOURS[condition])
            axes.plot([place - 0.16, place + 0.16], [own["value"].median()] * 2, color=INK, linewidth=1.4)
        ends = interval(own["value"], own["scene"])
        axes.plot([place] * 2, ends, color=COLOURS[condition], linewidth=2.4, solid_capstyle="butt")
        axes.plot(place, own["value"].mean(), "o", color="white", markeredgecolor=INK, markersize=5)
    labels = [f"{condition}\n$n$ = {len(own)}" for condition, own in groups.items()]
    axes.set_xticks(range(len(groups)), labels, fontsize=8)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylabel(METRICS[metric].title)
    return figure


def score_scatter(report: ReportData) -> NotebookFigure:
    """The checked failure probability and the true error of each face, coloured by condition.

    The error has a logarithmic scale. Faces above the line count as failed.
    """
    judged = _judged(report, "score_scatter")
    figure, axes = _chart(5.6, 3.8)
    for condition in (CLEAN, *CONDITIONS):
        own = judged[judged["condition"] == condition]
        if len(own):
            axes.scatter(
                100 * own["probability"],
                own["error"].clip(lower=_LEAST_ERROR),
                s=13,
                color=COLOURS[condition],
                alpha=0.7,
                linewidths=0,
                label=condition,
            )
    axes.axhline(FAILURE_NME, color=SOFT, linewidth=1, linestyle="--")
    axes.text(100, FAILURE_NME * 1.05, f"failed: above {FAILURE_NME:g} %", ha="right", fontsize=8, color=SOFT)
    axes.set_yscale("log")
    least = judged["error"].min()
    axes.yaxis.set_major_formatter(
        lambda error, _: (
            f"{_LEAST_ERROR:g} or less" if error <= _LEAST_ERROR and least < _LEAST_ERROR else f"{error:g}"
        )
    )
    axes.set(xlabel="checked failure probability, %", ylabel=error_words(report.faces), xlim=(-2, 102))
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def reliability(report: ReportData) -> NotebookFigure:
    """Reliability diagram: the share of faces that failed, by checked failure probability.

    All bins hold the same number of faces. Bars are 95 % intervals (`metrics.reliability`).
    """
    judged = _judged(report, "reliability")
    failed = judged["error"].to_numpy() > FAILURE_NME
    bins = int(np.clip(len(failed) // _BIN_FACES, 1, _MOST_BINS))
    of = metrics.reliability(judged["probability"].to_numpy(), failed, bins=bins)
    figure, axes = _chart(4.2, 3.8)
    axes.plot([0, 100], [0, 100], color=GRID, linewidth=1.5, zorder=0)
    axes.vlines(100 * of.predicted, 100 * of.low, 100 * of.high, color="#0072b2", linewidth=1.6, alpha=0.6)
    axes.plot(100 * of.predicted, 100 * of.failed, "o", color="#0072b2", markersize=5)
    axes.set(
        xlabel="checked failure probability, %", ylabel=f"faces with an error above {FAILURE_NME:g} %, %"
    )
    # Most bins of a good score lie near 0, so the axes end where the bins do.
    end = 100 * max(of.predicted.max(), of.high.max())
    axes.set(xlim=(-0.03 * end, 1.03 * end), ylim=(-0.03 * end, 1.03 * end), aspect="equal")
    axes.set_title(f"{len(failed)} faces, {failed.sum()} failed", fontsize=9, color=SOFT, loc="left")
    return figure


def gallery(
    report: ReportData,
    *,
    count: int = 12,
    columns: int = 6,
    overlay: str = "landmarks",
    condition: str | None = None,
    missed: bool = True,
    side: int = 200,
) -> NotebookFigure:
    """The worst faces, each with its answer drawn over it.

    Sorted by the true error, or by the checked failure probability where there is none. `overlay` is one of
    `OVERLAYS`; with landmarks, white dots show where they should be. Missed faces come first, without an answer,
    unless `missed` is False.
    """
    faces = report.faces.reset_index(drop=True).loc[worst_first(report)]
    if not missed:
        faces = faces[faces["face"].notna()]
    if condition is not None:
        faces = faces[faces["condition"] == condition]
    rows = faces.index[:count].tolist()
    if not rows:
        raise ReportError(
            f"gallery: expected faces{f' of {condition}' * bool(condition)}, got none in the report"
        )
    titles = [_broken(caption(report, row), max(14, side // 7)) for row in rows]
    columns, lines = min(columns, len(rows)), -(-len(rows) // columns)
    across = side + _GAP
    down = across + round(_GALLERY_LINE * (1 + max(title.count("\n") for title in titles)))
    width, height = columns * across, lines * down
    figure = NotebookFigure(figsize=(width / DPI, height / DPI), dpi=DPI)
    for place, (row, title) in enumerate(zip(rows, titles, strict=True)):
        line, column = divmod(place, columns)
        corner = column * across + _GAP / 2, height - (line + 1) * down + _GAP / 2
        axes = figure.add_axes((corner[0] / width, corner[1] / height, side / width, side / height))
        axes.axis("off")
        axes.imshow(face_picture(report, row, overlay=overlay, side=side))
        axes.set_title(title, fontsize=_GALLERY_FONT, color=INK, pad=2, va="bottom")
    return figure


def scene_figure(
    source: Iterable,
    *,
    condition: str | None = None,
    count: int = 5,
    predictor: Predictor | None = None,
    max_side: int = 300,
) -> NotebookFigure:
    """A grid like the paper's figures S4 to S8: photos as columns; landmarks, pose and two meshes as rows.

    `source` is what `analyse` takes. The grid shows the first `count` photos of `condition`, or of all. Raises
    `DatasetError` if there is none.
    """
    photos = [photo for photo in scene_photos(source) if condition in (None, photo.condition)][:count]
    if not photos:
        raise DatasetError(
            f"scene_figure: expected photos of {condition}, got none; give others, or no condition"
        )
    predictor = predictor or Predictor()
    predictions = [predictor(photo.image()) for photo in photos]
    return overview(predictions, max_side=max_side, titles=[_title(photo) for photo in photos])


def blame_figure(summary: pd.DataFrame) -> NotebookFigure:
    """`Blame.summary` as stacked bars: the stages' parts of the mean error, by condition and severity.

    A negative part, where putting a stage right makes the answer worse, extends to the left of zero.
    """
    found = summary[summary["faces"] > 0]
    if not len(found):
        raise ReportError("blame_figure: expected faces that were found, got none; all were missed")
    figure, axes = _chart(6.8, 1.2 + 0.3 * len(found))
    places = np.arange(len(found))[::-1]
    left, right = np.zeros(len(found)), np.zeros(len(found))
    for stage, (colour, label) in _STAGES.items():
        part = found[stage].to_numpy()
        start = np.where(part >= 0, right, left)
        axes.barh(places, part, left=start, color=colour, height=0.72, label=label)
        right += np.maximum(part, 0)
        left += np.minimum(part, 0)
    names = []
    for place, row, end in zip(places, found.itertuples(), right, strict=True):
        missed = f", {row.missed} missed" if row.missed else ""
        words = f"{row.nme:.1f} % ($n$ = {row.faces}{missed})"
        axes.text(end + 0.01 * right.max(), place, words, va="center", fontsize=7.5, color=SOFT)
        names.append(_scene_name(row.condition, row.severity))
    axes.set_yticks(places, names, fontsize=8)
    axes.set_xlim(min(0, 1.05 * left.min()), 1.28 * right.max())
    axes.set_xlabel("mean error (NME), % of the face's size")
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0))
    return figure


def worst_first(report: ReportData) -> np.ndarray:
    """The rows of a report's faces, worst first: missed ones, by true error, by checked failure probability."""
    faces = report.faces.reset_index(drop=True)
    error = true_errors(faces).mask(faces["face"].isna(), np.inf)
    order = pd.DataFrame({"error": error, "probability": faces["checked_failure_probability"]})
    return order.sort_values(["error", "probability"], ascending=False, kind="stable").index.to_numpy()


def face_picture(report: ReportData, row: int, *, overlay: str = "landmarks", side: int = 200) -> np.ndarray:
    """A face of a report with its answer drawn over it, (side, side, 3) uint8 RGB. See `gallery`."""
    if overlay not in OVERLAYS:
        raise ValueError(f"expected an overlay out of {', '.join(OVERLAYS)}, got {overlay!r}")
    small = report.thumbnail(row)
    scale = side / small.shape[0]
    picture = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    if overlay == "none" or pd.isna(report.faces["face"].iloc[row]):
        return picture
    face = report.face(row).moved(scale)
    if overlay == "pose":
        return draw_pose(picture, face, box=False, axes=True)
    if overlay != "landmarks":
        return draw_mesh(picture, face, opacity=1.0 if overlay == "solid mesh" else 0.55)
    picture = draw_landmarks(picture, face)
    right = report.reference_landmarks(row)
    if right is not None:
        for x, y in (right + 0.5) * scale - 0.5:
            centre = round(8 * float(x)), round(8 * float(y))
            for radius, colour in ((17, (20, 20, 20)), (11, (255, 255, 255))):
                cv2.circle(picture, centre, round(radius * side / 200), colour, -1, cv2.LINE_AA, 3)
    return picture


def caption(report: ReportData, row: int) -> str:
    """A face's caption in a gallery: condition, severity, error, checked failure probability, the first reason."""
    of = report.faces.iloc[row]
    word, error = ("drift", of["landmark_drift"]) if pd.isna(of["nme"]) else ("error", of["nme"])
    words = ["missed"] if pd.isna(of["face"]) else [f"{word} {error:.1f} %"] if np.isfinite(error) else []
    if np.isfinite(of["checked_failure_probability"]):
        words.append(f"p {100 * of['checked_failure_probability']:.0f} %")
    reason = "" if pd.isna(of["reasons"]) else of["reasons"].split("; ")[0]
    return f"{_scene_name(of['condition'], of['severity'])}: {', '.join(words)}\n{reason}"


def _broken(words: str, width: int) -> str:
    """A caption in lines of at most `width` letters, so that none is wider than its picture."""
    title, _, words = words.partition(": ")
    return "\n".join([title, *(line for one in words.splitlines() for line in wrap(one, width))])


def _cells(report: ReportData, metric: str) -> pd.DataFrame:
    table = cells(report, metric)
    if not len(table):
        raise ReportError(
            f"expected faces that have {metric}, got none in the report; choose another metric, or analyse with truth"
        )
    return table


def _judged(report: ReportData, place: str) -> pd.DataFrame:
    """Failure `probability`, true `error` in percent and `condition` of the faces that have both, clean ones once."""
    faces = report.faces.assign(error=true_errors(report.faces))
    # Without a truth, a clean photo is compared with itself.
    faces = faces[faces["nme"].notna() | (faces["severity"] != 0)]
    faces = counted_once(faces.dropna(subset=["checked_failure_probability", "error"]))
    if not len(faces):
        note = str(report.settings.get("failure_note", ""))
        raise ReportError(
            f"{place}: expected faces with a checked failure probability and a true error, got none"
            + f"; {note}" * bool(note)
        )
    condition = faces["condition"].mask(faces["severity"] == 0).fillna(CLEAN)
    return pd.DataFrame(
        {"probability": faces["checked_failure_probability"], "error": faces["error"], "condition": condition}
    )


def _chart(width: float, height: float) -> tuple[NotebookFigure, Axes]:
    figure = NotebookFigure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.grid(color=GRID, alpha=0.6, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT, labelsize=8, length=0)
    axes.xaxis.label.set(color=SOFT, fontsize=9)
    axes.yaxis.label.set(color=SOFT, fontsize=9)
    return figure, axes


def _scene_name(condition: str | float, severity: float) -> str:
    name = CLEAN if pd.isna(condition) else condition
    return name if np.isnan(severity) else f"{name} {severity:g}"


def _title(photo: Photo) -> str:
    if photo.severity is None:
        return photo.name.rpartition("/")[2][:24]
    return f"{photo.condition} {photo.severity:g}"
