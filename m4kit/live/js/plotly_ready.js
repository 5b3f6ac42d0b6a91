// All views of a page share one plotly.js: a promise, and the function that fulfils it.
function ready() {
  if (!globalThis.m4kitPlotly) {
    let done;
    const promise = new Promise((resolve) => { done = resolve; });
    globalThis.m4kitPlotly = { promise, done };
  }
  return globalThis.m4kitPlotly;
}
