"""A face model's modes: sliders, how much the modes hold, and charts of it."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np

from m4kit.explore.controls import button, show_if

REACH = 3.0
"""Standard deviations to both sides that a mode swings."""

STEP = 10
"""Modes that are shown at first, and that the button adds."""

SLIDER_STEP = 1 / 32
"""Step of a slider in standard deviations.

Together with ends that are powers of two, it makes a browser's arithmetic exact. A value that changes by rounding is
sent back, and what comes back late would replace what the kernel has set since.
"""

_LEAST_REACH = 4

_WIDTH, _HEIGHT = 310, 164
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 24, 34


class ModeSliders(widgets.VBox):
    """One slider per mode, in standard deviations, each with a button that explains the mode.

    There are `count` modes of a kind (`word`: "identity"), ten of them shown at first. The button calls
    `explain(number)`, counted from 0. The sliders cover values up to `largest` to both sides, and at least 4.
    """

    def __init__(self, count: int, *, word: str, explain: Callable[[int], None], largest: float = 0.0):
        reach = 2.0 ** np.ceil(np.log2(max(_LEAST_REACH, largest)))
        # All share one layout and one style: a browser has a third as much to set up.
        layout, style = (
            widgets.Layout(width="286px", margin="0"),
            widgets.SliderStyle(description_width="22px"),
        )
        self.word, self._explain = word, explain
        self._slim = widgets.Layout(width="34px", height="24px", padding="0", margin="2px 0")
        self.sliders = [
            widgets.FloatSlider(
                0.0,
                min=-reach,
                max=reach,
                step=SLIDER_STEP,
                description=str(number + 1),
                readout_format="+.2f",
                layout=layout,
                style=style,
            )
            for number in range(count)
        ]
        self.rows = widgets.VBox()
        self._made: list[widgets.HBox] = []
        self._explained: int | None = None
        self.more = button("More modes", tooltip=f"Ten more of the {count} {word} modes")
        self.fewer = button("Fewer modes", tooltip=f"Only the first ten {word} modes")
        self.more.on_click(lambda _button: self._show(len(self.rows.children) + STEP))
        self.fewer.on_click(lambda _button: self._show(STEP))
        super().__init__([self.rows, widgets.HBox([self.more, self.fewer])])
        self._show(STEP)

    @property
    def values(self) -> np.ndarray:
        """The values (n,) of all sliders."""
        return np.array([slider.value for slider in self.sliders])

    def set(self, values: np.ndarray) -> None:
        """Set all sliders to values (n,), rounded to their step, and within their ends."""
        for slider, steps in zip(self.sliders, np.rint(np.asarray(values) / SLIDER_STEP), strict=True):
            slider.value = float(np.clip(steps * SLIDER_STEP, slider.min, slider.max))

    def use(self, count: int) -> None:
        """Disable all sliders but the first `count`."""
        for number, slider in enumerate(self.sliders):
            slider.disabled = number >= count

    def mark(self, explained: int | None) -> None:
        """Show at its button that a mode is explained, and at no other's."""
        self._explained = explained
        for number, one in enumerate(self._made):
            one.children[1].icon = _icon(number == explained)

    def _show(self, count: int) -> None:
        """Show the first `count` modes."""
        self._made += [self._row(number) for number in range(len(self.sliders))[len(self._made) : count]]
        self.rows.children = self._made[:count]
        show_if(count < len(self.sliders), self.more)
        show_if(count > STEP, self.fewer)

    def _row(self, number: int) -> widgets.HBox:
        tooltip = f"Explain {self.word} {number + 1}: let it swing, and colour how far it moves each vertex"
        icon = _icon(number == self._explained)
        one = widgets.Button(icon=icon, tooltip=tooltip, layout=self._slim)
        one.on_click(lambda _button: self._explain(number))
        return widgets.HBox([self.sliders[number], one], layout={"align_items": "center"})


def _icon(explained: bool) -> str:
    return "stop" if explained else "play"


def cumulative_variance(modes: np.ndarray) -> np.ndarray:
    """Compute the share (n,) of the total variance in the first 1, 2, ... n modes.

    `modes` (n, V, 3) are displacements for one standard deviation. The variance of a mode is the sum of its squared
    displacements over the vertices.
    """
    variance = np.square(modes, dtype=float).sum((1, 2))
    return np.cumsum(variance) / variance.sum()


def gram_matrix(modes: np.ndarray) -> np.ndarray:
    """Multiply modes (n, V, 3) with each other, mean over the vertices: (n, n) in mm squared.

    Coefficients c move the vertices by `sqrt(c @ gram @ c)`, root mean square; its cost does not depend on V.
    """
    flat = modes.reshape(len(modes), 3 * modes.shape[1]).astype(np.float64)
    return flat @ flat.T / modes.shape[1]


def reconstruction_error(
    modes: np.ndarray, coefficients: np.ndarray, *, gram: np.ndarray | None = None
) -> np.ndarray:
    """Compute how far a face is from itself with its first 0, 1, ... n modes alone, (n + 1,): RMS over vertices, mm.

    `modes` (n, V, 3) are in mm for a coefficient of 1, `coefficients` (n,); `gram` is `gram_matrix(modes)`, if known.
    """
    gram = gram_matrix(modes) if gram is None else gram
    # Row k holds the coefficients beyond the first k.
    missing = np.triu(np.ones((len(gram) + 1, len(gram)))) * np.asarray(coefficients, dtype=float)
    return np.sqrt(np.maximum(np.einsum("ki,ij,kj->k", missing, gram, missing), 0))


class Curve(NamedTuple):
    """Numbers `y` over `x`, with a name for the legend and a CSS colour."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str


def chart(curves: Sequence[Curve], *, title: str, x_label: str, mark: float | None = None) -> str:
    """Draw curves as SVG for HTML, with axes from 0; `mark` is the x of a dot on the first curve.

    Text has the theme's colour. The chart is drawn fast enough to follow a slider.
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


def _text(x, y, text, *, anchor="start", weight="normal", colour="currentColor") -> str:
    style = f'font-size="11" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{html.escape(text)}</text>'


def _nice(value: float) -> float:
    """The next of 1, 2, 4, 6, 10 times a power of ten: an axis end with a short number at its half."""
    if value <= 0:
        return 1.0
    power = 10 ** np.floor(np.log10(value))
    return float(next(step for step in (1, 2, 4, 6, 10) if step * power >= value * (1 - 1e-9)) * power)
