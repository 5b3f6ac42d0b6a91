"""One JupyterLab and one browser for all browser tests of the explorers."""

import contextlib
from types import SimpleNamespace

import pytest

from helpers.lab_browser import jupyter_browser, write_notebook


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
