import json
import pathlib
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from importlib import resources

import numpy as np
import pytest
import torch

from m4kit import weights
from m4kit.detector import Detector
from m4kit.weights import WeightsError, read_tensors, registry, resolve, sha256_of, write_tensors

from helpers.paths import shared_file
from helpers.server import Quiet


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.safetensors"
    write_tensors(path, {"x": torch.arange(6.0).reshape(2, 3)}, {"network": "Some"})
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("M4KIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


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
    entry = weights.Source("other", "__init__.py", "0" * 64, "MIT")
    monkeypatch.setattr(weights, "registry", lambda: {"other": entry})
    with pytest.raises(WeightsError, match=r"__init__.py: expected SHA-256 0{64}, got \w{64}; install"):
        resolve("other")
    entry = weights.Source("other", "gone", "0" * 64, "MIT")
    monkeypatch.setattr(weights, "registry", lambda: {"other": entry})
    with pytest.raises(WeightsError, match=r"gone: no such file; install m4kit anew"):
        resolve("other")


def test_a_path_is_taken_as_it_is(file):
    assert resolve(file) == file
    assert resolve(str(file), sha256=sha256_of(file)) == file
    with pytest.raises(WeightsError, match=r"expected SHA-256 ab, got"):
        resolve(file, sha256="ab")


def test_a_missing_path_names_what_is_known(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing.safetensors: no such file.*known: "):
        resolve(tmp_path / "nothing.safetensors")


def test_a_url_is_downloaded_and_needs_a_hash(file, address, cache):
    url = f"{address}/{file.name}"
    path = resolve(url, sha256=sha256_of(file))
    assert path.is_relative_to(cache)
    assert path.read_bytes() == file.read_bytes()
    with pytest.raises(WeightsError, match="sha256="):
        resolve(url)


def test_a_failed_download_is_an_error_of_weights(address, cache):
    with pytest.raises(WeightsError, match=r"gone.safetensors: the download failed .*404"):
        resolve(f"{address}/gone.safetensors", sha256="1" * 64)


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
        assert set(entry) - {"url"} == {"file", "sha256", "licence"}
        assert pathlib.PurePath(entry["file"]).name == entry["file"]
