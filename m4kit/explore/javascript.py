"""The browser side of the views: JavaScript modules without a bundler, put together from the files in `js/`."""

from __future__ import annotations

import uuid
from pathlib import Path

import anywidget
import traitlets

_FOLDER = Path(__file__).parent / "js"
_EVERYWHERE = ("messages", "keyboard")


def module(*names: str) -> str:
    """A JavaScript module of the files `names` in this order, after the two that every module needs."""
    return "\n".join((_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in _EVERYWHERE + names)


class MessageView(anywidget.AnyWidget):
    """A view that gets its content by messages; its `_esm` is a `module`.

    Each brings the style of all explorers along, since none is without one.
    """

    _css = (_FOLDER / "explorer.css").read_text(encoding="utf-8")
    # The browser finds its model by this id, and needs it from the start.
    own_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, **traits):
        own_id = uuid.uuid4().hex
        super().__init__(model_id=own_id, own_id=own_id, **traits)
