"""`SliderPicture`: sliders, and the picture that a function draws from their values."""

from __future__ import annotations

import io
from collections.abc import Callable

import ipywidgets as widgets
import numpy as np
from PIL import Image

from m4kit.explore.controls import WRAP, slider
from m4kit.explore.explorer import Explorer
from m4kit.images import check_image, jpeg
from m4kit.visualize.notebook_figure import NotebookFigure
from m4kit.visualize.pictures import small_png

_QUALITY = 85
_STILL_QUALITY = 55
_STILL_WIDTH = {"JPEG": 520, "PNG": 300}
"""Small, because the still picture stays in the notebook's file, and a PNG without a background takes more room."""
_SLIDER_WIDTH = "340px"


class SliderPicture(Explorer):
    """Sliders above a picture that follows them.

    `draw` gets the sliders' values by name and returns a picture (H, W, 3) uint8 RGB or one of m4kit's figures.
    Each slider is given as (lowest, highest, start). It has whole numbers if all three are whole, and else 200 steps:

        SliderPicture(draw, yaw=(-90, 90, 0), metres=(0.25, 5.0, 1.0))

    Unlike `ipywidgets.interact`, it leaves a still picture in a saved notebook.
    """

    def __init__(
        self,
        draw: Callable[..., np.ndarray | NotebookFigure],
        **sliders: tuple[float, float, float],
    ):
        if not sliders:
            raise ValueError("SliderPicture: expected at least one slider, such as yaw=(-90, 90, 0)")
        super().__init__()
        self.draw = draw
        self.sliders = {name: _slider(name, limits) for name, limits in sliders.items()}
        self.picture = widgets.Image(layout={"max_width": "100%", "align_self": "flex-start"})
        # Shows its exception at once: with a function that always fails there is nothing to explore.
        self.redraw()
        for control in self.sliders.values():
            self.on(control, self.redraw)
        self.content = (widgets.HBox([*self.sliders.values()], layout=WRAP), self.picture)

    @property
    def values(self) -> dict[str, float]:
        """The sliders' values by name."""
        return {name: control.value for name, control in self.sliders.items()}

    def redraw(self) -> None:
        """Draw the picture of the present values."""
        drawn = self.draw(**self.values)
        if isinstance(drawn, NotebookFigure):
            self.picture.value = drawn.to_bytes()
        else:
            picture = check_image(drawn, name="SliderPicture: the picture")
            self.picture.value = jpeg(picture, quality=_QUALITY)

    def describe(self) -> str:
        """Name the sliders and their values in one line."""
        return "SliderPicture: " + ", ".join(f"{name} {value:g}" for name, value in self.values.items())

    def still(self) -> bytes:
        """Draw a smaller picture of the present values."""
        with Image.open(io.BytesIO(self.picture.value)) as shown:
            width, opaque = _STILL_WIDTH[shown.format], shown.format == "JPEG"
            picture = shown.convert("RGB" if opaque else "RGBA")
        picture.thumbnail((width, picture.height))
        pixels = np.asarray(picture)
        return jpeg(pixels, quality=_STILL_QUALITY) if opaque else small_png(pixels)


def _slider(name: str, limits: tuple[float, float, float]) -> widgets.Widget:
    try:
        low, high, start = limits
    except (TypeError, ValueError):
        raise ValueError(
            f"SliderPicture: expected {name}=(lowest, highest, start), got {name}={limits!r}"
        ) from None
    if not low <= start <= high or not low < high:
        raise ValueError(
            f"SliderPicture: expected {name}=(lowest, highest, start) with the start between the others, "
            f"got {name}={limits!r}"
        )
    step = 1 if all(isinstance(value, int) for value in limits) else (high - low) / 200
    return slider(name, start, low, high, step, width=_SLIDER_WIDTH)
