"""Writes the site's live pages: the explorers and charts of the notebooks that work without a kernel.

    python docs/live_pages.py OUT

runs the notebooks' cells up to the last one with such a result and writes `OUT/NOTEBOOK_CELL.html` for each, and
`OUT/face.html` for the first page of the site. Cells are counted from 0, with those of text.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import plotly.graph_objects as go
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from plotly.offline import get_plotlyjs

import m4kit
from m4kit.explore import ActivationExplorer
from m4kit.explore.explorer import MeshExplorer
from m4kit.files import write_whole

ROOT = Path(__file__).parent.parent
PLOTLY = "plotly.min.js"
_KINDS = ("MeshViewer of", "FaceModelExplorer of", "HeadWeightExplorer of", "ActivationExplorer of")


def live_cells(notebook: dict) -> list[int]:
    """The numbers of a notebook's cells whose stored output can be a live page."""
    return [number for number, cell in enumerate(notebook["cells"]) if _is_live(cell)]


def _is_live(cell: dict) -> bool:
    outputs = [output.get("data", {}) for output in cell.get("outputs", ())]
    texts = ["".join(data.get("text/plain", "")) for data in outputs]
    charts = any("application/vnd.plotly.v1+json" in data for data in outputs)
    return charts or any(text.startswith(_KINDS) for text in texts)


def write_pages(path: Path, out: Path) -> None:
    """Run a notebook's cells, and write the pages of those that can be live."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    wanted = live_cells({"cells": cells})
    if not wanted:
        return
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    os.chdir(path.parent)
    for number, cell in enumerate(cells[: wanted[-1] + 1]):
        if cell["cell_type"] != "code":
            continue
        with capture_output() as captured:
            done = shell.run_cell("".join(cell["source"]))
        if not done.success:
            raise RuntimeError(f"{path.name}, cell {number} failed:\n{captured.stdout}{captured.stderr}")
        if number in wanted:
            write_whole(out / f"{path.stem}_{number}.html", _page(done.result).encode())


def _page(shown: MeshExplorer | ActivationExplorer | go.Figure) -> str:
    if isinstance(shown, MeshExplorer):
        return shown.to_html()
    figures = [shown.curves, shown.function] if isinstance(shown, ActivationExplorer) else [shown]
    charts = [
        go.Figure(figure).to_html(
            full_html=False, include_plotlyjs=False, config={"responsive": True, "displayModeBar": False}
        )
        for figure in figures
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Charts</title>'
        "<style>body { margin: 0; background: #fff; color-scheme: light }</style>"
        f'<script src="{PLOTLY}"></script></head><body>{"".join(charts)}<script>'
        "new ResizeObserver(() => parent.postMessage({ m4kitHeight: document.body.scrollHeight }, '*'))"
        ".observe(document.body);</script></body></html>"
    )


def main(out: Path) -> None:
    """Write all pages into a folder."""
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / PLOTLY, get_plotlyjs().encode())
    m4kit.predict(ROOT / "sample_images" / "astronaut.jpg").to_html(out / "face.html")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        write_pages(path, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
