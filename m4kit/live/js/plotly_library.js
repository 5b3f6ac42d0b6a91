// Unpacks plotly.js, which `plotly_view.py` puts into SOURCE.
async function unpack() {
  const bytes = Uint8Array.from(atob(SOURCE), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  // Without a module system in sight, plotly.js puts itself into the window.
  new Function("module", "exports", "define", text).call(globalThis);
  ready().done(globalThis.Plotly);
}

// Not awaited: anywidget gives up on a slow start.
export default { initialize() { unpack(); } };
