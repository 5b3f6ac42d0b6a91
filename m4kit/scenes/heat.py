"""Colours the cells of a heat map, for pages and widgets. `figures.heat_map` draws one for papers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from m4kit.scenes.cells import FEWEST, METRICS, HeatGrid

LEGEND = (
    f"Darker is worse. Hatched: fewer than {FEWEST} faces, and fewer than in other cells, too few to compare."
)


def heat_rows(places: HeatGrid, metric: str) -> list[tuple[str, list[dict | None]]]:
    """Each condition of a heat map with its cells, None where there is no face.

    A cell has `severity`, `mean` and `faces` as text, `colour` and `ink` (its text) as `#rrggbb`, `few`, and `about`,
    its count and its interval in words. Cells of few faces have no colour, and do not count for the others' range.
    """
    known = [cell for line in places.cells for cell in line if cell is not None]
    means = [cell.mean for cell in known if not cell.few]
    low, high = (min(means), max(means)) if means else (0.0, 0.0)
    form, more_is_worse = digits([cell.mean for cell in known]), METRICS[metric].more_is_worse

    def shown(cell, severity: str) -> dict | None:
        if cell is None:
            return None
        between = "" if np.isnan(cell.low) else f", 95 % interval {cell.low:{form}} to {cell.high:{form}}"
        colour, ink = ("", "") if cell.few else heat_colour(cell.mean, low, high, more_is_worse=more_is_worse)
        return {
            "severity": severity,
            "mean": f"{cell.mean:{form}}",
            "faces": cell.faces,
            "colour": colour,
            "ink": ink,
            "few": bool(cell.few),
            "about": f"{cell.faces} face{'s' * (cell.faces != 1)}{between}",
        }

    return [
        (condition, [shown(*pair) for pair in zip(line, places.severities, strict=True)])
        for condition, line in zip(places.conditions, places.cells, strict=True)
    ]


def heat_colour(value: float, low: float, high: float, *, more_is_worse: bool) -> tuple[str, str]:
    """The colours of a heat map's cell, darker where it is worse, and of the text in it, as `#rrggbb`."""
    colour = colormaps[palette(more_is_worse)]((value - low) / (high - low) if high > low else 0.3)
    return to_hex(colour), "#ffffff" if luminance(colour) < 0.48 else "#1f2328"


def palette(more_is_worse: bool) -> str:
    """The name of the heat maps' colours."""
    return "YlOrRd" if more_is_worse else "YlOrRd_r"


def luminance(colour: Sequence[float]) -> float:
    """How light a colour (r, g, b) is, 0 to 1."""
    return float(np.dot(colour[:3], (0.299, 0.587, 0.114)))


def digits(values: Sequence[float]) -> str:
    """The format of numbers of which the largest needs three figures at most."""
    largest = max(map(abs, values), default=0.0)
    return ".0f" if largest >= 100 else ".1f" if largest >= 10 else ".2f"
