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
    """A view whose content travels as messages or traits; its `_esm` is a `module`.

    The browser sends "ready" once it listens. A subclass overrides `on_ready`, which sends what was shown before, and
    `on_message` for its other messages.
    """

    # Every explorer has such a view, so the style of all explorers comes with it.
    _css = (_FOLDER / "explorer.css").read_text(encoding="utf-8")
    # The browser finds its model by this id, and needs it from the start.
    own_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, **traits):
        own_id = uuid.uuid4().hex
        super().__init__(model_id=own_id, own_id=own_id, **traits)
        self.on_msg(self._received)

    def on_ready(self) -> None:
        """Send what was shown before the browser listened."""

    def on_message(self, content: dict) -> None:
        """Answer another message of the browser."""

    def _received(self, _widget, content: dict, _buffers) -> None:
        if content.get("kind") == "ready":
            self.on_ready()
        else:
            self.on_message(content)
