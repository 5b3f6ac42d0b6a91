// The faces of a page of photos: one view, which moves to the photo whose face is chosen.
(async () => {
  const buttons = [...document.querySelectorAll("button[data-face]")];
  if (!buttons.length) return;
  const read = (name) => document.getElementById(name).textContent;
  const content = await prepared(JSON.parse(read("content")), read("arrays").trim());
  const root = made("div");
  const open = (button) => {
    for (const one of buttons) one.ariaPressed = String(one === button);
    button.parentElement.after(root);
    const number = Number(button.dataset.face);
    if (globalThis.m4kitPage) globalThis.m4kitPage.choose(number);
    else globalThis.m4kitPage = new LivePage(root, { ...content, face: number, faceList: false });
  };
  for (const button of buttons) button.addEventListener("click", () => open(button));
  for (const row of document.querySelectorAll(".faces")) row.hidden = false;
  open(buttons[0]);
})();
