"""From a slider's event to the mesh drawn, in a real JupyterLab in headless Chromium.

    python benchmarks/viewer_latency.py [--moves 60]

A key pressed on the first identity slider of `FaceModelExplorer` goes to the kernel, which computes all vertices and
sends them; the browser computes normals and draws. The time runs in the page, from the key to the frame in which the
mesh that the key asked for is drawn. With software rendering, as in headless Chromium, drawing is a large part of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from jupyter_browser import browser_page, chromium, jupyter_lab, open_and_run

CODE = "from m4kit.explore import FaceModelExplorer\nFaceModelExplorer()"

_MEASURE = """async (moves) => {
  const canvas = document.querySelector(".jp-OutputArea canvas");
  const handle = document.querySelector(".widget-slider .noUi-handle");
  const times = [];
  for (let move = 0; move < moves; move++) {
    const before = canvas.dataset.serial;
    const began = performance.now();
    const key = Math.floor(move / 30) % 2 ? "ArrowLeft" : "ArrowRight";
    handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    while (canvas.dataset.serial === before) {
      await new Promise(requestAnimationFrame);
      if (performance.now() - began > 10000) throw new Error("the mesh did not follow the slider");
    }
    times.push(performance.now() - began);
    await new Promise((done) => setTimeout(done, 50));
  }
  return times;
}"""


def main() -> None:
    """Print median and 95th percentile in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--moves", type=int, default=60)
    options = parser.parse_args()
    if chromium() is None:
        parser.error("expected Chromium on the path or in CHROMIUM, found none")
    with tempfile.TemporaryDirectory() as folder:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
        # Without it JupyterLab asks which kernel to take.
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, Path(folder) / "latency.ipynb")
        with jupyter_lab(Path(folder)) as address, browser_page() as page:
            open_and_run(page, address, "latency.ipynb")
            page.wait_for_selector(".jp-OutputArea canvas[data-serial]", timeout=60_000)
            page.evaluate(_MEASURE, 5)
            times = np.array(page.evaluate(_MEASURE, options.moves))
    print(
        f"slider to mesh drawn, {len(times)} moves: median {np.median(times):.0f} ms, 95th percentile "
        f"{np.percentile(times, 95):.0f} ms, longest {times.max():.0f} ms"
    )


if __name__ == "__main__":
    main()
