"""What the colours of a still picture stand for, written along its lower edge: a bar with its unit, or names."""

from __future__ import annotations

import numpy as np

from m4kit.vertex_colours import VertexColours, scalar_colours
from m4kit.visualize import strokes

_INK, _PAPER = (36, 41, 47), (255, 255, 255)
_COLUMNS = 5
# More of the picture's height than this, and names would hide the face that they are for.
_SHARE = 0.25


def with_legend(picture: np.ndarray, coloured: VertexColours) -> np.ndarray:
    """The picture (side, side, 3) uint8 with what its colours stand for, drawn into it; the same if for nothing.

    Names that the picture is too small for are left out.
    """
    if coloured.values is not None:
        return _with_bar(picture, coloured)
    return _with_names(picture, coloured.names) if coloured.names else picture


def _with_bar(picture: np.ndarray, coloured: VertexColours) -> np.ndarray:
    """With the colour scale: its limits and its unit."""
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
    """With a square of its colour before each name, in rows from below; the same if there is no room for them."""
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
