"""Measures the time from a slider's event to the drawn mesh, in a real JupyterLab in headless Chromium.

    python benchmarks/viewer_latency.py [--moves 60] [--pause 400] [--face] [--kernel]

The script presses a key on the first identity slider of `FaceModelExplorer`; the browser moves the vertices, computes
normals and draws. The time is measured in the page, from the key to the last pixel of the new mesh. Meanwhile the
kernel computes the same mesh and sends it. With `--face` the face is shown without its head. With `--kernel` the
browser waits for the kernel, as it does when a mode is moved for the first time. With software rendering, as in
headless Chromium, drawing takes most of the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from jupyter_browser import browser, chromium, jupyter_lab, new_page, open_and_run

CODE = "from m4kit.explore import FaceModelExplorer\nexplorer = FaceModelExplorer()\n"
FACE_ALONE = 'explorer.toggles["head"].value = False\n'
KERNEL_ONLY = "explorer.canvas.sliders = {}\n"

_MEASURE = """async (moves) => {
  const canvas = document.querySelector(".jp-OutputArea canvas"), gl = canvas.getContext("webgl2");
  const handle = document.querySelector(".widget-slider .noUi-handle");
  const rest = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  const nextMesh = () => new Promise((done, failed) => {
    const before = canvas.dataset.serial;
    setTimeout(() => failed(new Error("the mesh did not follow the slider")), 10000);
    new MutationObserver((_, observer) => {
      if (canvas.dataset.serial === before) return;
      observer.disconnect();
      done();
    }).observe(canvas, { attributes: true });
  });
  const times = [];
  for (let move = 0; move < moves; move++) {
    const key = Math.floor(move / 30) % 2 ? "ArrowLeft" : "ArrowRight";
    const mesh = nextMesh(), began = performance.now();
    handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    await mesh;
    // Waits for the drawing.
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    times.push(performance.now() - began);
    await rest(PAUSE);
  }
  return times;
}"""


def main() -> None:
    """Print median and 95th percentile in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--moves", type=int, default=60)
    parser.add_argument("--pause", type=int, default=400, help="milliseconds between moves")
    parser.add_argument("--face", action="store_true", help="the face without its head")
    parser.add_argument("--kernel", action="store_true", help="the browser waits for the kernel")
    options = parser.parse_args()
    code = CODE + FACE_ALONE * options.face + KERNEL_ONLY * options.kernel + "explorer"
    measure = _MEASURE.replace("PAUSE", str(options.pause))
    if chromium() is None:
        parser.error("expected Chromium on the path or in CHROMIUM, found none")
    with tempfile.TemporaryDirectory() as folder:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        # Without it, JupyterLab asks for a kernel.
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, Path(folder) / "latency.ipynb")
        with jupyter_lab(Path(folder)) as address, browser() as started:
            page = new_page(started)
            open_and_run(page, address, "latency.ipynb")
            page.wait_for_selector(".jp-OutputArea canvas[data-serial]", timeout=60_000)
            page.evaluate(measure, 5)
            times = np.array(page.evaluate(measure, options.moves))
    print(
        f"slider to mesh drawn, {len(times)} moves: median {np.median(times):.0f} ms, 95th percentile "
        f"{np.percentile(times, 95):.0f} ms, longest {times.max():.0f} ms"
    )


if __name__ == "__main__":
    main()
