"""A page of faces to look at and to click: the kernel side of `face_grid.js`.

Pictures travel as messages, not as synchronised traits, so that a saved notebook stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from m4kit.explore.javascript import MessageView, module


class GridFace(NamedTuple):
    """A card: the number that a click tells, a JPEG, two lines of words, the photo's name, and its marks."""

    row: int
    jpeg: bytes
    title: str
    words: str
    name: str
    bad: bool = False
    chosen: bool = False


class FaceGrid(MessageView):
    """A grid of cards. `on_click(row)` is called for a click on one."""

    _esm = module("face_grid")

    def __init__(self, **traits):
        super().__init__(**traits)
        self.on_click: Callable[[int], None] = lambda row: None
        self.faces: tuple[GridFace, ...] = ()
        self._serial = 0
        self.on_msg(self._heard)

    def show(self, faces: Sequence[GridFace]) -> None:
        """Show these faces instead of those that are there."""
        self.faces = tuple(faces)
        self._serial += 1
        self._say()

    def _say(self) -> None:
        about = [
            {name: value for name, value in face._asdict().items() if name != "jpeg"} for face in self.faces
        ]
        content = {"kind": "faces", "faces": about, "serial": self._serial}
        self.send(content, [face.jpeg for face in self.faces])

    def _heard(self, _widget, content: dict, _buffers) -> None:
        if content.get("kind") == "ready":
            self._say()
        elif content.get("kind") == "clicked":
            self.on_click(int(content["row"]))
