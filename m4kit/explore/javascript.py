"""The browser's side of the views: modules without a bundler, of files that lie beside this one."""

from __future__ import annotations

import uuid
from pathlib import Path

import anywidget
import traitlets


def listening_module(name: str) -> str:
    """The JavaScript of a `ListeningView`, with `keepListening` of `listening.js` before it."""
    folder = Path(__file__).parent
    return "\n".join((folder / file).read_text(encoding="utf-8") for file in ("listening.js", name))


class ListeningView(anywidget.AnyWidget):
    """A view that is told things by messages: its `_esm` is a `listening_module`."""

    # The browser finds its model by it, and must know it from the start.
    own_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, **traits):
        own_id = uuid.uuid4().hex
        super().__init__(model_id=own_id, own_id=own_id, **traits)
