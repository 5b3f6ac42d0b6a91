// Part of every view that gets its content by messages: see `javascript.py`.

// anywidget gives a module two seconds to load. If the browser is busy for longer, for instance with a notebook that
// makes hundreds of widgets, the view is drawn, but anywidget drops all later messages of the kernel. This passes the
// messages to the model without waiting for what has failed.
async function listen(model) {
  const real = await model.widget_manager?.get_model?.(model.get("own_id"));
  const { _handle_comm_msg: handle } = real ? Object.getPrototypeOf(Object.getPrototypeOf(real)) : {};
  if (handle && real.comm?.on_msg) real.comm.on_msg((message) => handle.call(real, message));
}

async function keepListening(model) {
  await listen(model).catch((error) => console.warn("m4kit: the view may miss messages:", error));
}
