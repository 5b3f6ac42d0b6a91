"""A download arrives whole, of the right hash, or not at all, whatever the server does."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from m4kit import download as module
from m4kit.download import DownloadError, cached_path, download, sha256_of

CONTENT = np.random.default_rng(0).bytes(1_500_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT, and misbehaves as told; `requests` are the ranges asked for."""

    def __init__(self):
        self.requests: list[str | None] = []
        self.cut_after: int | None = None
        self.cuts = 0
        self.declared: int | None = None
        self.content = CONTENT
        self.ranges = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                wanted = self.headers.get("Range")
                outer.requests.append(wanted)
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and outer.ranges else 0
                whole = outer.content
                if start and start >= len(whole):
                    self.send_error(416)
                    return
                body = whole[start:]
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
                self.send_header(
                    "Content-Length", str(len(body) if outer.declared is None else outer.declared)
                )
                self.end_headers()
                if outer.cut_after is not None and outer.cuts > 0:
                    outer.cuts -= 1
                    body = body[: outer.cut_after]
                self.wfile.write(body)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/some/weights.bin"


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("M4KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("M4KIT_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def fetch(server, **options):
    return download(server.address, sha256=DIGEST, progress=False, **options)


def files_in(cache):
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_the_hash_is_the_known_one(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "abc") == expected


def test_a_file_is_fetched_once(server, tmp_path):
    path = fetch(server)
    assert path.read_bytes() == CONTENT
    assert path == cached_path(server.address, sha256=DIGEST)
    assert fetch(server) == path
    assert len(server.requests) == 1
    assert files_in(tmp_path) == ["weights.bin"]


def test_a_connection_that_is_cut_off_is_taken_up_where_it_broke(server):
    server.cut_after, server.cuts = 400_000, 2
    assert fetch(server).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=400000-", "bytes=800000-"]


def test_what_arrived_before_giving_up_serves_the_next_call(server, tmp_path):
    server.cut_after, server.cuts = 100_000, module.ATTEMPTS
    with pytest.raises(
        DownloadError, match=r"the download failed .*try again, or fetch http.*put it there: "
    ):
        fetch(server)
    assert files_in(tmp_path) == ["weights.bin.part"]
    assert fetch(server).read_bytes() == CONTENT
    assert server.requests[-1] == f"bytes={100_000 * module.ATTEMPTS}-"
    assert files_in(tmp_path) == ["weights.bin"]


def test_a_server_that_knows_no_ranges_sends_all_again(server):
    server.ranges, server.cut_after, server.cuts = False, 400_000, 1
    assert fetch(server).read_bytes() == CONTENT


@pytest.mark.parametrize("lie", [-200_000, 200_000])
def test_a_server_that_lies_about_the_length_leaves_no_file_behind(server, tmp_path, lie):
    server.declared = len(CONTENT) + lie
    server.ranges = False
    with pytest.raises(DownloadError, match=r"weights\.bin"):
        fetch(server)
    assert "weights.bin" not in files_in(tmp_path)


def test_another_file_is_refused_with_both_hashes_and_leaves_nothing(server, tmp_path):
    server.content = b"another" * 1000
    came = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(DownloadError, match=f"expected SHA-256 {DIGEST}, got {came}.*put it there"):
        fetch(server)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("stale", [b"of another file" * 1000, b"longer than all" * 200_000])
def test_a_beginning_that_does_not_fit_is_thrown_away(server, stale):
    path = cached_path(server.address, sha256=DIGEST)
    path.parent.mkdir(parents=True)
    path.with_name("weights.bin.part").write_bytes(stale)
    assert fetch(server).read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_fetched_anew(server):
    path = fetch(server)
    path.write_bytes(CONTENT[:-1])
    assert fetch(server).read_bytes() == CONTENT


def test_the_name_can_be_another_than_the_addresss(server):
    assert fetch(server, file="mine.bin").name == "mine.bin"


def test_offline_nothing_is_asked_for_and_the_file_to_fetch_by_hand_is_named(server, monkeypatch):
    monkeypatch.setenv("M4KIT_OFFLINE", "1")
    place = cached_path(server.address, sha256=DIGEST)
    with pytest.raises(DownloadError, match="M4KIT_OFFLINE forbids") as caught:
        fetch(server)
    assert server.address in str(caught.value)
    assert str(place) in str(caught.value)
    assert server.requests == []
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert fetch(server) == place


def test_a_proxy_is_respected(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address.removesuffix("/some/weights.bin"))
    monkeypatch.setenv("no_proxy", "")
    # No such host exists: only the proxy can answer for it.
    path = download("http://m4kit.invalid/weights.bin", sha256=DIGEST, progress=False)
    assert path.read_bytes() == CONTENT


def test_a_bar_shows_how_much_has_come(server, capsys):
    download(server.address, sha256=DIGEST)
    assert "weights.bin: 100%" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/weights.bin", "nonsense/weights.bin"])
def test_an_address_that_does_not_answer_is_an_error_that_names_it(address, monkeypatch, tmp_path):
    monkeypatch.setenv("M4KIT_CACHE", str(tmp_path))
    with pytest.raises(DownloadError, match="the download failed"):
        download(address, sha256=DIGEST, progress=False)
