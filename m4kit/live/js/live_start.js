// Starts the page when it is read.
(async () => {
  const read = (name) => document.getElementById(name).textContent;
  const root = document.getElementById("live");
  const content = await prepared(JSON.parse(read("content")), read("arrays").trim());
  const still = root.querySelector("img")?.src;
  if (still) content.still = bytesOfUrl(still);
  globalThis.m4kitPage = new LivePage(root, content);
})();
