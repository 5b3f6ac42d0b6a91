"""The look that the explorers' controls share: labels as wide as their words, rows that wrap, the theme's colours."""

from __future__ import annotations

import html

import ipywidgets as widgets

SIDE_WIDTH = 260
"""Pixels of the column beside a view."""

_FADED = "color: var(--jp-ui-font-color2, #666)"


def choice(words: str, options, *, width: str = "auto", tooltip: str = "") -> widgets.Dropdown:
    """A drop-down list with its label in front."""
    return widgets.Dropdown(
        options=options,
        description=words,
        tooltip=tooltip or words,
        style={"description_width": "initial"},
        layout={"width": width, "max_width": "280px"},
    )


def button(words: str, *, tooltip: str = "") -> widgets.Button:
    """A button as wide as its words."""
    return widgets.Button(description=words, tooltip=tooltip or words, layout={"width": "auto"})


def toggle(words: str, *, on: bool, tooltip: str = "") -> widgets.ToggleButton:
    """A button that stays down, as wide as its words."""
    return widgets.ToggleButton(
        value=on, description=words, tooltip=tooltip or words, layout={"width": "auto"}
    )


def row(*controls: widgets.Widget, words: str = "") -> widgets.HBox:
    """Controls in a line that wraps where the notebook is narrow; `words` say what they are for."""
    label = [widgets.HTML(f'<span style="{_FADED}">{html.escape(words)}</span>', layout={"width": "36px"})]
    layout = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "0 4px"}
    return widgets.HBox([*(label if words else []), *controls], layout=layout)


def faded(text: str) -> str:
    """A sentence as HTML, less prominent than the rest."""
    style = f"{_FADED}; line-height: 1.4; overflow-wrap: anywhere"
    return f'<div style="{style}">{html.escape(text)}</div>'


def notice(text: str, *, height: int) -> str:
    """A sentence as HTML in a box where a picture would be, `height` pixels tall."""
    style = (
        f"{_FADED}; box-sizing: border-box; min-height: {height}px; padding: 16px; line-height: 1.4; display: flex; "
        "align-items: center; border: 1px dashed var(--jp-border-color1, #bbb); overflow-wrap: anywhere"
    )
    return f'<div role="alert" style="{style}">{html.escape(text)}</div>'
