"""The matplotlib figure that m4kit's functions return."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from matplotlib.figure import Figure

DPI = 128
"""Pixels an inch; a power of two, so that a size in pixels survives the way through inches."""

_QUALITY = {"quality": 88, "subsampling": 0}
_NOTEBOOK_QUALITY = {"quality": 75}
"""A notebook keeps its pictures for good, and a screen forgives more than a printer."""


class NotebookFigure(Figure):
    """A matplotlib figure that pyplot does not know of: nothing pops up, nothing is shown twice.

    A notebook shows it where it is a cell's value or goes through `display`, as JPEG, because photos as PNG
    make notebooks heavy.
    """

    def save(self, path: str | Path) -> Path:
        """Write the figure, pixel for pixel, as JPEG, PNG or another format, by the path's ending."""
        path = Path(path)
        options = {"pil_kwargs": _QUALITY} if path.suffix.lower() in {".jpg", ".jpeg"} else {}
        self.savefig(path, dpi=self.dpi, **options)
        return path

    def to_jpeg(self) -> bytes:
        """The figure as a JPEG file's bytes, as a notebook shows and keeps it."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="jpeg", dpi=self.dpi, pil_kwargs=_NOTEBOOK_QUALITY)
        return buffer.getvalue()

    def bundle(self, text: str | None = None) -> dict[str, str]:
        """The figure for `IPython.display.display(..., raw=True)`: a JPEG, and the text for a terminal."""
        return {"image/jpeg": base64.b64encode(self.to_jpeg()).decode(), "text/plain": text or repr(self)}

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()

    def _ipython_display_(self) -> None:
        # Where pyplot is in use, IPython has a PNG formatter for every Figure; this goes before it.
        from IPython.display import display

        display(self.bundle(), raw=True)
