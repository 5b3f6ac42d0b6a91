// Keys pressed in an explorer are its own: without this, "d d" in a view or on a slider deletes the notebook's cell.
// JupyterLab takes no shortcut from an element that has the attribute. Shortcuts with ctrl, alt or the command
// key, and shift with enter, are still its own.
function keepKeys(event) {
  if (!event.target.closest?.(".m4kit-explorer")) return;
  const shortcut = event.ctrlKey || event.metaKey || event.altKey || (event.shiftKey && event.key === "Enter");
  event.target.toggleAttribute("data-lm-suppress-shortcuts", !shortcut);
}

// A slider's handle and its number have no name of their own for screen readers; the label stands beside them.
function nameSlider(event) {
  const slider = event.target.closest?.(".m4kit-explorer .widget-slider");
  const label = slider?.querySelector("label")?.textContent;
  if (label && event.target.matches(".noUi-handle, .widget-readout")) event.target.setAttribute("aria-label", label);
}

// The window hears of a key before JupyterLab does. Once per page, whichever view is first.
if (!globalThis.m4kitKeys) {
  globalThis.m4kitKeys = keepKeys;
  window.addEventListener("keydown", keepKeys, true);
  window.addEventListener("focusin", nameSlider, true);
}
