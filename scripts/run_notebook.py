"""Run notebooks in place, and keep the outputs that a reader without a kernel needs.

    python scripts/run_notebook.py notebooks/*.ipynb

Live widgets, their state and times are removed: the still picture of an explorer is an output of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"


def main() -> None:
    """Run the notebooks named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    for path in parser.parse_args().notebooks:
        notebook = nbformat.read(path, 4)
        NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}).execute()
        notebook.metadata.pop("widgets", None)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            for output in cell.get("outputs", []):
                output.get("data", {}).pop(WIDGET, None)
            if "outputs" in cell:
                cell.outputs = [output for output in cell.outputs if output.get("data") != {}]
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
