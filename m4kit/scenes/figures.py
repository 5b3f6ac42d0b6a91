"""Figures of a scene report, for papers: each function returns its figure, and none shows it.

A metric is one of `cells.METRICS`. Conditions have the same colour everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from m4kit.conditions import CONDITIONS
from m4kit.datasets import DatasetError
from m4kit.metrics import FAILURE_NME
from m4kit.predictor import Predictor
from m4kit.scenes.cells import (
    METRICS,
    cells,
    counted_once,
    heat_grid,
    interval,
    scenes_of,
    title_of,
    true_errors,
    values_of,
)
from m4kit.scenes.data import ScenePhoto, scene_photos
from m4kit.scenes.report_data import ReportData, ReportError
from m4kit.scenes.tables import Table
from m4kit.visualize.drawing import draw_landmarks, draw_mesh, draw_pose
from m4kit.visualize.figures import overview
from m4kit.visualize.notebook_figure import DPI, NotebookFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    **{"": "#57606a", "focus": "#0072b2", "haze": "#56b4e9", "illumination": "#e69f00", "lens": "#cc79a7"},
    **{"motion": "#009e73", "snow": "#8c6bb1", "rain": "#d55e00", "distractor": "#8c959f"},
}
"""Of the conditions, told apart by colour-blind readers too (after Okabe and Ito)."""

OVERLAYS = ("landmarks", "pose", "translucent mesh", "solid mesh", "none")
"""What can be drawn over a face of a report."""

_INK, _SOFT, _GRID = "#24292f", "#57606a", "#d8dee4"
_STAGE_COLOURS = {"crop": "#d55e00", "camera": "#e69f00", "shape": "#56b4e9", "clean": "#b6bdc5"}
_STAGE_WORDS = {
    "crop": "detector and crop",
    "camera": "camera (place, size, pose)",
    "shape": "shape (identity, expression)",
    "clean": "also on the clean photo",
}
_BIN_FACES, _MOST_BINS = 15, 10


def heat_map(report: ReportData, metric: str = "nme") -> NotebookFigure:
    """A metric by condition and severity, darker where it is worse; the mean and the faces in each cell.

    Photos without a severity have a column of their own. Raises `ReportError` if the report has no number of it.
    """
    table, about = _cells(report, metric), METRICS[metric]
    places = heat_grid(table)
    grid = np.where(places.rows >= 0, table["mean"][places.rows], np.nan)
    figure = NotebookFigure(
        figsize=(2.3 + 0.85 * grid.shape[1], 1.3 + 0.48 * grid.shape[0]), dpi=DPI, layout="constrained"
    )
    axes = figure.subplots()
    colours = "YlOrRd" if about.more_is_worse else "YlOrRd_r"
    picture = axes.imshow(grid, cmap=colours, aspect="auto")
    for (row, column), mean in np.ndenumerate(grid):
        if np.isfinite(mean):
            dark = _luminance(picture.cmap(picture.norm(mean))) < 0.45
            axes.text(
                column,
                row,
                f"{mean:{_digits(table['mean'])}}\n$n$ = {table['count'][places.rows[row, column]]}",
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if dark else _INK,
                linespacing=1.15,
            )
    axes.set_xticks(range(grid.shape[1]), places.severity_words)
    axes.set_yticks(range(grid.shape[0]), places.condition_words)
    axes.set_xlabel("severity", color=_SOFT)
    axes.tick_params(length=0, colors=_INK)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(0.5, grid.shape[1] - 1), minor=True)
    axes.set_yticks(np.arange(0.5, grid.shape[0] - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.set_title(title_of(metric), fontsize=10, color=_INK, loc="left")
    return figure


def heat_colour(value: float, low: float, high: float, *, more_is_worse: bool) -> tuple[str, str]:
    """The colour of a heat map's cell, darker where it is worse, and that of words on it, as HTML has them."""
    palette = colormaps["YlOrRd" if more_is_worse else "YlOrRd_r"]
    colour = palette((value - low) / (high - low) if high > low else 0.3)
    return to_hex(colour), "#ffffff" if _luminance(colour) < 0.48 else "#1f2328"


