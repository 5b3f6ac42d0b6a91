"""A plotly figure as a widget within other widgets, which tells what was clicked.

plotly's own `FigureWidget` sends all of plotly.js with every figure; with several, Jupyter drops messages and figures
stay empty. So this shows the figure with plotly.js itself, sent once. It comes with the package: nothing is fetched.
"""

from __future__ import annotations

import base64
import functools
import gzip

import anywidget
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

_READY = """
// One plotly.js for all views of a page: a promise, and what fulfils it.
function ready() {
  if (!globalThis.m4kitPlotly) {
    let done;
    const promise = new Promise((resolve) => { done = resolve; });
    globalThis.m4kitPlotly = { promise, done };
  }
  return globalThis.m4kitPlotly;
}
"""
_BRING = """
async function bring() {
  const bytes = Uint8Array.from(atob(SOURCE), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  // With no module system in sight it puts itself into the window.
  new Function("module", "exports", "define", text).call(globalThis);
  ready().done(globalThis.Plotly);
}
// Not waited for: anywidget gives up on a slow start.
export default { initialize() { bring(); } };
"""
_SHOW = """
export default {
  async render({ model, el }) {
    const place = document.createElement("div");
    place.style.width = "100%";
    el.style.width = "100%";
    el.append(place);
    const options = { responsive: true, displaylogo: false };
    const plotly = await ready().promise;
    let listening = false;
    const draw = () => {
      const figure = JSON.parse(model.get("figure"));
      plotly.react(place, figure.data, figure.layout, options).then(() => {
        if (listening) return;
        listening = true;
        place.on("plotly_click", (event) => {
          const point = event.points[0];
          model.set("clicked", [point.curveNumber, (model.get("clicked")[1] || 0) + 1]);
          model.save_changes();
        });
      });
    };
    model.on("change:figure", draw);
    // In a hidden tab the place has no width: it is drawn anew once it has.
    const watch = new ResizeObserver(() => { if (place.offsetWidth) plotly.Plots.resize(place); });
    draw();
    watch.observe(el);
    return () => { watch.disconnect(); model.off("change:figure", draw); plotly.purge(place); };
  },
};
"""


class PlotlyView(anywidget.AnyWidget):
    """Shows a plotly figure; `show` brings it up to date. `clicked` is [trace, how many clicks so far]."""

    _esm = _READY + _SHOW
    figure = traitlets.Unicode('{"data": [], "layout": {}}').tag(sync=True)
    clicked = traitlets.List([-1, 0]).tag(sync=True)

    def __init__(self):
        _library()
        super().__init__()

    def show(self, figure: go.Figure) -> None:
        """Show the figure as it is now."""
        self.figure = figure.to_json()


@functools.cache
def _library() -> anywidget.AnyWidget:
    """The widget that brings plotly.js to the page, once a kernel.

    Jupyter drops messages when a kernel sends several megabytes at once, so it goes compressed, and not with each
    view.
    """
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()

    class Library(anywidget.AnyWidget):
        _esm = f'const SOURCE = "{packed}";\n{_READY}{_BRING}'

    return Library()
