"""HTML pages from the templates in `m4kit/templates`, and pictures inside them.

Each page is one file that opens offline. Templates extend `base.html`; values are escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

_QUALITY = 86

_templates = Environment(
    loader=PackageLoader("m4kit", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(template: str, **values) -> str:
    """Fill a template in `m4kit/templates` with values; all but markup is escaped."""
    return _templates.get_template(template).render(**values)


def image_url(content: bytes, kind: str = "jpeg") -> str:
    """A picture file's bytes as a `data:` URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def picture_url(picture: np.ndarray, budget: int, *, sides: Sequence[int]) -> str:
    """Encode a picture (H, W, 3) uint8 RGB as the `data:` URL of a JPEG.

    The longest side becomes the first of `sides`, or a later one until the file fits into `budget` bytes; the last
    one is taken in any case.
    """
    image = Image.fromarray(picture)
    for side in sides:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, format="jpeg", quality=_QUALITY, optimize=True)
        if buffer.tell() <= budget:
            break
    return image_url(buffer.getvalue())
