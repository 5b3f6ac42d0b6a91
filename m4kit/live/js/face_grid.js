// A grid of faces with captions, which the kernel sends as messages with JPEG buffers; a click is sent back.

const STYLE = `
.m4kit-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 8px;
  font: 12px/1.35 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #1f2328); }
.m4kit-grid button { all: unset; display: flex; flex-direction: column; cursor: pointer; overflow: hidden;
  border: 1px solid var(--jp-border-color2, #d8dee4); border-top: 3px solid #2da44e; border-radius: 6px;
  background: var(--jp-layout-color1, #fff); }
.m4kit-grid button.bad { border-top-color: #d1443a; }
.m4kit-grid button:hover, .m4kit-grid button:focus-visible, .m4kit-grid button.chosen {
  outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px; }
.m4kit-grid img { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; }
.m4kit-grid b { display: block; font-weight: 600; padding: 4px 7px 0; }
.m4kit-grid span { display: block; padding: 0 7px 6px; color: var(--jp-ui-font-color2, #57606a); }
`;

function cardOf(face, address, onClick) {
  const card = document.createElement("button"), image = document.createElement("img");
  card.type = "button";
  card.title = image.alt = face.name;
  card.classList.toggle("bad", face.bad);
  image.src = address;
  const title = document.createElement("b"), text = document.createElement("span");
  title.textContent = face.title;
  text.textContent = face.text;
  card.append(image, title, text);
  card.addEventListener("click", () => onClick(card));
  return card;
}

async function render({ model, el }) {
  await keepListening(model);
  const style = document.createElement("style"), grid = document.createElement("div");
  style.textContent = STYLE;
  grid.className = "m4kit-grid";
  el.append(style, grid);
  let addresses = [];
  const forget = () => addresses.forEach((address) => URL.revokeObjectURL(address));
  const show = (message, buffers) => {
    // The kernel sends the same again for another view of the grid.
    if (message.kind !== "faces" || grid.dataset.serial === String(message.serial)) return;
    forget();
    addresses = buffers.map((buffer) => URL.createObjectURL(new Blob([buffer], { type: "image/jpeg" })));
    grid.replaceChildren(...message.faces.map((face, number) => cardOf(face, addresses[number], (card) => {
      grid.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
      card.classList.add("chosen");
      model.send({ kind: "clicked", row: face.row });
    })));
    grid.dataset.serial = message.serial;
  };
  model.on("msg:custom", show);
  model.send({ kind: "ready" });
  return () => { model.off("msg:custom", show); forget(); };
}

export default { render };
