"""`scripts/register_weights.py`: packaged weights name the packaged face model."""

import json

import pytest
import torch

from m4kit.face_model import packaged_model
from m4kit.network import M4Net
from m4kit.weights import WeightsError, sha256_of

from helpers.paths import ROOT


@pytest.fixture
def register(monkeypatch, tmp_path):
    """The script's `main` on words, with an empty folder in place of the package's."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import register_weights as script

    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(script, "ASSETS", tmp_path / "assets")
    return lambda *words: script.main([*map(str, words), "--licence", "a test"])


def saved(path, face_model):
    network = M4Net("small")
    network.notes["face_model"] = face_model
    network.save(path)
    return network


def test_weights_for_the_packaged_face_model_are_registered(register, tmp_path):
    saved(tmp_path / "w.safetensors", packaged_model().fingerprint)
    register("my-weights", tmp_path / "w.safetensors")
    asset = tmp_path / "assets" / "my_weights.safetensors"
    assert M4Net.load(asset).notes["licence"] == "a test"
    entries = json.loads((tmp_path / "assets" / "weights.json").read_text(encoding="utf-8"))
    assert entries == {"my-weights": {"file": asset.name, "sha256": sha256_of(asset), "licence": "a test"}}


@pytest.mark.parametrize("named", ["another", ""])
def test_weights_for_another_one_are_registered_only_on_request(register, tmp_path, named):
    network = saved(tmp_path / "w.safetensors", named)
    message = rf"w.safetensors: .* {packaged_model().fingerprint}, got some for an.*; .* --same-parameters"
    with pytest.raises(WeightsError, match=message):
        register("my-weights", tmp_path / "w.safetensors")
    assert not list((tmp_path / "assets").iterdir())
    register("my-weights", tmp_path / "w.safetensors", "--same-parameters")
    loaded = M4Net.load(tmp_path / "assets" / "my_weights.safetensors")
    assert loaded.notes["face_model"] == packaged_model().fingerprint
    assert torch.equal(loaded.last_head.weight, network.last_head.weight)


def test_the_one_in_the_package_is_registered_again(register, tmp_path):
    saved(tmp_path / "assets" / "my_weights.safetensors", "")
    register("my-weights", "--same-parameters")
    loaded = M4Net.load(tmp_path / "assets" / "my_weights.safetensors")
    assert loaded.notes["face_model"] == packaged_model().fingerprint
