// Mouse, touch and keyboard of the 3D view.

// Calls the actions turn(across, down) in radians, pan(dx, dy) in pixels, zoom(factor), click(event), reset(), touched() at
// each press, and released() when a movement ends.
function listenToGestures(canvas, actions) {
  const pointers = new Map();
  let drag = null, awake = false;
  const middle = () => {
    const all = [...pointers.values()];
    const mean = (name) => all.reduce((sum, one) => sum + one[name], 0) / all.length;
    const spread = all.length > 1 ? Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) : 0;
    return { x: mean("x"), y: mean("y"), spread };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    drag = { ...middle(), far: pointers.size > 1 ? Infinity : 0 };
    awake = true;
    actions.touched();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag || !pointers.has(event.pointerId)) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const now = middle(), dx = now.x - drag.x, dy = now.y - drag.y;
    if (now.spread && drag.spread) actions.zoom(now.spread / drag.spread);
    drag = { ...now, far: drag.far + Math.abs(dx) + Math.abs(dy) };
    if (pointers.size > 1 || event.shiftKey || event.buttons === 2) actions.pan(dx, dy);
    else actions.turn(dx * 0.008, dy * 0.008);
  });
  const lifted = (event) => {
    const far = drag?.far ?? Infinity;
    pointers.delete(event.pointerId);
    drag = pointers.size ? { ...middle(), far: Infinity } : null;
    if (drag) return;
    if (far < 4 && event.type === "pointerup") actions.click(event);
    // A click may turn the face a little, too.
    if (far) actions.released();
  };
  canvas.addEventListener("pointerup", lifted);
  canvas.addEventListener("pointercancel", lifted);
  canvas.addEventListener("pointerleave", () => { awake = false; });
  // JupyterLab opens its own menu unless it does not see this event.
  canvas.addEventListener("contextmenu", (event) => { event.preventDefault(); event.stopPropagation(); });
  canvas.addEventListener("dblclick", () => actions.reset());
  canvas.addEventListener("wheel", (event) => {
    // Until the view is clicked, the wheel scrolls the notebook. A pinch on a touchpad comes with ctrl.
    if (!awake && !event.ctrlKey) return;
    event.preventDefault();
    actions.zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.002));
  }, { passive: false });
  const keys = {
    ArrowLeft: () => actions.turn(-0.1, 0), ArrowRight: () => actions.turn(0.1, 0), ArrowUp: () => actions.turn(0, -0.1),
    ArrowDown: () => actions.turn(0, 0.1), "+": () => actions.zoom(1.1), "-": () => actions.zoom(1 / 1.1),
    "=": () => actions.zoom(1.1), "0": () => actions.reset(),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
    if (event.key !== "0") actions.released();
  });
}
