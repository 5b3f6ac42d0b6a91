"""The plotly charts of the scene explorer. `scenes.figures` draws the same for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from m4kit.conditions import CONDITIONS
from m4kit.explore.charts import BASE, band, spread
from m4kit.scenes.cells import FEWEST, METRICS, cells, interval, values_by_condition, yes_or_no
from m4kit.scenes.figures import COLOURS
from m4kit.scenes.report_data import ReportData, ReportError

_HEIGHT = 400


def line_chart(report: ReportData, metric: str) -> go.Figure:
    """Draw a metric by severity, as `scenes.figures.line_chart`. Raises `ReportError` if there is nothing to draw."""
    table = cells(report, metric).dropna(subset="severity")
    traces = []
    for name in CONDITIONS:
        own = table[table["condition"] == name]
        if not len(own):
            continue
        known = own.dropna(subset="low")
        ends = known["severity"], known["low"], known["high"]
        traces.append(band(*ends, colour=COLOURS[name], legendgroup=name))
        traces.append(
            go.Scatter(
                x=own["severity"],
                y=own["mean"],
                name=name,
                legendgroup=name,
                mode="lines+markers",
                line={"color": COLOURS[name], "width": 2},
                marker={"size": 8, "symbol": ["circle-open" if few else "circle" for few in own["few"]]},
                text=[_about(cell) for cell in own.itertuples()],
                hovertemplate=f"{name} %{{x:g}}: %{{text}}<extra></extra>",
            )
        )
    if not traces:
        raise ReportError(
            f"expected faces with a severity that have {metric}, got none; choose another metric"
        )
    hollow = f"; hollow: fewer than {FEWEST} faces" * bool(table["few"].any())
    several = ", with 95 % intervals" * bool(table["low"].notna().any())
    figure = go.Figure(traces, BASE | {"height": _HEIGHT})
    figure.update_layout(title=_title(f"Mean by severity{several}{hollow}"))
    figure.update_xaxes(title_text="severity", tickvals=sorted(table["severity"].unique()))
    figure.update_yaxes(title_text=METRICS[metric].title)
    if METRICS[metric].more_is_worse and (table["mean"] >= 0).all():
        figure.update_yaxes(rangemode="tozero")
    return figure


def spread_chart(
    report: ReportData, metric: str, *, names: Sequence[str], severities: Sequence[float] | None = None
) -> tuple[go.Figure, list[np.ndarray]]:
    """Draw the faces of each condition, as `scenes.figures.violins`; also return the rows of each trace's points.

    The rows are labels of the faces' index; `names` has a text for each. Raises `ReportError` if there is no face.
    """
    groups, traces, rows = values_by_condition(report, metric, severities=severities), [], []
    for place, (name, own) in enumerate(groups.items()):
        values, colour = own["value"].to_numpy(), COLOURS[name]
        if not yes_or_no(metric, own["value"]):
            hover = [f"{names[row]}: {value:.2f}" for row, value in own["value"].items()]
            traces += spread(place, values, colour=colour, hover=hover, showlegend=False)
            rows += [np.zeros(0, int), own.index.to_numpy()[traces[-1].customdata]]
        low, high = interval(own["value"], own["scene"])
        mean = float(values.mean())
        bar = {
            "type": "data",
            "array": [high - mean],
            "arrayminus": [mean - low],
            "thickness": 2.5,
            "width": 0,
        }
        traces.append(
            go.Scatter(
                x=[place],
                y=[mean],
                mode="markers",
                marker={
                    "symbol": "diamond",
                    "size": 10,
                    "color": colour,
                    "line": {"color": "white", "width": 1.5},
                },
                error_y=bar | {"color": colour, "visible": bool(np.isfinite(low))},
                hovertemplate=f"{name}: mean %{{y:.2f}} of {len(values)} faces<extra></extra>",
                showlegend=False,
            )
        )
        rows.append(np.zeros(0, int))
    figure = go.Figure(traces, BASE | {"height": _HEIGHT})
    counted = all(yes_or_no(metric, own["value"]) for own in groups.values())
    words = "Each condition's mean" if counted else "Each condition's faces; diamond: mean"
    figure.update_layout(title=_title(words))
    labels = [f"{name}<br>n = {len(own)}" for name, own in groups.items()]
    ends = (-0.6, len(groups) - 0.4)
    places = list(range(len(groups)))
    # Without the type, a violin without values turns the axis into one of names.
    figure.update_xaxes(type="linear", tickvals=places, ticktext=labels, range=ends, zeroline=False)
    figure.update_yaxes(
        title_text=METRICS[metric].title, range=(-3, 103) if counted else None, hoverformat=".2f"
    )
    return figure, rows


def scatter_chart(
    groups: Mapping[str, np.ndarray], across: np.ndarray, up: np.ndarray, *, titles: tuple[str, str]
) -> go.Figure:
    """Draw a scatter plot of two columns, one colour per condition; a drag draws a lasso."""
    traces = [
        go.Scatter(
            x=across[rows],
            y=up[rows],
            name=name,
            mode="markers",
            marker={"color": COLOURS[name], "size": 8, "opacity": 0.75},
            unselected={"marker": {"opacity": 0.15}},
            hovertemplate=f"{name}: %{{x:.3g}}, %{{y:.3g}}<extra></extra>",
        )
        for name, rows in groups.items()
    ]
    figure = go.Figure(traces, BASE | {"height": 460, "showlegend": True, "dragmode": "lasso"})
    figure.update_layout(margin_t=15)
    figure.update_xaxes(title_text=titles[0])
    figure.update_yaxes(title_text=titles[1])
    return figure


def _about(cell) -> str:
    between = "" if np.isnan(cell.low) else f", 95 % interval {cell.low:.2f} to {cell.high:.2f}"
    return f"{cell.mean:.2f}, n = {cell.faces}{between}"


def _title(text: str) -> dict:
    return {"text": text, "font": {"size": 13}, "x": 0.02, "y": 0.97, "yanchor": "top"}
