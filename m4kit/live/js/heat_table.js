// A heat map as a table of buttons: reached by Tab and the arrows, read aloud, in the theme's colours.

const STYLE = `
.m4kit-heat { width: 100%; border-collapse: separate; border-spacing: 3px; table-layout: fixed;
  font: 13px/1.3 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #1f2328);
  font-variant-numeric: tabular-nums; }
.m4kit-heat caption { text-align: left; padding: 2px 0 4px; font-weight: 600; }
.m4kit-heat caption span { font-weight: 400; color: var(--jp-ui-font-color2, #57606a); }
.m4kit-heat th { font-weight: 400; padding: 0 6px; text-align: right; overflow-wrap: anywhere; }
.m4kit-heat thead th { text-align: center; }
.m4kit-heat thead th:first-child { width: 84px; }
.m4kit-heat td { padding: 0; height: 42px; }
.m4kit-heat button { all: unset; box-sizing: border-box; width: 100%; height: 42px; cursor: pointer; border-radius: 4px;
  display: flex; flex-direction: column; align-items: center; justify-content: center; font-weight: 600; }
.m4kit-heat small { font-weight: 400; font-size: 11px; }
.m4kit-heat button.few { color: inherit; background: repeating-linear-gradient(135deg,
  var(--jp-layout-color3, #c8ced4) 0 1px, var(--jp-layout-color2, #eee) 1px 8px); }
.m4kit-heat button.faded { opacity: 0.3; }
.m4kit-heat button:hover, .m4kit-heat button:focus-visible { opacity: 1; outline-offset: 1px;
  outline: 2px solid var(--jp-brand-color1, #1976d2); }
.m4kit-heat-note { color: var(--jp-ui-font-color2, #57606a); font: 12px/1.4 var(--jp-ui-font-family, sans-serif); }
`;

function make(name, text = "", parent = null) {
  const element = document.createElement(name);
  element.textContent = text;
  parent?.append(element);
  return element;
}

function heading(text, scope, row) {
  make("th", text, row).scope = scope;
}

function cellOf(cell, condition, onClick) {
  const button = make("button", cell.mean);
  button.type = "button";
  button.classList.toggle("few", cell.few);
  button.classList.toggle("faded", cell.faded);
  if (!cell.few) Object.assign(button.style, { background: cell.colour, color: cell.ink });
  button.title = `${condition} ${cell.severity}: ${cell.mean}, ${cell.about}`;
  button.setAttribute("aria-label", button.title);
  make("small", `n = ${cell.faces}`, button);
  button.addEventListener("click", onClick);
  return button;
}

// The next cell with a button in the direction of an arrow.
function neighbour(button, key) {
  const cell = button.closest("td"), row = cell.parentElement, place = [...row.children].indexOf(cell);
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key];
  if (!step) return null;
  const rows = [...row.parentElement.children];
  let [line, column] = [rows.indexOf(row), place];
  do { line += step[0]; column += step[1]; } while (rows[line]?.children[column] && !rows[line].children[column].firstChild);
  return rows[line]?.children[column]?.querySelector("button");
}

async function render({ model, el }) {
  await keepListening(model);
  el.style.width = "100%";
  make("style", STYLE, el);
  const table = make("table", "", el), note = make("div", "", el);
  table.className = "m4kit-heat";
  note.className = "m4kit-heat-note";
  const click = (line, column) => {
    model.set("clicked", [line, column, model.get("clicked")[2] + 1]);
    model.save_changes();
  };
  const draw = () => {
    const { title, about, note: words, severities, rows } = model.get("table");
    if (!rows) return;
    const focused = [...table.querySelectorAll("button")].indexOf(document.activeElement);
    table.replaceChildren();
    const caption = make("caption", `${title} `, table);
    make("span", about, caption);
    const head = make("tr", "", make("thead", "", table)), body = make("tbody", "", table);
    heading("", "col", head);
    severities.forEach((severity) => heading(severity === "real" ? severity : `severity ${severity}`, "col", head));
    rows.forEach(([condition, cells], line) => {
      const row = make("tr", "", body);
      heading(condition, "row", row);
      cells.forEach((cell, column) => {
        const place = make("td", "", row);
        if (cell) place.append(cellOf(cell, condition, () => click(line, column)));
      });
    });
    note.textContent = words;
    table.querySelectorAll("button")[focused]?.focus();
  };
  table.addEventListener("keydown", (event) => {
    const next = neighbour(event.target, event.key);
    if (next) next.focus();
    if (event.key.startsWith("Arrow")) event.preventDefault();
  });
  model.on("change:table", draw);
  draw();
  model.send({ kind: "ready" });
  return () => model.off("change:table", draw);
}

export default { render };
