"""The matplotlib figure that m4kit's functions return."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.spines import Spine
from matplotlib.text import Text

from m4kit.visualize.pictures import picture_bundle, small_png
from m4kit.visualize.style import MAT, MAT_INK, SCREEN_INK

DPI = 128
"""Pixels per inch. A power of two, so that sizes in pixels convert to inches and back exactly."""

_INKED = {
    Text: ("color",),
    Line2D: ("color", "markeredgecolor", "markerfacecolor"),
    LineCollection: ("color",),
    Spine: ("edgecolor",),
}
"""The colours of each kind of artist that may be dark ink."""

_QUALITY = {"quality": 88, "subsampling": 0}
_NOTEBOOK_QUALITY = {"quality": 75}
"""Lower, because pictures stay in the notebook file."""


class NotebookFigure(Figure):
    """A matplotlib figure outside pyplot, so that it does not open a window or appear twice.

    It is drawn and saved in dark ink on white. A notebook, which shows it at the end of a cell or by `display`,
    may have a light or a dark page. There, a chart has no background, and its greys can be read on both; photos lie
    on a dark mat. Charts are stored as PNG, and photos as JPEG, because a PNG of a photo is large.
    """

    def save(self, path: str | Path) -> Path:
        """Write the figure, pixel for pixel, in the format of the path's ending; returns the path."""
        path = Path(path)
        options = {"pil_kwargs": _QUALITY} if path.suffix.lower() in {".jpg", ".jpeg"} else {}
        self.savefig(path, dpi=self.dpi, **options)
        return path

    def to_bytes(self) -> bytes:
        """Draw the PNG or JPEG that a notebook stores."""
        photos = any(picture.get_array().shape[2:] == (3,) for axes in self.axes for picture in axes.images)
        buffer = io.BytesIO()
        with _for_screens(self, background=MAT if photos else "none", ink=MAT_INK if photos else SCREEN_INK):
            if photos:
                self.savefig(buffer, format="jpeg", dpi=self.dpi, pil_kwargs=_NOTEBOOK_QUALITY)
                return buffer.getvalue()
            self.savefig(buffer, format="rgba", dpi=self.dpi)
        width, height = self.canvas.get_width_height()
        return small_png(np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4))

    def bundle(self, text: str | None = None) -> dict[str, str]:
        """Bundle the figure for `IPython.display.display(..., raw=True)`: a picture, and the text for a terminal."""
        return picture_bundle(self.to_bytes()) | {"text/plain": text or repr(self)}

    def _ipython_display_(self) -> None:
        # With pyplot, IPython has a PNG formatter for every Figure; this method takes precedence.
        from IPython.display import display

        display(self.bundle(), raw=True)


@contextmanager
def _for_screens(figure: Figure, *, background: str, ink: str) -> Iterator[None]:
    """Give the figure another background within the block, and another ink instead of black and dark grey.

    Text over the cells of a heat map keeps its colour.
    """
    # Creates all ticks.
    figure.draw_without_rendering()
    over_cells = {text for axes in figure.axes if axes.images for text in axes.texts}
    axis = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    behind = {line for one in axis for line in one.get_gridlines()}
    undo: list[Callable[[], None]] = []

    def change(artist: Artist, name: str, new) -> None:
        put, old = getattr(artist, f"set_{name}"), getattr(artist, f"get_{name}")()
        undo.append(lambda: put(old))
        put(new)

    change(figure, "facecolor", background)
    for axes in figure.axes:
        change(axes, "facecolor", "none")
    for artist in figure.findobj(lambda artist: artist not in over_cells):
        for name in next((names for kind, names in _INKED.items() if isinstance(artist, kind)), ()):
            colour = getattr(artist, f"get_{name}")()
            if _grey(colour, below=0.45 if isinstance(artist, Text | Spine) else 0.35):
                change(artist, name, ink)
            elif _grey(colour) and (artist in behind or isinstance(artist, Spine)):
                change(artist, name, "#808080")
                change(artist, "alpha", 0.35)
    try:
        yield
    finally:
        for back in reversed(undo):
            back()


def _grey(colour, *, below: float = 1.0) -> bool:
    """Whether a colour, or each of several, is grey, or nearly, and darker than `below`."""
    colours = to_rgba_array(colour)
    most = colours[:, :3].max(axis=1)
    return bool(((colours[:, 3] > 0) & (most < below) & (most - colours[:, :3].min(axis=1) < 0.12)).all())
