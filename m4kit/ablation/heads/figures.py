"""Figures of the study of the head weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from m4kit import metrics
from m4kit.ablation.heads.judge import GROUPS, HEADS
from m4kit.ablation.heads.record import BEST, DYNAMIC, LEARNED, OTHER_HALF, UNIFORM, HeadStudy
from m4kit.checks import needed
from m4kit.network import HEAD_STAGES
from m4kit.visualize.style import CLEAR, INK, SCREEN_INK

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from m4kit.visualize.notebook_figure import NotebookFigure

_FAINT, _BAND = "#8c959f", ("#54aeff", 0.2)
_COLOURS = {
    **{BEST: "#d55e00", OTHER_HALF: "#e69f00"},
    **{LEARNED: "#009e73", UNIFORM: "#0072b2", DYNAMIC: "#cc79a7"},
}
_BIN_COLOURS = ("#c3cad1", "#8c959f", "#57606a")
_MOST = 20
"""Percent above or below the best at which the table's colour scale ends."""
_CORNERS = np.array([[0, 8**0.5, -1], [6**0.5, -(2**0.5), -1], [-(6**0.5), -(2**0.5), -1], [0, 0, 3]]) / 3
"""Corners of a regular tetrahedron, one per head. The last head, usually the best alone, is at the top."""


