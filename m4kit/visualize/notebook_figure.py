"""The matplotlib figure that m4kit's functions return."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from matplotlib.figure import Figure

DPI = 128
"""Pixels per inch. A power of two, so that sizes in pixels convert to inches and back exactly."""

_QUALITY = {"quality": 88, "subsampling": 0}
_NOTEBOOK_QUALITY = {"quality": 75}
"""Lower, because pictures stay in the notebook file."""


class NotebookFigure(Figure):
    """A matplotlib figure outside pyplot, so that it does not open a window or appear twice.

    A notebook shows it at the end of a cell or through `display`. It is stored as JPEG, because photos as PNG make
    notebooks large.
    """

    def save(self, path: str | Path) -> Path:
        """Write the figure, pixel for pixel, in the format of the path's ending; gives the path."""
        path = Path(path)
        options = {"pil_kwargs": _QUALITY} if path.suffix.lower() in {".jpg", ".jpeg"} else {}
        self.savefig(path, dpi=self.dpi, **options)
        return path

    def to_jpeg(self) -> bytes:
        """The figure as the bytes of a JPEG file, as a notebook stores it."""
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
        # With pyplot, IPython has a PNG formatter for every Figure; this method takes precedence.
        from IPython.display import display

        display(self.bundle(), raw=True)
