"""A real JupyterLab in a real browser, for tests."""

import importlib.util
import sys

import nbformat

from helpers.paths import ROOT


def _browser_module():
    path = ROOT / "scripts" / "jupyter_browser.py"
    spec = importlib.util.spec_from_file_location("jupyter_browser", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["jupyter_browser"] = module
    spec.loader.exec_module(module)
    return module


jupyter_browser = _browser_module()

SLOW_MODULES = """AbortSignal.timeout = () => {
  const over = new AbortController();
  queueMicrotask(() => over.abort());
  return over.signal;
}"""
"""A script for a page: anywidget stops waiting for a view's module at once."""


def write_notebook(path, cells):
    """Write a notebook of these code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    # Without it, JupyterLab asks for a kernel.
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
