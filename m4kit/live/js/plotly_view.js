// Shows the figure of a `PlotlyView` and reports clicks and selections.

const OPTIONS = { responsive: true, displaylogo: false };

// The theme's text colour on a transparent ground, so that a figure fits a light and a dark theme.
function themed(layout) {
  const ink = getComputedStyle(document.body).getPropertyValue("--jp-ui-font-color1").trim() || "#333";
  const grid = "rgba(128, 128, 128, 0.25)", clear = "rgba(0, 0, 0, 0)";
  const axes = Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name));
  const lines = { gridcolor: grid, zerolinecolor: grid, linecolor: grid };
  return {
    ...layout, paper_bgcolor: clear, plot_bgcolor: clear,
    font: { ...layout.font, color: ink }, modebar: { bgcolor: clear, color: grid, activecolor: ink },
    ...Object.fromEntries(axes.map((name) => [name, { ...lines, ...layout[name] }])),
  };
}

export default {
  async render({ model, el }) {
    await keepListening(model);
    const place = document.createElement("div");
    place.style.width = "100%";
    el.style.width = "100%";
    el.append(place);
    // To plotly, a right click would end the selection.
    place.addEventListener("mousedown", (event) => event.button && event.stopPropagation(), true);
    const plotly = await ready().promise;
    const tell = (name, value) => { model.set(name, value); model.save_changes(); };
    let listening = false;
    const draw = () => {
      const figure = JSON.parse(model.get("figure"));
      plotly.react(place, figure.data, themed(figure.layout), OPTIONS).then(() => {
        if (listening) return;
        listening = true;
        place.on("plotly_click", ({ points: [point] }) => {
          tell("clicked", [point.curveNumber, point.pointNumber, model.get("clicked")[2] + 1]);
        });
        const pairs = (event) => (event?.points ?? []).map((point) => [point.curveNumber, point.pointNumber]);
        // A click on a point ends no selection, and is a click besides.
        place.on("plotly_selected", (event) => (event || !place._hoverdata?.length) && tell("selected", pairs(event)));
        place.on("plotly_deselect", () => tell("selected", []));
      });
    };
    model.on("change:figure", draw);
    // In a hidden tab the place has no width: it is drawn again once it has.
    const watch = new ResizeObserver(() => { if (place.offsetWidth) plotly.Plots.resize(place); });
    const themes = new MutationObserver(draw);
    themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name"] });
    draw();
    watch.observe(el);
    model.send({ kind: "ready" });
    return () => { watch.disconnect(); themes.disconnect(); model.off("change:figure", draw); plotly.purge(place); };
  },
};
