// Starts the page when it is read. In a frame, it has no heading of its own and tells its height to the page around it.
if (window !== window.parent) {
  document.documentElement.classList.add("framed");
  const tell = () => window.parent.postMessage({ m4kitHeight: document.body.scrollHeight }, "*");
  new ResizeObserver(tell).observe(document.body);
}
(async () => {
  const read = (name) => document.getElementById(name).textContent;
  const root = document.getElementById("live");
  const content = await prepared(JSON.parse(read("content")), read("arrays").trim());
  const still = root.querySelector("img")?.src;
  if (still) content.still = bytesOfUrl(still);
  globalThis.m4kitPage = new LivePage(root, content);
})();
