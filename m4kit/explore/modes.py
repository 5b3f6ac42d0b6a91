"""How much a face model's modes hold, in numbers and as charts for the explorer."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_WIDTH, _HEIGHT = 288, 164
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 24, 34


def cumulative_variance(modes: np.ndarray, deviations: np.ndarray | float = 1.0) -> np.ndarray:
    """The share (n,) of the variance of all n modes that the first 1, 2, ... n hold.

    `modes` (n, V, 3); a mode's variance is its squared length, summed over the vertices, times its coefficient's.
    """
    variance = np.square(modes, dtype=float).sum((1, 2)) * np.square(deviations)
    return np.cumsum(variance) / variance.sum()


def gram_matrix(modes: np.ndarray) -> np.ndarray:
    """The modes' (n, V, 3) products with each other, mean over the vertices, (n, n) in mm squared.

    With it, the root mean square of what coefficients c move is `sqrt(c @ gram @ c)`, whatever the mesh's size.
    """
    flat = modes.reshape(len(modes), 3 * modes.shape[1]).astype(np.float64)
    return flat @ flat.T / modes.shape[1]


def reconstruction_error(
    modes: np.ndarray, coefficients: np.ndarray, *, gram: np.ndarray | None = None
) -> np.ndarray:
    """How far a face is from its own with only the first 0, 1, ... n modes, (n + 1,): RMS over vertices in mm.

    `modes` (n, V, 3) in mm for a coefficient of 1, `coefficients` (n,); `gram` is `gram_matrix(modes)` if that is
    known.
    """
    gram = gram_matrix(modes) if gram is None else gram
    # Row k keeps what the first k modes leave out.
    missing = np.triu(np.ones((len(gram) + 1, len(gram)))) * np.asarray(coefficients, dtype=float)
    return np.sqrt(np.maximum(np.einsum("ki,ij,kj->k", missing, gram, missing), 0))


class Curve(NamedTuple):
    """Numbers `y` over `x`, in a CSS colour, with a name for the legend."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str


def chart(curves: Sequence[Curve], *, title: str, x_label: str, mark: float | None = None) -> str:
    """Curves as an SVG picture for HTML, from 0; `mark` is an x at which the first curve has a dot.

    Text is in the theme's colour. The chart is small and quick enough to be drawn anew while a slider moves.
    """
    right = max((float(curve.x.max()) for curve in curves), default=1.0) or 1.0
    upper = _nice(max((float(curve.y.max()) for curve in curves), default=1.0))

    def place(x, y):
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * np.asarray(x) / right
        return across, _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * np.asarray(y) / upper

    parts = [_text(_LEFT, 12, title, weight="bold")]
    for value in (0, upper / 2, upper):
        _, y = place(0, value)
        ends = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line {ends} stroke="currentColor" opacity="0.18"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{value:g}", anchor="end"))
    for value in (0, right / 2, right):
        parts.append(_text(float(place(value, 0)[0]), _HEIGHT - _BOTTOM + 14, f"{value:g}", anchor="middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, x_label, anchor="middle"))
    for number, curve in enumerate(curves):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(*place(curve.x, curve.y), strict=True))
        stroke = f'fill="none" stroke="{curve.colour}" stroke-width="2" stroke-linejoin="round"'
        parts.append(f'<polyline points="{points}" {stroke}/>')
        if curve.name:
            y = _HEIGHT - _BOTTOM - 8 - 15 * (len(curves) - 1 - number)
            parts.append(_text(_WIDTH - _RIGHT - 4, y, curve.name, anchor="end", colour=curve.colour))
    if mark is not None:
        x, y = place(mark, np.interp(mark, curves[0].x, curves[0].y))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{curves[0].colour}"/>')
    return (
        f'<svg role="img" aria-label="{html.escape(title)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" style="display: block; color: var(--jp-ui-font-color1, #333)">{"".join(parts)}</svg>'
    )


def _text(x, y, words, *, anchor="start", weight="normal", colour="currentColor") -> str:
    style = f'font-size="11" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{html.escape(words)}</text>'


def _nice(value: float) -> float:
    """The next of 1, 2, 4, 6, 10 times a power of ten: an upper end whose half is a short number, too."""
    if value <= 0:
        return 1.0
    power = 10 ** np.floor(np.log10(value))
    return float(next(step for step in (1, 2, 4, 6, 10) if step * power >= value * (1 - 1e-9)) * power)
