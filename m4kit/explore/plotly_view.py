"""A plotly figure as a widget within other widgets, which tells what was clicked.

plotly's own `FigureWidget` stays empty within boxes and tabs, so this shows the figure with plotly.js itself, which
comes with the package: nothing is fetched.
"""

from __future__ import annotations

import json

import anywidget
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

_SHOW = """
function plotly() {
  // Shared by all views of a page.
  if (!globalThis.m4kitPlotly) {
    // With no module system in sight it puts itself into the window.
    new Function("module", "exports", "define", SOURCE).call(globalThis);
    globalThis.m4kitPlotly = globalThis.Plotly;
  }
  return globalThis.m4kitPlotly;
}
export default {
  render({ model, el }) {
    const place = document.createElement("div");
    place.style.width = "100%";
    el.style.width = "100%";
    el.append(place);
    const options = { responsive: true, displaylogo: false };
    let listening = false;
    const draw = () => {
      const figure = JSON.parse(model.get("figure"));
      plotly().react(place, figure.data, figure.layout, options).then(() => {
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
    const watch = new ResizeObserver(() => { if (place.offsetWidth) plotly().Plots.resize(place); });
    draw();
    watch.observe(el);
    return () => { watch.disconnect(); model.off("change:figure", draw); plotly().purge(place); };
  },
};
"""


class PlotlyView(anywidget.AnyWidget):
    """Shows a plotly figure; `show` brings it up to date. `clicked` is [trace, how many clicks so far]."""

    _esm = f"const SOURCE = {json.dumps(get_plotlyjs())};\n{_SHOW}"
    figure = traitlets.Unicode('{"data": [], "layout": {}}').tag(sync=True)
    clicked = traitlets.List([-1, 0]).tag(sync=True)

    def show(self, figure: go.Figure) -> None:
        """Show the figure as it is now."""
        self.figure = figure.to_json()