def line_chart(report: ReportData, metric: str = "nme") -> NotebookFigure:
    """A metric against the severity, a line for each condition, with 95 % bootstrap intervals."""
    table = _cells(report, metric)
    figure, axes = _chart(6.4, 3.6)
    for condition in CONDITIONS:
        rows = np.flatnonzero((table["condition"] == condition) & np.isfinite(table["severity"]))
        if not len(rows):
            continue
        rows = rows[np.argsort(table["severity"][rows])]
        severity, mean, low, high = (table[name][rows] for name in ("severity", "mean", "low", "high"))
        axes.fill_between(severity, low, high, color=COLOURS[condition], alpha=0.13, linewidth=0)
        axes.plot(
            severity, mean, color=COLOURS[condition], marker="o", markersize=4, linewidth=1.8, label=condition
        )
    if not axes.lines:
        raise ReportError(f"line_chart: expected photos with a severity that have {metric}, got none")
    axes.set(xlabel="severity", ylabel=title_of(metric))
    axes.set_xticks(sorted(set(table["severity"][np.isfinite(table["severity"])].tolist())))
    if METRICS[metric].more_is_worse and (table["mean"] >= 0).all():
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def violins(
    report: ReportData, metric: str = "nme", *, severities: Sequence[float] | None = None
) -> NotebookFigure:
    """How a metric is spread over the faces of each condition: a violin, its median, and the mean with its 95 %
    bootstrap interval.

    Of all severities above 0, or of those given. The longest violins are cut at the 99th percentile of all faces.
    """
    values, faces = values_of(report.faces, report.photos, metric), report.faces
    chosen = np.isfinite(values) & (faces["severity"] != 0)
    if severities is not None:
        chosen &= np.isin(faces["severity"], list(severities))
    conditions = [one for one in ("", *CONDITIONS) if (chosen & (faces["condition"] == one)).any()]
    if not conditions:
        raise ReportError(f"violins: expected faces that have {metric}, got none; choose another metric")
    figure, axes = _chart(6.4, 3.4)
    scenes, top = scenes_of(faces), np.percentile(values[chosen], 99)
    for place, condition in enumerate(conditions):
        own = chosen & (faces["condition"] == condition)
        spread = np.minimum(values[own], top) if METRICS[metric].more_is_worse else values[own]
        if len(np.unique(spread)) > 1:
            (body,) = axes.violinplot([spread], [place], widths=0.8, showextrema=False)["bodies"]
            body.set(facecolor=COLOURS[condition], alpha=0.35, edgecolor=COLOURS[condition], linewidth=1)
        low, high = interval(values[own], scenes[own])
        axes.plot([place - 0.16, place + 0.16], [np.median(values[own])] * 2, color=_INK, linewidth=1.4)
        axes.plot([place] * 2, [low, high], color=COLOURS[condition], linewidth=2.4, solid_capstyle="butt")
        axes.plot(place, values[own].mean(), "o", color="white", markeredgecolor=_INK, markersize=5)
    labels = [
        f"{condition or 'clean'}\n$n$ = {(chosen & (faces['condition'] == condition)).sum()}"
        for condition in conditions
    ]
    axes.set_xticks(range(len(conditions)), labels, fontsize=8)
    axes.set_ylabel(title_of(metric))
    return figure


