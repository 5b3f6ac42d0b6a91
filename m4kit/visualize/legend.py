"""Draws the legend of vertex colours along the lower edge of a picture: a colour bar, or names."""

from __future__ import annotations

import numpy as np

from m4kit.vertex_colours import VertexColours, scalar_colours
from m4kit.visualize import strokes

_INK, _PAPER = (36, 41, 47), (255, 255, 255)
_COLUMNS = 5
# Names that take more than this share of the picture's height would hide the face.
_SHARE = 0.25


def with_legend(picture: np.ndarray, coloured: VertexColours) -> np.ndarray:
    """Draw the legend of the colours into a picture (side, side, 3) uint8, and return it.

    Names are left out if the picture is too small for them.
    """
    if coloured.values is not None:
        return _with_bar(picture, coloured)
    return _with_names(picture, coloured.names) if coloured.names else picture


def _with_bar(picture: np.ndarray, coloured: VertexColours) -> np.ndarray:
    """Draw the colour bar with its limits and unit."""
    side = len(picture)
    low, high = coloured.limits
    left, right = round(0.2 * side), round(0.8 * side)
    top, bottom = round(0.925 * side), round(0.945 * side)
    steps = scalar_colours(np.linspace(low, high, right - left), limits=coloured.limits, scale=coloured.scale)
    picture[top:bottom, left:right] = steps.colours
    height = max(8, 0.024 * side)
    style = {"height": height, "colour": _INK, "halo": _PAPER}
    for text, x in ((f"{low:.3g}", left - 2.3 * height), (f"{high:.3g}", right + 2.3 * height)):
        strokes.words(picture, text.replace("-", "\N{MINUS SIGN}"), (x, (top + bottom) / 2), **style)
    strokes.words(picture, coloured.unit, (side / 2, bottom + 0.9 * height), **style)
    return picture


def _with_names(picture: np.ndarray, names: dict[str, tuple[int, int, int]]) -> np.ndarray:
    """Draw the names, each after a square of its colour, in rows from below, if there is room."""
    side = len(picture)
    height = max(8, 0.024 * side)
    square = round(height)
    for count in range(min(_COLUMNS, len(names)), 0, -1):
        columns = [list(names)[k::count] for k in range(count)]
        widths = [max(strokes.width(name, height=height) for name in column) for column in columns]
        gap = (side - sum(widths) - 1.5 * square * count) / (count + 1)
        if gap >= square / 2:
            break
    if gap < square / 2 or 1.6 * height * len(columns[0]) > _SHARE * side:
        return picture
    left = gap
    for column, width in zip(columns, widths, strict=True):
        for row, name in enumerate(column):
            middle = side - 1.6 * height * (len(columns[0]) - row - 0.4)
            top = round(middle - square / 2)
            picture[top : top + square, round(left) : round(left) + square] = names[name]
            place = (left + 1.5 * square, middle)
            strokes.label(picture, name, place, height=height, colour=_INK, halo=_PAPER)
        left += 1.5 * square + width + gap
    return picture
