"""A heat map to click and a scatter to draw a lasso in: the kernel side of `scene_chart.js`.

What is shown travels as messages with binary buffers, not as synchronised traits, so that a saved notebook stays
small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from m4kit.explore.javascript import MessageView, module
from m4kit.scenes.figures import heat_colour


class HeatCell(NamedTuple):
    """A cell: its value, two lines of words, and what is said while the pointer rests on it."""

    value: float
    text: str
    small: str = ""
    title: str = ""


class SceneChart(MessageView):
    """One heat map or one scatter.

    `on_cell(row, column)` is called for a click on a cell, `on_point(number)` for one on a point, and
    `on_lasso(numbers)` for a lasso, with no numbers for a click beside the points. `shown` is what was said last.
    """

    _esm = module("scene_chart")

    def __init__(self, **traits):
        super().__init__(**traits)
        self.on_cell: Callable[[int, int], None] = lambda row, column: None
        self.on_point: Callable[[int], None] = lambda number: None
        self.on_lasso: Callable[[list[int]], None] = lambda numbers: None
        self.shown: dict | None = None
        self._buffers: list[bytes] = []
        self._serial = 0
        self.on_msg(self._heard)

    def heat(
        self,
        title: str,
        rows: Sequence[str],
        columns: Sequence[str],
        cells: Sequence[Sequence[HeatCell | None]],
        *,
        more_is_worse: bool = True,
    ) -> None:
        """Show a heat map, darker where it is worse; None is an empty cell."""
        known = [cell.value for line in cells for cell in line if cell is not None]
        low, high = min(known, default=0.0), max(known, default=1.0)

        def coloured(cell: HeatCell) -> dict:
            colour, ink = heat_colour(cell.value, low, high, more_is_worse=more_is_worse)
            return cell._asdict() | {"colour": colour, "ink": ink}

        coloured_cells = [[cell and coloured(cell) for cell in line] for line in cells]
        self._say(
            {"kind": "heat", "title": title, "rows": list(rows), "columns": list(columns)}
            | {"cells": coloured_cells},
            [],
        )

    def scatter(
        self,
        across: np.ndarray,
        up: np.ndarray,
        group: np.ndarray,
        groups: Sequence[tuple[str, str]],
        *,
        words: tuple[str, str],
    ) -> None:
        """Show points (n,) and (n,), of groups (n,), which are numbers of `groups`, names with colours. `words` name
        the axes."""
        about = [{"name": name, "colour": colour} for name, colour in groups]
        buffers = [np.asarray(one, dtype="<f4").tobytes() for one in (across, up)]
        self._say(
            {"kind": "scatter", "groups": about, "across": words[0], "up": words[1]},
            [*buffers, np.asarray(group, dtype=np.uint8).tobytes()],
        )

    def _say(self, content: dict, buffers: list[bytes]) -> None:
        self._serial += 1
        self.shown, self._buffers = content | {"serial": self._serial}, buffers
        self.send(self.shown, buffers)

    def _heard(self, _widget, content: dict, _buffers) -> None:
        kind = content.get("kind")
        if kind == "ready" and self.shown is not None:
            self.send(self.shown, self._buffers)
        elif kind == "cell":
            self.on_cell(int(content["row"]), int(content["column"]))
        elif kind == "point":
            self.on_point(int(content["point"]))
        elif kind == "lasso":
            self.on_lasso([int(point) for point in content["points"]])
