// Controls of a live page: plain HTML, so that keyboard, touch and screen readers work as everywhere.

function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function choice(label, options, changed) {
  const select = made("select", { "aria-label": label }, ...options.map(([value, words]) => made("option", { value }, words)));
  select.addEventListener("change", () => changed(select.value));
  const whole = made("label", { class: "choice" }, made("span", {}, label), select);
  return Object.assign(whole, { select });
}

function push(label, pressed, { title = label } = {}) {
  const button = made("button", { type: "button", title }, label);
  button.addEventListener("click", () => pressed(button));
  return button;
}

function toggle(label, on, changed, { title = label } = {}) {
  const button = push(label, () => { button.ariaPressed = String(button.ariaPressed !== "true"); changed(button.ariaPressed === "true"); }, { title });
  button.ariaPressed = String(on);
  return button;
}

// A slider with its label in front and its number behind.
function slider(label, { value, min, max, step, name = label, sign = false, digits = 2 }, moved) {
  const input = made("input", { type: "range", min: String(min), max: String(max), step: String(step), "aria-label": name });
  const number = made("output");
  const write = () => {
    const text = Number(input.value).toFixed(digits).replace("-", "\u2212");
    number.textContent = sign && Number(input.value) > 0 ? `+${text}` : text;
    input.setAttribute("aria-valuetext", number.textContent);
  };
  input.addEventListener("input", () => { write(); moved(Number(input.value)); });
  const row = made("div", { class: "slider" }, made("span", {}, label), input, number);
  Object.assign(row, { input, set: (to) => { input.value = to; write(); } });
  row.set(value);
  return row;
}

function group(label, ...children) {
  return made("div", { class: "row", role: "group", "aria-label": label }, made("span", { class: "soft" }, label), ...children);
}

function legendOf({ unit, limits, table, names, note }) {
  if (names) {
    const items = Object.entries(names).map(([name, colour]) => {
      const square = made("i");
      square.style.background = `rgb(${colour.join()})`;
      return made("span", {}, square, name);
    });
    return made("div", { class: "names" }, ...items);
  }
  if (!unit) return made("div", { class: "soft" }, note ?? "");
  const bar = made("div", { class: "bar" });
  const stops = Array.from({ length: 12 }, (_, k) => 3 * Math.round((255 * k) / 11));
  bar.style.background = `linear-gradient(to right, ${stops.map((at) => `rgb(${table.slice(at, at + 3).join()})`).join()})`;
  const [low, high] = limits.map((value) => String(Number(value.toPrecision(3))).replace("-", "\u2212"));
  const words = made("div", { class: "ends" }, ...[low, unit, high].map((text) => made("span", {}, text)));
  return made("div", { role: "img", "aria-label": `colours from ${low} to ${high} ${unit}` }, bar, words);
}
