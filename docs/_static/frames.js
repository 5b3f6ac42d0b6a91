// A live page tells its height; its frame follows.
window.addEventListener("message", ({ data, source }) => {
  const height = Number(data?.m4kitHeight);
  if (!height) return;
  for (const frame of document.querySelectorAll("iframe.live")) {
    if (frame.contentWindow === source) frame.style.height = `${Math.min(height + 4, 4000)}px`;
  }
});
