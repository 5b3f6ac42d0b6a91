"""Controls that all explorers share, and legends: they fit their text, wrap, and use the theme's colours."""

from __future__ import annotations

import html
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np

from m4kit.vertex_colours import VertexColours, scalar_colours

SIDE_WIDTH = 260
"""Pixels of the column beside a view."""

COLOUR_LABELS = {
    "distance": "Distance from the mean",
    "spread": "Spread of the heads",
}
"""What the explorers call the colour modes of `vertex_colours` whose own name does not say it."""

WRAP = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "0 4px"}
"""Layout of a row that wraps where the notebook is narrow."""

_FADED = "color: var(--jp-ui-font-color2, #666)"
_LEGEND = "font-size: 12px; line-height: 1.5; color: var(--jp-ui-font-color1, #333)"


class ErrorLine(widgets.HTML):
    """A line of text in the colour of errors; an empty one takes no room."""

    text = ""

    def show(self, text: str) -> None:
        """Show a text, or nothing."""
        self.text = text
        style = "color: var(--jp-error-color1, #b00020); line-height: 1.4"
        value = f'<div role="alert" style="{style}">{html.escape(text)}</div>' if text else ""
        if self.value != value:
            self.value = value


def choice(label: str, options, *, width: str = "auto", tooltip: str = "", **traits) -> widgets.Dropdown:
    """Make a drop-down list with its label in front."""
    return widgets.Dropdown(
        options=options,
        description=label,
        tooltip=tooltip or label,
        style={"description_width": "initial"},
        layout={"width": width, "max_width": "280px"},
        **traits,
    )


def button(label: str, *, tooltip: str = "", icon: str = "") -> widgets.Button:
    """Make a button as wide as its label."""
    return widgets.Button(description=label, tooltip=tooltip or label, icon=icon, layout={"width": "auto"})


def toggle(label: str, *, on: bool, tooltip: str = "") -> widgets.ToggleButton:
    """Make a button that stays down, as wide as its label."""
    return widgets.ToggleButton(
        value=on, description=label, tooltip=tooltip or label, layout={"width": "auto"}
    )


def slider(
    label: str, value: float, low: float, high: float, step: float, *, width: str = "", **traits
) -> widgets.FloatSlider | widgets.IntSlider:
    """Make a slider with its label in front, for whole numbers if all that is given is whole."""
    whole = all(isinstance(number, int) for number in (value, low, high, step))
    make = widgets.IntSlider if whole else widgets.FloatSlider
    return make(
        value,
        min=low,
        max=high,
        step=step,
        description=label,
        style={"description_width": "initial"},
        layout={"width": width or None},
        **traits,
    )


def show_if(shown: bool, *controls: widgets.DOMWidget) -> None:
    """Show controls, or hide them so that they take no room."""
    for control in controls:
        control.layout.display = None if shown else "none"


def row(*controls: widgets.Widget, label: str = "") -> widgets.HBox:
    """Put controls into a line that wraps; `label` stands in front of them."""
    front = [widgets.HTML(f'<span style="{_FADED}">{html.escape(label)}</span>', layout={"width": "36px"})]
    return widgets.HBox([*(front if label else []), *controls], layout=WRAP)


def faded(text: str) -> str:
    """Write a text as HTML, less prominent than the rest."""
    style = f"{_FADED}; line-height: 1.4; overflow-wrap: anywhere"
    return f'<div style="{style}">{html.escape(text)}</div>'


def paragraph(content: str, *, faint: bool = False) -> str:
    """Put HTML content into a paragraph."""
    colour = "var(--jp-ui-font-color2, #666)" if faint else "inherit"
    return f'<div style="line-height: 1.45; max-width: 620px; color: {colour}">{content}</div>'


def notice(text: str, *, height: int) -> str:
    """Write a text as HTML in a box that stands in place of a picture, `height` pixels tall."""
    style = (
        f"{_FADED}; box-sizing: border-box; min-height: {height}px; padding: 16px; line-height: 1.4; display: flex; "
        "align-items: center; border: 1px dashed var(--jp-border-color1, #bbb); overflow-wrap: anywhere"
    )
    return f'<div role="alert" style="{style}">{html.escape(text)}</div>'


def legend(coloured: VertexColours, *, width: int = SIDE_WIDTH) -> str:
    """Write the legend of a mesh's colours as HTML, `width` pixels wide; empty where colours mean nothing."""
    if coloured.values is not None:
        limits = coloured.limits
        steps = scalar_colours(np.linspace(*limits, 12), limits=limits, scale=coloured.scale).colours
        low, high = (f"{value:.3g}".replace("-", "\N{MINUS SIGN}") for value in limits)
        label = f"colours from {low} to {high} {coloured.unit}"
        return colour_bar(steps, (low, coloured.unit, high), label=label, width=width)
    if coloured.names:
        return _names(coloured.names, width)
    if coloured.filled is not None:
        share = f"{100 * coloured.filled.mean():.0f} %"
        return faded(f"{share} of the vertices are not seen in the photo: filled in.")
    return ""


def colour_bar(colours: np.ndarray, texts: Sequence[str], *, label: str, width: int = SIDE_WIDTH) -> str:
    """Write a bar of colours (n, 3) as HTML, with texts spread evenly below it, and `label` for screen readers."""
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in colours)
    bar = f"background: linear-gradient(to right, {stops}); height: 12px; border-radius: 3px"
    below = f"display: flex; justify-content: space-between; gap: 8px; text-align: center; {_LEGEND}"
    return (
        f'<div style="width: {width}px; max-width: 100%" role="img" aria-label="{html.escape(label)}">'
        f'<div style="{bar}"></div><div style="{below}">'
        + "".join(f"<span>{html.escape(text)}</span>" for text in texts)
        + "</div></div>"
    )


def _names(names: dict[str, tuple[int, int, int]], width: int) -> str:
    square = "display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px"
    items = "".join(
        f'<div><span style="{square}; background: rgb{tuple(colour)}"></span>{html.escape(name)}</div>'
        for name, colour in names.items()
    )
    grid = f"width: {width}px; display: grid; grid-template-columns: 1fr 1fr; {_LEGEND}"
    return f'<div style="{grid}">{items}</div>'
