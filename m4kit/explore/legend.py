"""What a view's colours stand for, as HTML beside it: a bar with its unit, or names."""

from __future__ import annotations

import html

import numpy as np

from m4kit.explore.controls import SIDE_WIDTH, faded
from m4kit.vertex_colours import VertexColours, scalar_colours

_TEXT = "font-size: 12px; line-height: 1.5; color: var(--jp-ui-font-color1, #333)"


def legend(coloured: VertexColours, *, width: int = SIDE_WIDTH) -> str:
    """The legend, `width` pixels wide; empty where the colours stand for nothing."""
    if coloured.values is not None:
        return _bar(coloured, width)
    if coloured.names:
        return _names(coloured.names, width)
    if coloured.filled is not None:
        return faded(
            f"{100 * coloured.filled.mean():.0f} % of the vertices are not seen in the photo: filled in."
        )
    return ""


def _bar(coloured: VertexColours, width: int) -> str:
    low, high = coloured.limits
    steps = scalar_colours(np.linspace(low, high, 12), limits=(low, high), scale=coloured.scale).colours
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in steps)
    bar = f"background: linear-gradient(to right, {stops}); height: 12px; border-radius: 3px"
    ends = f"display: flex; justify-content: space-between; {_TEXT}"
    low, high = (f"{value:.3g}".replace("-", "\N{MINUS SIGN}") for value in (low, high))
    unit = html.escape(coloured.unit)
    return (
        f'<div style="width: {width}px" role="img" aria-label="colours from {low} to {high} {unit}">'
        f'<div style="{bar}"></div><div style="{ends}">'
        f"<span>{low}</span><span>{unit}</span><span>{high}</span></div></div>"
    )


def _names(names: dict[str, tuple[int, int, int]], width: int) -> str:
    square = "display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px"
    items = "".join(
        f'<div><span style="{square}; background: rgb{tuple(colour)}"></span>{html.escape(name)}</div>'
        for name, colour in names.items()
    )
    return (
        f'<div style="width: {width}px; display: grid; grid-template-columns: 1fr 1fr; {_TEXT}">{items}</div>'
    )
