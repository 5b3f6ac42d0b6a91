"""What the explorers' plotly charts share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from m4kit.visualize.violin import beside_each_other, violin_and_points

BASE = {
    "autosize": True,
    "template": "plotly_white",
    "margin": {"l": 60, "r": 10, "t": 45, "b": 45},
    # Beside the axes: below them, a legend of several lines covers their titles.
    "legend": {"orientation": "v", "x": 1.01, "xanchor": "left", "y": 1, "yanchor": "top"},
}
"""Layout of all charts."""


def spread(
    place: float, values: np.ndarray, *, colour: str, hover: Sequence[str] | None = None, **options
) -> list[go.Violin | go.Scatter]:
    """Draw the distribution of values (n,) at `place` on a linear x axis, as `visualize.violin` draws it.

    Returns a violin and points; the violin is empty if there are too few values. `hover` has a text for each value.
    The points' `customdata` are their places in `values`.
    """
    values = np.asarray(values, dtype=float)
    violin, shown = violin_and_points(values)
    outline = go.Violin(
        x0=place,
        y=values if violin else [],
        width=0.8,
        points=False,
        spanmode="hard",
        line={"color": colour, "width": 1.2},
        fillcolor=faded(colour, 0.4),
        box={"visible": True, "width": 0.12},
        hoveron="violins",
        **options,
    )
    points = go.Scatter(
        x=place + beside_each_other(values[shown]),
        y=values[shown],
        mode="markers",
        marker={"color": colour, "size": 5 if violin else 7, "opacity": 0.8},
        customdata=shown,
        text=None if hover is None else [hover[number] for number in shown],
        hovertemplate=("%{text}" if hover is not None else "%{y:.3g}") + "<extra></extra>",
        **options,
    )
    return [outline, points]


def band(x: Sequence, low: Sequence, high: Sequence, *, colour: str, **options) -> go.Scatter:
    """Draw a translucent band from `low` to `high` (n,) over `x` (n,)."""
    return go.Scatter(
        x=[*x, *x[::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        fillcolor=faded(colour),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        **options,
    )


def faded(colour: str, strength: float = 0.15) -> str:
    """Make a colour such as "#d1242f" translucent."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {strength})"
