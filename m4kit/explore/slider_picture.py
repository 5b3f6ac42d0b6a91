"""`SliderPicture`: sliders, and the picture that a function draws from their values."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import ipywidgets as widgets
import numpy as np
from PIL import Image

from m4kit.explore.controls import WRAP, slider
from m4kit.explore.explorer import Explorer
from m4kit.images import check_image, jpeg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUALITY = 85
_STILL_QUALITY, _STILL_WIDTH = 55, 520
"""Lower, because the still picture stays in the notebook's file."""
_SLIDER_WIDTH = "340px"


class SliderPicture(Explorer):
    """Sliders above a picture that follows them.

    `draw` gets the sliders' values by name and returns a picture (H, W, 3) uint8 RGB or a matplotlib figure. Each
    slider is given as (lowest, highest, start). It has whole numbers if all three are whole, and else 200 steps:

        SliderPicture(draw, yaw=(-90, 90, 0), metres=(0.25, 5.0, 1.0))

    Unlike `ipywidgets.interact`, it leaves a still picture in a saved notebook.
    """

    def __init__(
        self,
        draw: Callable[..., np.ndarray | Figure],
        **sliders: tuple[float, float, float],
    ):
        if not sliders:
            raise ValueError("SliderPicture: expected at least one slider, such as yaw=(-90, 90, 0)")
        super().__init__()
        self.draw = draw
        self.sliders = {name: _slider(name, limits) for name, limits in sliders.items()}
        self.picture = widgets.Image(format="jpeg", layout={"max_width": "100%", "align_self": "flex-start"})
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
        self.picture.value = jpeg(self._drawn(), quality=_QUALITY)

    def describe(self) -> str:
        """The sliders and their values in one line."""
        return "SliderPicture: " + ", ".join(f"{name} {value:g}" for name, value in self.values.items())

    def still(self) -> bytes:
        """The picture of the present values as JPEG."""
        drawn = self._drawn()
        height, width = drawn.shape[:2]
        if width > _STILL_WIDTH:
            size = _STILL_WIDTH, max(1, round(height * _STILL_WIDTH / width))
            drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
        return jpeg(drawn, quality=_STILL_QUALITY)

    def _drawn(self) -> np.ndarray:
        drawn = self.draw(**self.values)
        if hasattr(drawn, "savefig"):
            buffer = io.BytesIO()
            drawn.savefig(buffer, format="png", dpi=drawn.dpi, pil_kwargs={"compress_level": 1})
            drawn = np.asarray(Image.open(buffer).convert("RGB"))
        return check_image(drawn, name="SliderPicture: the picture")


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
    if all(isinstance(value, int) for value in limits):
        return widgets.IntSlider(
            start,
            min=low,
            max=high,
            description=name,
            style={"description_width": "initial"},
            layout={"width": _SLIDER_WIDTH},
        )
    return slider(name, start, low, high, (high - low) / 200, width=_SLIDER_WIDTH)
