// Shows the figure of a `PlotlyView` and reports clicks and selections.

const OPTIONS = { responsive: true, displaylogo: false };

// The page's text colour on a transparent ground, so that a figure fits a light and a dark theme.
function themed(layout, place) {
  const ink = getComputedStyle(place).color, grid = "rgba(128, 128, 128, 0.25)";
  const themedLayout = { ...layout, paper_bgcolor: "rgba(0, 0, 0, 0)", plot_bgcolor: "rgba(0, 0, 0, 0)" };
  themedLayout.font = { ...layout.font, color: ink };
  for (const name of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
    themedLayout[name] = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, ...layout[name] };
  }
  return themedLayout;
}

export default {
  async render({ model, el }) {
    const place = document.createElement("div");
    place.style.cssText = "width: 100%; color: var(--jp-ui-font-color1, #333)";
    el.style.width = "100%";
    el.append(place);
    const plotly = await ready().promise;
    const tell = (name, value) => { model.set(name, value); model.save_changes(); };
    let listening = false;
    const draw = () => {
      const figure = JSON.parse(model.get("figure"));
      plotly.react(place, figure.data, themed(figure.layout, place), OPTIONS).then(() => {
        if (listening) return;
        listening = true;
        place.on("plotly_click", ({ points: [point] }) => {
          tell("clicked", [point.curveNumber, point.pointNumber, model.get("clicked")[2] + 1]);
        });
        const pairs = (event) => (event?.points ?? []).map((point) => [point.curveNumber, point.pointNumber]);
        place.on("plotly_selected", (event) => tell("selected", pairs(event)));
        place.on("plotly_deselect", () => tell("selected", []));
      });
    };
    model.on("change:figure", draw);
    // In a hidden tab the place has no width: it is drawn again once it has.
    const watch = new ResizeObserver(() => { if (place.offsetWidth) plotly.Plots.resize(place); });
    draw();
    watch.observe(el);
    return () => { watch.disconnect(); model.off("change:figure", draw); plotly.purge(place); };
  },
};
