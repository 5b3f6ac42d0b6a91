"""Sliders for one kind of a face model's modes, the first ten and more on demand."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets
import numpy as np

from m4kit.explore.controls import button

REACH = 3.0
"""Standard deviations to either side that a slider reaches, and a mode swings."""

STEP = 10
"""Modes that are shown at first, and that a press on the button adds."""


class ModeSliders(widgets.VBox):
    """`sliders`, one for each of `count` modes in standard deviations, each with a button that explains its mode.

    `explain(number)` is called with the mode's number, from 0.
    """

    def __init__(self, count: int, *, word: str, explain: Callable[[int], None]):
        # One layout and one style for all: a browser has a third as much to set up.
        layout, style = (
            widgets.Layout(width="264px", margin="0"),
            widgets.SliderStyle(description_width="22px"),
        )
        self.word, self._explain = word, explain
        self._slim = widgets.Layout(width="34px", height="24px", padding="0", margin="2px 0")
        self.sliders = [
            widgets.FloatSlider(
                0.0,
                min=-REACH,
                max=REACH,
                step=0.05,
                description=str(number + 1),
                readout_format="+.2f",
                layout=layout,
                style=style,
            )
            for number in range(count)
        ]
        self.rows = widgets.VBox()
        self.more = button("More modes", tooltip=f"Ten more of the {count} modes")
        self.more.on_click(lambda _button: self.show_more())
        super().__init__([self.rows, self.more])
        self.show_more()

    def show_more(self) -> None:
        """Ten more modes."""
        first = len(self.rows.children)
        new = [self._row(number) for number in range(len(self.sliders))[first : first + STEP]]
        self.rows.children = (*self.rows.children, *new)
        if first + STEP >= len(self.sliders):
            self.more.layout.display = "none"

    def set(self, values: np.ndarray) -> None:
        """Set all sliders to values (n,). One beyond its slider's end widens that rather than being cut."""
        for slider, value in zip(self.sliders, values, strict=True):
            reach = max(REACH, float(np.ceil(abs(value))))
            slider.min, slider.max = min(-reach, slider.min), max(reach, slider.max)
            slider.value = float(value)

    def _row(self, number: int) -> widgets.HBox:
        words = f"Explain {self.word} {number + 1}: let it swing, and colour how far it moves each vertex"
        one = widgets.Button(icon="play", tooltip=words, layout=self._slim)
        one.on_click(lambda _button: self._explain(number))
        return widgets.HBox([self.sliders[number], one], layout={"align_items": "center"})
