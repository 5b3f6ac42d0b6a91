"""Write the screenshots of the explorers in `docs/`, from notebooks 02, 03 and 10 in a real JupyterLab.

    python scripts/build_screenshots.py

`docs/mesh_viewer.jpg` shows the first viewer of notebook 02 with the face turned a little, `docs/face_model.jpg` the
explorer of notebook 03 while it explains a mode, and `docs/video_explorer.jpg` the one of notebook 10.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from jupyter_browser import browser, chromium, jupyter_lab, new_page, open_and_run
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 1080
LARGEST = 150_000
"""Largest size of a picture, in bytes."""

TIMEOUT = 240


def main() -> None:
    """Write the pictures and print their sizes."""
    if chromium() is None:
        sys.exit("expected Chromium on the path or in CHROMIUM, found none")
    with tempfile.TemporaryDirectory() as folder:
        # JupyterLab saves notebooks that it runs, so it gets copies.
        for name in ("notebooks", "sample_images"):
            shutil.copytree(ROOT / name, Path(folder) / name)
        with jupyter_lab(Path(folder)) as address, browser() as started:
            for notebook, prepare, name in (
                ("02_mesh_viewer", turn_a_little, "mesh_viewer"),
                ("03_face_model", explain_a_mode, "face_model"),
                ("10_many_photos_and_video", wait_for_pictures, "video_explorer"),
            ):
                page = new_page(started, width=WIDTH, height=1600, scale=1.5)
                open_and_run(page, address, f"notebooks/{notebook}.ipynb", timeout=TIMEOUT)
                content = shot(page, prepare)
                page.close()
                path = ROOT / "docs" / f"{name}.jpg"
                path.write_bytes(content)
                print(f"{path}: {len(content) / 1000:.0f} kB")


def shot(page, prepare: Callable) -> bytes:
    """Encode a picture of the notebook's first explorer as a JPEG."""
    canvas = page.locator(".jp-OutputArea canvas[data-serial]").first
    canvas.wait_for(timeout=60_000)
    explorer = page.locator(".jp-OutputArea-output .jupyter-widgets.widget-vbox").first
    explorer.scroll_into_view_if_needed()
    prepare(page, canvas)
    picture = Image.open(io.BytesIO(explorer.screenshot())).convert("RGB")
    for quality in range(90, 30, -5):
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=quality, optimize=True)
        if buffer.tell() <= LARGEST:
            return buffer.getvalue()
    raise RuntimeError(
        f"expected a picture of at most {LARGEST} bytes, got {buffer.tell()} at quality {quality}"
    )


def turn_a_little(page, canvas) -> None:
    """Drag the face a little to the side and down."""
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 48, y + 8, steps=6)
    page.mouse.up()
    page.mouse.move(0, 0)
    page.wait_for_timeout(2000)


def wait_for_pictures(page, canvas) -> None:
    """Wait until the video's pictures have come, and the mesh follows."""
    page.wait_for_function(
        "() => Number(document.querySelector('.m4kit-player canvas').dataset.loaded) === 120"
    )
    page.wait_for_timeout(3000)


def explain_a_mode(page, canvas) -> None:
    """Press the second slider's button, and wait until the face is near an end of its swing."""
    page.get_by_title("Explain identity 2:").first.click()
    page.mouse.move(0, 0)
    page.wait_for_function("() => Number(document.querySelector('canvas[data-swing]')?.dataset.swing) > 2.6")


if __name__ == "__main__":
    main()
