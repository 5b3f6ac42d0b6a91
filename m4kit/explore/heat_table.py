"""A heat map to click, kernel side; `live/js/heat_table.js` is the browser side."""

from __future__ import annotations

import traitlets

from m4kit.explore.javascript import MessageView
from m4kit.live.scripts import module
from m4kit.scenes.cells import HeatGrid
from m4kit.scenes.heat import LEGEND, heat_rows


class HeatTable(MessageView):
    """A heat map of conditions and severities whose cells are buttons.

    `clicked` is (row, column, number of clicks so far).
    """

    _esm = module("heat_table")
    table = traitlets.Dict().tag(sync=True)
    clicked = traitlets.List([-1, -1, 0]).tag(sync=True)

    def show(
        self,
        places: HeatGrid,
        metric: str,
        *,
        title: str,
        about: str,
        faded: set[tuple[str, str]] | frozenset = frozenset(),
    ) -> None:
        """Show the means of a metric. `about` follows the title; the cells `faded` (condition, severity) are pale."""
        rows = heat_rows(places, metric)
        for condition, cells in rows:
            for cell in filter(None, cells):
                cell["faded"] = (condition, cell["severity"]) in faded
        self.table = {
            "title": title,
            "about": about,
            "note": LEGEND,
            "severities": places.severities,
            "rows": rows,
        }

    def on_ready(self) -> None:
        """Send the table."""
        self.send_state("table")
