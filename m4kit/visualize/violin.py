"""Draws the distribution of values in a matplotlib chart: few as points, many as a violin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEWEST = 20
"""With fewer values, each is drawn as a point: the outline of a violin would be a guess."""


def draw_violin(axes: Axes, place: float, values: np.ndarray, *, colour: str) -> None:
    """Draw values (n,) at `place` on the x axis: a violin from the least to the largest, or a point for each.

    A violin also has a point for each value beyond its whiskers (1.5 interquartile ranges, Tukey), so that a thin end
    does not hide them.
    """
    values = np.asarray(values, dtype=float)
    violin, points = violin_and_points(values)
    if violin:
        (body,) = axes.violinplot([values], [place], widths=0.8, showextrema=False)["bodies"]
        body.set(facecolor=colour, edgecolor=colour, alpha=0.4, linewidth=1)
    axes.plot(
        place + beside_each_other(values[points]),
        values[points],
        "o",
        color=colour,
        markersize=3.5,
        markeredgewidth=0,
        alpha=0.75,
    )


def violin_and_points(values: np.ndarray) -> tuple[bool, np.ndarray]:
    """Tell whether values (n,) are enough for a violin, and which are drawn as points, (m,) their places."""
    if len(values) < _FEWEST or np.ptp(values) == 0:
        return False, np.arange(len(values))
    low, high = np.percentile(values, [25, 75])
    whisker = 1.5 * (high - low)
    return True, np.flatnonzero((values < low - whisker) | (values > high + whisker))


def beside_each_other(values: np.ndarray) -> np.ndarray:
    """Compute offsets (n,) from -0.25 to 0.25 that keep points of like values (n,) apart."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    # Multiples of the golden ratio keep neighbours in rank apart.
    return 0.5 * ((rank * 0.618034 + 0.5) % 1 - 0.5)
