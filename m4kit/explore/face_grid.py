"""A page of faces to look at and to click, kernel side; `live/js/face_grid.js` is the browser side.

Pictures travel as messages, not as synchronised traits, so that a saved notebook stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from m4kit.explore.javascript import MessageView
from m4kit.live.scripts import module


class GridFace(NamedTuple):
    """A card: the number that a click reports, a JPEG, two lines of text, the photo's name, and whether it is bad."""

    row: int
    jpeg: bytes
    title: str
    text: str
    name: str
    bad: bool = False


class FaceGrid(MessageView):
    """A grid of cards; a click on one calls `on_click(row)`."""

    _esm = module("face_grid")

    def __init__(self, **traits):
        super().__init__(**traits)
        self.on_click: Callable[[int], None] = lambda row: None
        self.faces: tuple[GridFace, ...] = ()
        self._serial = 0

    def show(self, faces: Sequence[GridFace]) -> None:
        """Show these faces and no others."""
        self.faces = tuple(faces)
        self._serial += 1
        self.on_ready()

    def on_ready(self) -> None:
        """Send the faces."""
        cards = [face._asdict() for face in self.faces]
        pictures = [card.pop("jpeg") for card in cards]
        self.send({"kind": "faces", "faces": cards, "serial": self._serial}, pictures)

    def on_message(self, content: dict) -> None:
        """Report a click."""
        self.on_click(int(content["row"]))
