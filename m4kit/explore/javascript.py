"""The base class of all views: widgets whose browser side is JavaScript of `m4kit.live`."""

from __future__ import annotations

import uuid

import anywidget
import traitlets

from m4kit.live.scripts import read


class MessageView(anywidget.AnyWidget):
    """A view whose content travels as messages or traits; its `_esm` is a `scripts.module`.

    The browser sends "ready" once it listens. A subclass overrides `on_ready`, which sends what was shown before, and
    `on_message` for its other messages.
    """

    # Every explorer has such a view, so the style of all explorers comes with it.
    _css = read("explorer.css")
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
