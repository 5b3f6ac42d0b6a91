"""A triangle of head weights to look at and to press, kernel side; `live/js/weight_triangle.js` is the browser side.

Pictures travel as messages, not as synchronised traits, so that a saved notebook stays small.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from m4kit.explore.head_accuracy import Cut
from m4kit.explore.javascript import MessageView
from m4kit.images import jpeg
from m4kit.live.scripts import TRIANGLE, module


class WeightTriangle(MessageView):
    """A triangle of weights: a press in it, a drag or an arrow key calls `on_press(weights)`, (n,)."""

    _esm = module(*TRIANGLE)

    def __init__(self, **traits):
        super().__init__(**traits)
        self.on_press: Callable[[np.ndarray], None] = lambda weights: None
        self.cut: Cut | None = None
        self._serial = 0

    def show(self, cut: Cut) -> None:
        """Show a cut."""
        self.cut = cut
        self._serial += 1
        self.on_ready()

    def on_ready(self) -> None:
        """Send the cut."""
        if self.cut is None:
            return
        held, weight = self.cut.held, self.cut.weights[self.cut.held]
        others = [f"Head {head + 1}" for head in range(len(self.cut.weights)) if head != held]
        content = {
            "kind": "cut",
            "title": f"Head {held + 1} "
            + (f"held at {weight:.2f}" if weight < 1 else "has the whole weight"),
            "label": f"Colours show the error for all shares of {', '.join(others)}.",
            "names": others,
            "best": self.cut.lowest.tolist(),
            "present": self.cut.present.tolist(),
            "serial": self._serial,
        }
        self.send(content, [jpeg(self.cut.colours, quality=90)])

    def on_message(self, content: dict) -> None:
        """Report where the triangle was pressed."""
        self.on_press(self.cut.at(np.array(content["shares"], dtype=float)))
        self.send({"kind": "heard"})
