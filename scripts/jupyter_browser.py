"""A real JupyterLab in a real headless browser, for tests, screenshots and benchmarks of the explorers.

Needs Chromium (`chromium`, `chromium-browser` or `google-chrome` on the path, or the environment variable CHROMIUM)
and the package playwright, which controls it; nothing is downloaded.
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
    # Without a graphics card, the CPU composes the page around a canvas faster than WebGL does.
    "--disable-gpu-compositing",
    "--disable-background-networking",
)
START_SECONDS = 180

# No dialogs, no news, and cells outside the window are drawn, too.
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}


def chromium() -> str | None:
    """The path of the browser, or None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """Serve a folder with JupyterLab, and return its address; it stops at the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        settings = Path(home) / "settings"
        settings.mkdir()
        (settings / "overrides.json").write_text(json.dumps(_SETTINGS))
        # Open3D brings an extension for which JupyterLab would recommend a build, in a dialog over everything.
        (settings / "page_config.json").write_text(json.dumps({"buildCheck": False}))
        # The user's own Jupyter settings are neither read nor changed.
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
    # A proxy does not know this machine's own address.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), direct.open(address, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start; its log ends with:\n{log.read_text()[-3000:]}")


@contextlib.contextmanager
def browser() -> Iterator:
    """Start the browser, as a playwright `Browser`; it stops at the end of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield started
        finally:
            started.close()


def new_page(started, *, width: int = 1300, height: int = 1000, scale: float = 1.0):
    """Open a page with `scale` device pixels per CSS pixel; `page.m4kit_errors` lists its console errors."""
    page = started.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
    page.m4kit_errors = []
    page.on("console", lambda message: message.type == "error" and page.m4kit_errors.append(message.text))
    page.on("pageerror", lambda error: page.m4kit_errors.append(str(error)))
    return page


def open_and_run(page, address: str, notebook: str, *, fragment: str = "", timeout: float = 90) -> None:
    """Open a notebook in JupyterLab, run all its cells, and wait until they are done.

    Each step may take `timeout` seconds. Raises `AssertionError` with the state of the notebook if the run takes
    longer or a cell fails.
    """
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    # Without `reset`, JupyterLab restores what was open before and asks for the notebook's kernel.
    page.goto(f"{address}/lab/tree/{notebook}?reset{fragment}", timeout=1000 * timeout)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=1000 * timeout)
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=1000 * timeout,
    )
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    # `evaluate` has no timeout: if a message of the kernel gets lost, it would wait forever.
    page.evaluate(_RUN)
    try:
        page.wait_for_function("() => window.m4kitRan !== undefined", timeout=1000 * timeout)
    except PlaywrightTimeout:
        raise AssertionError(f"{notebook}: not done after {timeout} s; {page.evaluate(_STATE)}") from None
    if (ran := page.evaluate("() => window.m4kitRan")) is not True:
        raise AssertionError(f"{notebook}: a cell failed ({ran}); {page.evaluate(_STATE)}")
    page.wait_for_timeout(300)


def wait_until(page, condition: str, argument=None, *, patience: float = 20) -> None:
    """Wait until a JavaScript condition holds, however long the kernel works.

    Raises `AssertionError` with the state of the notebook once the kernel has been idle for `patience` seconds.
    """
    idle_since = time.monotonic()
    while not page.evaluate(condition, argument):
        if page.evaluate(_BUSY):
            idle_since = time.monotonic()
        if time.monotonic() - idle_since > patience:
            raise AssertionError(f"{condition}: not true while the kernel is idle; {page.evaluate(_STATE)}")
        page.wait_for_timeout(200)


_BUSY = """() => {
  const kernel = window.jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel;
  return kernel?.status !== 'idle';
}"""

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