def score_scatter(report: ReportData) -> NotebookFigure:
    """The failure probability against the true error of each face, in the colours of the conditions.

    The error's scale is logarithmic; the line is where a face counts as failed.
    """
    probability, error, known = _judged(report, "score_scatter")
    shown_as = np.where(report.faces["severity"] == 0, "", report.faces["condition"])
    figure, axes = _chart(5.6, 3.8)
    for condition in ("", *CONDITIONS):
        own = known & (shown_as == condition)
        if own.any():
            axes.scatter(
                100 * probability[own],
                np.maximum(error[own], 0.1),
                s=13,
                color=COLOURS[condition],
                alpha=0.7,
                linewidths=0,
                label=condition or "clean",
            )
    axes.axhline(FAILURE_NME, color=_SOFT, linewidth=1, linestyle="--")
    axes.text(
        100, FAILURE_NME * 1.05, f"failed: above {FAILURE_NME:g} %", ha="right", fontsize=8, color=_SOFT
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="failure probability, %", ylabel="true error (NME), %", xlim=(-2, 102))
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def reliability(report: ReportData) -> NotebookFigure:
    """Whether the failure probabilities mean what they say: the share that failed, by what was foretold.

    Bins hold as many faces each; bars are 95 % intervals (Wilson's).
    """
    probability, error, known = _judged(report, "reliability")
    probability, failed = probability[known], error[known] > FAILURE_NME
    figure, axes = _chart(4.2, 3.8)
    axes.plot([0, 100], [0, 100], color=_GRID, linewidth=1.5, zorder=0)
    bins = int(np.clip(len(failed) // _BIN_FACES, 1, _MOST_BINS))
    for rows in np.array_split(np.argsort(probability), bins):
        low, high = _wilson(int(failed[rows].sum()), len(rows))
        foretold = 100 * probability[rows].mean()
        axes.plot([foretold] * 2, [100 * low, 100 * high], color="#0072b2", linewidth=1.6, alpha=0.6)
        axes.plot(foretold, 100 * failed[rows].mean(), "o", color="#0072b2", markersize=5)
    axes.set(xlabel="failure probability, %", ylabel=f"faces with NME above {FAILURE_NME:g} %, %")
    axes.set(xlim=(-3, 103), ylim=(-3, 103), aspect="equal")
    axes.set_title(f"{len(failed)} faces, {failed.sum()} failed", fontsize=9, color=_SOFT, loc="left")
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
    """The worst faces first: what was seen, with what was made of it drawn over it.

    Sorted by the true error, where there is none by the failure probability. `overlay` is one of `OVERLAYS`; with
    landmarks, white dots are where they should be. Faces that were missed come first, the crop of their box alone,
    unless `missed` is False.
    """
    rows = worst_first(report)
    if not missed:
        rows = rows[report.faces["face"][rows] >= 0]
    if condition is not None:
        rows = rows[report.faces["condition"][rows] == condition]
    rows = rows[:count]
    if not len(rows):
        raise ReportError(
            f"gallery: expected faces{f' of {condition}' * bool(condition)}, got none in the report"
        )
    lines = -(-len(rows) // columns)
    size = np.array([min(columns, len(rows)) * (side + 8), lines * (side + 64)]) / DPI
    figure = NotebookFigure(figsize=tuple(size), dpi=DPI, layout="constrained")
    grid = figure.subplots(lines, min(columns, len(rows)), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, row in zip(grid.flat, rows.tolist(), strict=False):
        axes.imshow(face_picture(report, row, overlay=overlay, side=side))
        title, _, words = caption(report, row).partition(": ")
        # No line longer than its picture is wide.
        broken = [line for one in words.splitlines() for line in wrap(one, max(16, side // 6))]
        axes.set_title("\n".join([title, *broken]), fontsize=6.5, color=_INK, pad=2, va="bottom")
    return figure


def scene_figure(
    source: Iterable,
    *,
    condition: str | None = None,
    count: int = 5,
    predictor: Predictor | None = None,
    max_side: int = 300,
) -> NotebookFigure:
    """Photos of one condition as columns; as rows landmarks, head pose, translucent mesh, solid mesh.

    The form of the paper's figures S4 to S8. `source` is what `analyse` takes; with a `condition` only its photos
    count, and of these the first `count`. Raises `DatasetError` if there is none.
    """
    photos = [photo for photo in scene_photos(source) if condition in (None, photo.condition)][:count]
    if not photos:
        raise DatasetError(
            f"scene_figure: expected photos of {condition}, got none; give others, or no condition"
        )
    predictor = predictor or Predictor()
    predictions = [predictor(photo.image()) for photo in photos]
    return overview(predictions, max_side=max_side, titles=[_title(photo) for photo in photos])


def blame_figure(summary: Table) -> NotebookFigure:
    """What `Blame.summary` says: the mean error as a stack of the stages' parts, a bar a condition and severity.

    A part that is negative, where putting a stage right makes it worse, hangs below zero.
    """
    rows = np.flatnonzero(summary["faces"] > 0)
    if not len(rows):
        raise ReportError("blame_figure: expected faces that were found, got none; all were missed")
    figure, axes = _chart(6.8, 1.2 + 0.3 * len(rows))
    places = np.arange(len(rows))[::-1]
    left, right = np.zeros(len(rows)), np.zeros(len(rows))
    for stage in ("clean", "shape", "camera", "crop"):
        part = summary[stage][rows]
        start = np.where(part >= 0, right, left)
        axes.barh(
            places, part, left=start, color=_STAGE_COLOURS[stage], height=0.72, label=_STAGE_WORDS[stage]
        )
        right += np.maximum(part, 0)
        left += np.minimum(part, 0)
    for place, row, end in zip(places, rows.tolist(), right, strict=True):
        missed = f", {summary['missed'][row]} missed" if summary["missed"][row] else ""
        words = f"{summary['nme'][row]:.1f} % ($n$ = {summary['faces'][row]}{missed})"
        axes.text(end + 0.01 * right.max(), place, words, va="center", fontsize=7.5, color=_SOFT)
    names = [
        f"{summary['condition'][row] or 'clean'}"
        + ("" if np.isnan(summary["severity"][row]) else f" {summary['severity'][row]:g}")
        for row in rows.tolist()
    ]
    axes.set_yticks(places, names, fontsize=8)
    axes.set_xlim(min(0, 1.05 * left.min()), 1.28 * right.max())
    axes.set_xlabel("mean error (NME), % of the face's size")
    axes.axvline(0, color=_SOFT, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0))
    return figure


def worst_first(report: ReportData) -> np.ndarray:
    """The rows of a report's faces, worst first: by the true error, then by the failure probability; missed faces
    before all."""
    faces = report.faces
    error = np.where(faces["face"] < 0, np.inf, np.nan_to_num(true_errors(faces), nan=-1.0))
    return np.lexsort((np.nan_to_num(-faces["failure_probability"], nan=0.0), -error))


def face_picture(report: ReportData, row: int, *, overlay: str = "landmarks", side: int = 200) -> np.ndarray:
    """A face of a report with its answer drawn over it, (side, side, 3) uint8 RGB. See `gallery`."""
    if overlay not in OVERLAYS:
        raise ValueError(f"expected an overlay out of {', '.join(OVERLAYS)}, got {overlay!r}")
    small = report.thumbnail(row)
    scale = side / small.shape[0]
    picture = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    if overlay == "none" or report.faces["face"][row] < 0:
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
    """What a gallery says of a face: condition, severity, error, failure probability, and what went wrong."""
    of = {name: values[row] for name, values in report.faces.items()}
    severity = "" if np.isnan(of["severity"]) else f" {of['severity']:g}"
    error = true_errors({name: report.faces[name][row : row + 1] for name in ("nme", "landmark_drift")})[0]
    words = ["missed" if of["face"] < 0 else f"error {error:.1f} %" if np.isfinite(error) else ""]
    if np.isfinite(of["failure_probability"]):
        words.append(f"p {100 * of['failure_probability']:.0f} %")
    reasons = str(of["reasons"]).split("; ")[0]
    first = f"{of['condition'] or 'clean'}{severity}: " + ", ".join(filter(None, words))
    return f"{first}\n{reasons}"


def _cells(report: ReportData, metric: str) -> Table:
    table = cells(report, metric)
    if not len(table["mean"]):
        raise ReportError(
            f"expected faces that have {metric}, got none in the report; choose another metric, or analyse with truth"
        )
    return table


def _judged(report: ReportData, place: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Failure probabilities, true errors in percent, and which faces have both, (n,) each, a clean one once."""
    faces = report.faces
    probability, error = faces["failure_probability"], true_errors(faces)
    # Without a truth a clean photo is compared with itself.
    told = np.isfinite(faces["nme"]) | (faces["severity"] != 0)
    known = counted_once(faces, np.isfinite(probability) & np.isfinite(error) & told)
    if not known.any():
        note = str(report.settings.get("failure_note", ""))
        raise ReportError(
            f"{place}: expected faces with a failure probability and a true error, got none"
            + f"; {note}" * bool(note)
        )
    return probability, error, known


def _chart(width: float, height: float) -> tuple[NotebookFigure, Axes]:
    figure = NotebookFigure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.grid(color=_GRID, alpha=0.6, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_SOFT, labelsize=8, length=0)
    axes.xaxis.label.set(color=_SOFT, fontsize=9)
    axes.yaxis.label.set(color=_SOFT, fontsize=9)
    return figure, axes


def _digits(values: np.ndarray) -> str:
    largest = float(np.abs(values).max())
    return ".0f" if largest >= 100 else ".1f" if largest >= 10 else ".2f"


def _luminance(colour: Sequence[float]) -> float:
    return float(np.dot(colour[:3], (0.299, 0.587, 0.114)))


def _title(photo: ScenePhoto) -> str:
    if photo.severity is None:
        return photo.name.rpartition("/")[2][:24]
    return f"{photo.condition} {photo.severity:g}"


def _wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which is right for few faces and for none."""
    z, share = 1.96, hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)
