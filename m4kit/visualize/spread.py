"""The distribution of a few or many values in a matplotlib chart, upright."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_FOR_A_VIOLIN = 20
"""With fewer values, each is drawn as a point: the outline of a violin would be a guess."""


def draw_spread(axes: Axes, place: float, values: np.ndarray, *, colour: str) -> None:
    """Draw values (n,) at `place` on the x axis: a violin from the least to the largest, or a point for each.

    A violin also has a point for each value beyond its whiskers (1.5 interquartile ranges, Tukey), so that a thin end
    does not hide them.
    """
    values = np.asarray(values, dtype=float)
    points = values
    if len(values) >= FEWEST_FOR_A_VIOLIN and np.ptp(values) > 0:
        (body,) = axes.violinplot([values], [place], widths=0.8, showextrema=False)["bodies"]
        body.set(facecolor=colour, edgecolor=colour, alpha=0.4, linewidth=1)
        points = values[outlying(values)]
    axes.plot(
        place + beside_each_other(points),
        points,
        "o",
        color=colour,
        markersize=3.5,
        markeredgewidth=0,
        alpha=0.75,
    )


def outlying(values: np.ndarray) -> np.ndarray:
    """Which values (n,) lie more than 1.5 interquartile ranges beyond the quartiles, (n,) bool."""
    low, high = np.percentile(values, [25, 75])
    return (values < low - 1.5 * (high - low)) | (values > high + 1.5 * (high - low))


def beside_each_other(values: np.ndarray) -> np.ndarray:
    """Offsets (n,) from -0.25 to 0.25 that keep points of like values (n,) apart."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    # Multiples of the golden ratio keep neighbours in rank apart.
    return 0.5 * ((rank * 0.618034 + 0.5) % 1 - 0.5)
