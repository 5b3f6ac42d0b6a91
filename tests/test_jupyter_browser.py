"""What the tests in a browser stand on works on every machine."""

import threading
from http.server import ThreadingHTTPServer
from types import SimpleNamespace

from helpers.lab_browser import jupyter_browser
from helpers.server import Quiet


def test_a_server_on_this_machine_is_found_though_there_is_a_proxy(tmp_path, monkeypatch):
    # Nothing listens there.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(jupyter_browser, "START_SECONDS", 10)
    (tmp_path / "log").touch()
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            running = SimpleNamespace(poll=lambda: None)
            jupyter_browser._wait_for(f"http://127.0.0.1:{server.server_port}", running, tmp_path / "log")
        finally:
            server.shutdown()
            thread.join()
