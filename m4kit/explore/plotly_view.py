"""A plotly figure as a widget within other widgets, with clicks and lasso selections as traits.

plotly's own `FigureWidget` sends all of plotly.js with every figure; with several figures, Jupyter drops messages and
figures stay empty. This view sends plotly.js once per kernel. It comes with the plotly package: nothing is
downloaded.
"""

from __future__ import annotations

import base64
import functools
import gzip

import anywidget
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

from m4kit.explore.javascript import MessageView
from m4kit.live.scripts import module


class PlotlyView(MessageView):
    """Shows a plotly figure; `show` updates it.

    `clicked` is (trace, point, number of clicks so far), where the point of a heat map is [row, column]. `selected`
    holds the [trace, point] pairs in the last lasso or box; it is empty after a click beside the points.
    """

    _esm = module("plotly_ready", "plotly_view")
    figure = traitlets.Unicode('{"data": [], "layout": {}}').tag(sync=True)
    clicked = traitlets.List([-1, -1, 0]).tag(sync=True)
    selected = traitlets.List().tag(sync=True)

    def __init__(self):
        _library()
        super().__init__()

    def show(self, figure: go.Figure) -> None:
        """Show the figure as it is now."""
        self.figure = figure.to_json()

    def on_ready(self) -> None:
        """Send the figure."""
        self.send_state("figure")


@functools.cache
def _library() -> anywidget.AnyWidget:
    """The widget that sends plotly.js to the page, once per kernel.

    It travels compressed and apart from the views: Jupyter drops messages if a kernel sends several megabytes at
    once.
    """
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()

    class Library(anywidget.AnyWidget):
        _esm = f"const SOURCE = '{packed}';\n" + module("plotly_ready", "plotly_library")

    return Library()
