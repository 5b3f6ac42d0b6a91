// A grid of faces with captions. The kernel sends a page of them as messages with JPEG buffers; a click on one tells
// the kernel which it was.

const STYLE = `
.m4kit-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 8px;
  font: 12px/1.35 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #1f2328); }
.m4kit-grid button { all: unset; display: flex; flex-direction: column; cursor: pointer; border: 1px solid var(--jp-border-color2, #d8dee4); border-radius: 6px;
  border-top: 3px solid #2da44e; overflow: hidden; background: var(--jp-layout-color1, #fff); }
.m4kit-grid button.bad { border-top-color: #d1443a; }
.m4kit-grid button:hover, .m4kit-grid button:focus-visible, .m4kit-grid button.chosen {
  outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px; }
.m4kit-grid img { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; }
.m4kit-grid b { display: block; font-weight: 600; padding: 4px 7px 0; }
.m4kit-grid span { display: block; padding: 0 7px 6px; color: var(--jp-ui-font-color2, #57606a); }
`;

async function render({ model, el }) {
  await keepListening(model);
  const style = document.createElement("style");
  style.textContent = STYLE;
  const grid = document.createElement("div");
  grid.className = "m4kit-grid";
  el.append(style, grid);
  let addresses = [];
  const show = (message, buffers) => {
    // The same is said again for another view of the grid.
    if (message.kind !== "faces" || grid.dataset.serial === String(message.serial)) return;
    addresses.forEach((address) => URL.revokeObjectURL(address));
    addresses = buffers.map((buffer) => URL.createObjectURL(new Blob([buffer], { type: "image/jpeg" })));
    grid.replaceChildren(...message.faces.map((face, number) => {
      const card = document.createElement("button");
      card.type = "button";
      card.title = face.name;
      card.dataset.row = face.row;
      card.classList.toggle("bad", face.bad);
      card.classList.toggle("chosen", face.chosen);
      const image = document.createElement("img");
      image.alt = face.name;
      image.src = addresses[number];
      const title = document.createElement("b");
      title.textContent = face.title;
      const words = document.createElement("span");
      words.textContent = face.words;
      card.append(image, title, words);
      card.addEventListener("click", () => {
        grid.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
        card.classList.add("chosen");
        model.send({ kind: "clicked", row: face.row });
      });
      return card;
    }));
    grid.dataset.serial = message.serial;
  };
  model.on("msg:custom", show);
  model.send({ kind: "ready" });
  return () => {
    model.off("msg:custom", show);
    addresses.forEach((address) => URL.revokeObjectURL(address));
  };
}

export default { render };