def head_weights_figure(record: HeadStudy) -> NotebookFigure:
    """Draw the accuracy of each setting of the head weights, as in the paper's Fig. S1.

    Above: NME of every setting with its bootstrap interval, NME of each yaw bin, and whether the setting differs from
    the `reference` by the paired interval. The band is the interval of the reference. Below: all weights that were
    tried, from the best to the worst, and the errors by landmark group, of the head pose and of the vertices.
    """
    from m4kit.visualize.notebook_figure import DPI, NotebookFigure

    size = (max(11, 1.2 * len(record.settings)), 6.2 + 0.28 * len(record.settings))
    figure = NotebookFigure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    places = figure.add_gridspec(2, 5, height_ratios=[1.1, 1])
    _draw_settings(figure.add_subplot(places[0, :]), record)
    if len(record.grid):
        _draw_grid(figure.add_subplot(places[1, :2]), record)
    _draw_details(figure.add_subplot(places[1, 2 if len(record.grid) else 0 :]), record)
    for axes in figure.axes:
        axes.xaxis.label.set(fontsize=9, color=INK)
        axes.yaxis.label.set(fontsize=9, color=INK)
        axes.tick_params(labelsize=8, colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set(fontsize=10, color=INK)
        axes.set_axisbelow(True)
    where = record.chosen_on or ("the other half" if OTHER_HALF in record.settings else "these")
    figure.suptitle(
        f"Accuracy against the weights of the heads\n{record.faces} faces of {record.dataset}, best weights chosen "
        f"on {where}",
        fontsize=12,
        color=INK,
    )
    return figure


def simplex_figure(record: HeadStudy) -> go.Figure:
    """Draw an interactive tetrahedron of all static weights that were tried, coloured by their NME.

    Each corner is one head alone. Large points are not worse than the `reference`. Raises `ValueError` if the study
    has no grid.
    """
    go = needed("plotly.graph_objects", "simplex_figure")

    if not len(record.grid):
        raise ValueError(
            f"expected a study that searched the weights, got one whose best were chosen on {record.chosen_on}; "
            "give that study's record"
        )
    weights, error, alike = record.grid.weights, record.grid.headline, record.not_worse
    ends = np.array([[a, b] for a in range(HEADS) for b in range(a)])
    edges = np.full((len(ends), 3, 3), np.nan)
    edges[:, :2] = _CORNERS[ends]
    lines = go.Scatter3d(
        **_axes(edges.reshape(-1, 3)),
        mode="lines",
        line={"color": _FAINT, "width": 2},
        hoverinfo="skip",
        showlegend=False,
    )
    named = go.Scatter3d(
        **_axes(1.13 * _CORNERS),
        mode="text",
        text=[f"head {head + 1}<br>{stage}" for head, stage in enumerate(HEAD_STAGES)],
        hoverinfo="skip",
        showlegend=False,
    )
    points = go.Scatter3d(
        **_axes(weights @ _CORNERS),
        mode="markers",
        marker={
            "size": np.where(alike, 7, 4),
            "color": error,
            "colorscale": "Viridis",
            # A single bad head would take the whole range of colours.
            "cmin": error.min(),
            "cmax": np.percentile(error, 90),
            "colorbar": {"title": {"text": f"{record.criterion}, %"}, "len": 0.7},
            "line": {"width": 0},
        },
        customdata=np.column_stack([weights, error, record.grid_differences]),
        hovertemplate="weights %{customdata[0]:.2f}, %{customdata[1]:.2f}, %{customdata[2]:.2f}, "
        "%{customdata[3]:.2f}<br>%{customdata[4]:.3f} %<br>"
        f"minus {record.reference}: "
        "%{customdata[5]:+.3f} "
        "(%{customdata[6]:+.3f} to %{customdata[7]:+.3f})<extra></extra>",
        name=f"{len(weights)} weights tried",
        showlegend=False,
    )
    marks = [
        go.Scatter3d(
            **_axes(record.weights(name)[None] @ _CORNERS),
            mode="markers",
            marker={
                "size": 9,
                "symbol": symbol,
                "color": _COLOURS[name],
                "line": {"color": "white", "width": 1},
            },
            name=f"{name}: {record.table.headline[record.row(name)]:.2f} %",
            hovertemplate=f"{name}<extra></extra>",
        )
        for name, symbol in ((BEST, "diamond"), (LEARNED, "square"), (UNIFORM, "cross"), (DYNAMIC, "circle"))
        if name in record.settings
    ]
    hidden = {"visible": False}
    return go.Figure(
        [lines, named, points, *marks],
        layout={
            "title": {
                "text": f"The weights of the heads: {record.faces} faces of {record.dataset}<br>"
                f"<sub>{alike.sum()} of {len(weights)} (large points) are not worse than {record.reference}</sub>"
            },
            "scene": {
                **dict.fromkeys(("xaxis", "yaxis", "zaxis"), hidden),
                "aspectmode": "cube",
                "camera": {"eye": {"x": 0.55, "y": -1.75, "z": 0.5}, "center": {"x": 0, "y": 0, "z": -0.05}},
            },
            "margin": {"l": 0, "r": 0, "b": 0, "t": 70},
            "legend": {"x": 0.01, "y": 0.02, "yanchor": "bottom"},
            "template": "plotly_white",
            "paper_bgcolor": CLEAR,
            "font": {"color": SCREEN_INK},
            "height": 640,
        },
    )


def _axes(points: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("xyz", points.T, strict=True))


def _draw_settings(axes, record: HeadStudy) -> None:
    """Draw the NME of every setting with its interval, and of each yaw bin."""
    place, table = np.arange(len(record.settings)), record.table
    band = record.intervals[record.row(record.reference)]
    axes.axhspan(*band, color=_BAND, zorder=0, label=f"interval of {record.reference}")
    if all(record.counts):
        for (low, high), count, errors, colour, shift in zip(
            metrics.YAW_BINS, record.counts, table.bins.T, _BIN_COLOURS, (-0.3, -0.22, -0.14), strict=True
        ):
            label = f"|yaw| {low} to {high}° (n = {count})"
            axes.plot(place + shift, errors, "o", color=colour, markersize=5, label=label)
    for number, name in enumerate(record.settings):
        low, high = record.intervals[number]
        middle, colour = table.headline[number], _COLOURS.get(name, INK)
        reach = [[max(0, middle - low)], [max(0, high - middle)]]
        label = record.criterion if number == 0 else None
        axes.errorbar(number, middle, reach, fmt="o", markersize=7, capsize=4, color=colour, label=label)
        beside = {"xytext": (9, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{middle:.3f}", (number, middle), **beside, fontsize=8, color=colour)
    axes.set_xticks(place, [_label(record, name) for name in record.settings])
    axes.set(ylabel="NME in %", xlim=(-0.6, len(place) - 0.4))
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5)


def _label(record: HeadStudy, name: str) -> str:
    """Name of a setting, its weights, and how it compares with the reference."""
    weights = record.weights(name)
    if name.startswith("head ") and name[5:].isdigit():
        lines = [name, HEAD_STAGES[int(name[5:]) - 1]]
    else:
        lines = [name, "mean" if name in (DYNAMIC, OTHER_HALF) else "", _short(weights)]
    if name == BEST != record.reference:
        lines.append("chosen on\nthese faces")
    elif name != record.reference:
        lines.append(f"{record.verdict(name)}: {record.difference(name)[0]:+.3f}")
    return "\n".join(filter(None, lines))


def _short(weights: np.ndarray) -> str:
    """Weights with two decimals and without the leading 0: `.05 .1 .25 .6`."""
    return " ".join(f"{weight:.2g}".removeprefix("0") or "0" for weight in weights.round(2))


def _draw_grid(axes, record: HeadStudy) -> None:
    """Draw all weights that were tried, from the best to the worst, and the named settings among them."""
    order = np.argsort(record.grid.headline)
    errors, alike = record.grid.headline[order], record.not_worse[order]
    rank = np.arange(1, len(errors) + 1)
    axes.plot(rank, errors, color=_FAINT, linewidth=1)
    label = f"not worse than {record.reference} ({alike.sum()})"
    axes.plot(rank[alike], errors[alike], ".", color="#54aeff", label=label)
    label = f"is worse ({(~alike).sum()})"
    axes.plot(rank[~alike], errors[~alike], ".", color=_FAINT, markersize=3, label=label)
    for name in (UNIFORM, LEARNED, BEST):
        if name in record.settings:
            error = record.table.headline[record.row(name)]
            at = 1 + np.searchsorted(errors, error - 1e-6)
            axes.plot(at, error, "o", color=_COLOURS[name], label=name, zorder=4)
    axes.set(
        xlabel="weights, from the best to the worst",
        ylabel=f"{record.criterion} in %",
        title=f"All {len(errors)} static weights tried",
    )
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)


def _draw_details(axes, record: HeadStudy) -> None:
    """Draw a table of the errors of each landmark group, angle and the vertices, coloured by ratio to the best."""
    table, titles, columns = record.table, list(GROUPS), list(record.table.groups.T)
    if np.isfinite(table.pose).all():
        titles += ["yaw", "pitch", "roll"]
        columns += list(table.pose.T)
    if np.isfinite(table.vertices).all():
        titles.append("vertices")
        columns.append(table.vertices)
    errors = np.stack(columns, axis=1)
    best = errors[record.row(record.reference)]
    more = 100 * (errors - best) / np.maximum(best, 1e-9)
    axes.imshow(more, cmap=_against_best(), vmin=-_MOST, vmax=_MOST, aspect="auto")
    for (row, column), error in np.ndenumerate(errors):
        axes.text(column, row, f"{error:.2f}", ha="center", va="center", fontsize=8, color=INK)
    axes.set_xticks(np.arange(len(titles)), titles)
    axes.set_yticks(np.arange(len(errors)), record.settings)
    # Lines between landmark groups, angles and vertices. A line after the last column would widen the axes.
    for edge in {len(GROUPS), len(GROUPS) + 3 * ("yaw" in titles)} - {len(titles)}:
        axes.axvline(edge - 0.5, color="white", linewidth=3)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    angles = ", head pose in degrees" if "yaw" in titles else ""
    axes.set_title(
        f"NME in % by landmark group{angles}\nblue: less than {record.reference}, orange: more (full at {_MOST} %)"
    )


def _against_best():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("against best", ["#56b4e9", "#ffffff", "#f4a261"])
