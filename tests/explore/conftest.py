"""What tests of the explorers share: one JupyterLab for those in a browser, and no errors for all others."""

import contextlib
from types import SimpleNamespace

import pytest

from m4kit.explore.explorer import Explorer

from helpers.lab_browser import jupyter_browser, write_notebook


@pytest.fixture(autouse=True)
def no_errors(monkeypatch):
    """No explorer of a test may have `errors` at its end: a test that expects some takes them out."""
    begin, made = Explorer.__init__, []

    def remembered(explorer):
        begin(explorer)
        made.append(explorer)

    monkeypatch.setattr(Explorer, "__init__", remembered)
    yield
    assert [error for explorer in made for error in explorer.errors] == []


@pytest.fixture(scope="session")
def lab(browser, tmp_path_factory):
    """A JupyterLab that serves `folder` at `address`; `open` runs a notebook of code cells in a new page."""
    folder = tmp_path_factory.mktemp("lab")

    @contextlib.contextmanager
    def opened(notebook, cells):
        write_notebook(folder / notebook, cells)
        page = jupyter_browser.new_page(browser, height=1500)
        jupyter_browser.open_and_run(page, address, notebook)
        yield page
        page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
        page.close()

    with jupyter_browser.jupyter_lab(folder) as address:
        yield SimpleNamespace(folder=folder, address=address, open=opened)
