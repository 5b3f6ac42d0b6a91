"""A real JupyterLab in a real browser, headless: for tests, screenshots and the benchmark of the explorers.

Needs Chromium (`chromium`, `chromium-browser` or `google-chrome` on the path, or the environment variable CHROMIUM)
and the package playwright, which drives it; nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

FLAGS = (
    "--no-sandbox",
    # WebGL without a graphics card.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    # The processor puts the page around a canvas together faster than WebGL without a graphics card does.
    "--disable-gpu-compositing",
    "--disable-background-networking",
)
START_SECONDS = 180

# No questions, no news, and cells outside the window are drawn too.
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}


def chromium() -> str | None:
    """The browser's path, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab that serves a folder; it is stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        settings = Path(home) / "settings"
        settings.mkdir()
        (settings / "overrides.json").write_text(json.dumps(_SETTINGS))
        # For an extension that comes with Open3D, JupyterLab would recommend a build in a window over all.
        (settings / "page_config.json").write_text(json.dumps({"buildCheck": False}))
        # Nothing of the user's own Jupyter is read or changed.
        own = {
            name: str(Path(home) / name.lower())
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        }
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"),
            *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="),
            *(f"--ServerApp.root_dir={folder}", f"--LabApp.app_settings_dir={settings}"),
            f"--LabApp.user_settings_dir={home}/user",
            f"--LabApp.workspaces_dir={home}/workspaces",
        ]
        with (Path(home) / "log").open("wb") as log:
            server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api", server, Path(home) / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    # A proxy knows nothing of this machine's own address.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), direct.open(address, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start; it said:\n{log.read_text()[-3000:]}")


@contextlib.contextmanager
def browser_page(*, width: int = 1300, height: int = 1000, scale: float = 1.0) -> Iterator:
    """A playwright page, `scale` device pixels to each of its own.

    What its console says as an error is in `page.m4kit_errors`.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
        page.m4kit_errors = []
        page.on("console", lambda said: said.type == "error" and page.m4kit_errors.append(said.text))
        page.on("pageerror", lambda error: page.m4kit_errors.append(str(error)))
        try:
            yield page
        finally:
            browser.close()


def open_and_run(page, address: str, notebook: str, *, fragment: str = "", timeout: float = 90) -> None:
    """Open a notebook in JupyterLab, run all its cells, and wait until the kernel is idle again.

    Each step may take `timeout` seconds; a run that takes longer raises `AssertionError` and says what it waits for.
    """
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    # Without `reset`, what was open before comes back, and JupyterLab asks which kernel the notebook shall have.
    page.goto(f"{address}/lab/tree/{notebook}?reset{fragment}", timeout=1000 * timeout)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=1000 * timeout)
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=1000 * timeout,
    )
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    # `evaluate` has no limit of time: if a message of the kernel gets lost, waiting within it never ends.
    page.evaluate(_RUN)
    try:
        page.wait_for_function("() => window.m4kitRan !== undefined", timeout=1000 * timeout)
    except PlaywrightTimeout:
        raise AssertionError(f"{notebook}: not done in {timeout} s; {page.evaluate(_STATE)}") from None
    if (ran := page.evaluate("() => window.m4kitRan")) is not True:
        raise AssertionError(f"{notebook}: a cell failed ({ran}); {page.evaluate(_STATE)}")
    page.wait_for_timeout(300)


_RUN = """() => {
  window.m4kitRan = undefined;
  window.jupyterapp.commands.execute("notebook:run-all-cells").then(
    (ran) => { window.m4kitRan = ran ?? true; }, (error) => { window.m4kitRan = String(error); });
}"""

_STATE = """() => {
  const words = (selector) => [...document.querySelectorAll(selector)].map((one) => one.innerText.slice(0, 300));
  const running = [...document.querySelectorAll('.jp-CodeCell')].filter(
    (cell) => cell.querySelector('.jp-InputPrompt')?.innerText.includes('*'));
  const kernel = window.jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel;
  return JSON.stringify({
    kernel: kernel?.status, connection: kernel?.connectionStatus, dialogs: words('.jp-Dialog'),
    running: running.map((cell) => cell.querySelector('.jp-InputArea-editor').innerText.slice(0, 300)),
    errors: words('.jp-OutputArea-output[data-mime-type*="stderr"]'),
  });
}"""
