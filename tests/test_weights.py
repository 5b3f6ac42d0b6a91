"""Finding, checking, reading and writing files of weights; downloads against a server on this machine."""

import hashlib
import json
import pathlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources

import numpy as np
import pytest
import torch

from m4kit import weights
from m4kit.detector import Detector
from m4kit.weights import WeightsError, read_tensors, registry, resolve, sha256_of, write_tensors

from helpers.paths import shared_file

CONTENT = np.random.default_rng(0).bytes(1_500_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.safetensors"
    write_tensors(path, {"x": torch.arange(6.0).reshape(2, 3)}, {"network": "Some"})
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("M4KIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Server:
    """Serves CONTENT at every address but those that end in "gone", and counts the requests.

    `declared` replaces the length in the header.
    """

    def __init__(self):
        self.requests = 0
        self.declared: int | None = None
        self.content = CONTENT
        self.endless = False
        self.together: threading.Barrier | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.requests += 1
                if self.path.endswith("gone"):
                    self.send_error(404)
                    return
                if outer.together is not None:
                    outer.together.wait()
                self.send_response(200)
                if outer.endless:
                    # Without a length the body ends with the connection.
                    self.end_headers()
                    with suppress(OSError):
                        while True:
                            self.wfile.write(outer.content)
                    return
                length = len(outer.content) if outer.declared is None else outer.declared
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(outer.content)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self.http.server_port}"
        self.url = f"{self.root}/some/weights.bin"


@pytest.fixture
def server(monkeypatch, cache):
    monkeypatch.delenv("M4KIT_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def register(monkeypatch, file, sha256, *download):
    """Register one file alone, under the name "other"."""
    entry = weights.Source(file, sha256, "MIT", *download)
    monkeypatch.setattr(weights, "registry", lambda: {"other": entry})


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_every_registered_file_is_in_the_package_and_unchanged():
    for name, source in registry().items():
        assert source.licence
        if source.url is None:
            assert resolve(name).name == source.file


def test_the_registry_holds_all_packaged_weights():
    folder = resources.files("m4kit.assets")
    packaged = {item.name for item in folder.iterdir() if item.name.endswith(".safetensors")}
    assert packaged == {source.file for source in registry().values() if source.url is None}


def test_a_changed_packaged_file_is_an_error_with_both_hashes(monkeypatch):
    register(monkeypatch, "__init__.py", "0" * 64)
    with pytest.raises(WeightsError, match=r"__init__.py: expected SHA-256 0{64}, got \w{64}; install"):
        resolve("other")
    register(monkeypatch, "gone", "0" * 64)
    with pytest.raises(WeightsError, match=r"gone: no such file; install m4kit again"):
        resolve("other")


def test_the_hash_is_the_published_one(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "abc") == expected


def test_a_path_is_taken_as_it_is(file):
    assert resolve(file) == file
    assert resolve(str(file), sha256=sha256_of(file)) == file
    with pytest.raises(WeightsError, match=r"expected SHA-256 ab, got"):
        resolve(file, sha256="ab")


def test_a_missing_path_names_what_is_known(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing.safetensors: no such file.*known: "):
        resolve(tmp_path / "nothing.safetensors")


class TestDownloads:
    def test_a_file_is_downloaded_once(self, server, cache):
        path = resolve(server.url, sha256=DIGEST)
        assert path.read_bytes() == CONTENT
        assert resolve(server.url, sha256=DIGEST) == path
        assert server.requests == 1
        assert files_in(cache) == ["weights.bin"]

    def test_a_hash_is_required(self, server):
        with pytest.raises(WeightsError, match="sha256="):
            resolve(server.url)

    @pytest.mark.parametrize("lie", [-200_000, 200_000])
    def test_a_wrong_length_leaves_no_file_behind(self, server, cache, lie):
        server.declared = len(CONTENT) + lie
        with pytest.raises(WeightsError, match=r"weights\.bin: the download failed .*put it there: "):
            resolve(server.url, sha256=DIGEST)
        assert files_in(cache) == []

    def test_another_file_is_refused_with_both_hashes_and_leaves_nothing(self, server, cache):
        server.content = b"another" * 1000
        came = hashlib.sha256(server.content).hexdigest()
        with pytest.raises(WeightsError, match=f"expected .*{DIGEST} but got {came}.*put it there"):
            resolve(server.url, sha256=DIGEST)
        assert files_in(cache) == []

    def test_a_damaged_file_in_the_cache_is_downloaded_again(self, server):
        path = resolve(server.url, sha256=DIGEST)
        path.write_bytes(CONTENT[:-1])
        assert resolve(server.url, sha256=DIGEST).read_bytes() == CONTENT

    def test_registered_weights_may_have_another_name_than_their_address(self, server, monkeypatch):
        register(monkeypatch, "mine.bin", DIGEST, server.url, len(CONTENT))
        assert resolve("other").name == "mine.bin"

    def test_offline_no_request_is_made_and_the_error_says_where_to_put_the_file(self, server, monkeypatch):
        monkeypatch.setenv("M4KIT_OFFLINE", "1")
        with pytest.raises(WeightsError, match="M4KIT_OFFLINE forbids") as caught:
            resolve(server.url, sha256=DIGEST)
        assert server.url in str(caught.value)
        assert server.requests == 0
        place = pathlib.Path(str(caught.value).rsplit("put it there: ", 1)[1])
        place.parent.mkdir(parents=True)
        place.write_bytes(CONTENT)
        assert resolve(server.url, sha256=DIGEST) == place

    def test_a_proxy_is_used(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", server.root)
        monkeypatch.setenv("no_proxy", "")
        # No such host exists: only the proxy can answer for it.
        path = resolve("http://m4kit.invalid/weights.bin", sha256=DIGEST)
        assert path.read_bytes() == CONTENT

    def test_a_bar_shows_the_progress_on_a_terminal_alone(self, server, monkeypatch, capsys):
        path = resolve(server.url, sha256=DIGEST)
        assert "%" not in capsys.readouterr().err
        path.unlink()
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        resolve(server.url, sha256=DIGEST)
        assert "100%" in capsys.readouterr().err

    def test_a_body_without_end_stops_at_the_known_size(self, server, cache, monkeypatch):
        server.endless = True
        register(monkeypatch, "mine.bin", DIGEST, server.url, len(CONTENT))
        with pytest.raises(WeightsError, match=r"expected at most 1500000 bytes, got more\); try again, or"):
            resolve("other")
        assert files_in(cache) == []

    def test_processes_that_download_at_once_all_get_the_file(self, server, cache):
        # All have seen that there is no file before the first one has it.
        server.together = threading.Barrier(3, timeout=20)
        with ThreadPoolExecutor(3) as pool:
            paths = list(pool.map(lambda _: resolve(server.url, sha256=DIGEST), range(3)))
        assert server.requests == 3
        assert {path.read_bytes() for path in paths} == {CONTENT}
        assert files_in(cache) == ["weights.bin"]

    def test_a_damaged_file_in_the_cache_is_named_as_such_offline(self, server, monkeypatch):
        path = resolve(server.url, sha256=DIGEST)
        path.write_bytes(b"damaged")
        monkeypatch.setenv("M4KIT_OFFLINE", "1")
        digest = hashlib.sha256(b"damaged").hexdigest()
        with pytest.raises(
            WeightsError, match=f"weights.bin: a damaged file, with SHA-256 {digest}, and .*put it there"
        ):
            resolve(server.url, sha256=DIGEST)

    def test_a_missing_file_is_an_error_with_the_servers_answer(self, server):
        with pytest.raises(WeightsError, match=r"gone: the download failed .*404"):
            resolve(f"{server.root}/gone", sha256=DIGEST)

    def test_an_address_without_a_server_is_an_error_that_names_it(self, cache):
        with pytest.raises(WeightsError, match=r"http://127.0.0.1:1/weights.bin: the download failed"):
            resolve("http://127.0.0.1:1/weights.bin", sha256=DIGEST)


def test_the_official_detector_can_be_put_where_its_download_would_lie(cache, monkeypatch):
    monkeypatch.setenv("M4KIT_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"FaceBoxesProd.pth: no such file, and M4KIT_OFFLINE") as caught:
        Detector("faceboxes-official")
    place = pathlib.Path(str(caught.value).rsplit("put it there: ", 1)[1])
    assert place.is_relative_to(cache)
    place.parent.mkdir(parents=True)
    place.write_bytes(shared_file("peers/faceboxes/FaceBoxesProd.pth").read_bytes())
    assert Detector("faceboxes-official")(np.zeros((64, 64, 3), np.uint8)).shape == (0, 5)


def test_tensors_and_words_come_back(file):
    tensors, metadata = read_tensors(file)
    assert torch.equal(tensors["x"], torch.arange(6.0).reshape(2, 3))
    assert metadata == {"network": "Some"}


def test_broken_files_are_named(file, tmp_path):
    whole = file.read_bytes()
    for content in (b"", whole[:-3], whole[:20], b"not weights at all", b"PK\x03\x04" + whole):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"some.safetensors: expected a whole .safetensors file"):
            read_tensors(file)
    with pytest.raises(WeightsError, match="no such file"):
        read_tensors(tmp_path / "gone.safetensors")
    with pytest.raises(WeightsError, match="no such file"):
        read_tensors(tmp_path)


def test_half_precision_is_for_the_large_tensors_alone(tmp_path):
    values = {"matrix": torch.ones(2, 2), "bias": torch.ones(2), "count": torch.tensor(3)}
    write_tensors(tmp_path / "h.safetensors", values, {}, half=True)
    tensors, _ = read_tensors(tmp_path / "h.safetensors")
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "matrix": torch.float16,
        "bias": torch.float32,
        "count": torch.int64,
    }


def test_the_registry_file_is_plain_json():
    entries = json.loads((resources.files("m4kit.assets") / weights.REGISTRY).read_text(encoding="utf-8"))
    for entry in entries.values():
        assert set(entry) - {"url", "bytes"} == {"file", "sha256", "licence"}
        assert ("url" in entry) == ("bytes" in entry)
        assert pathlib.PurePath(entry["file"]).name == entry["file"]
