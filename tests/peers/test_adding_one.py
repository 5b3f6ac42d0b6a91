"""The page on peers shows how to add one: its code works, in Python and on the command line."""

import re

import numpy as np
import pytest

from m4kit import peers
from m4kit.cli import main
from m4kit.prediction import Prediction

from helpers.aflw_like import write_set
from helpers.paths import ROOT, SAMPLES


@pytest.fixture
def mean_face(monkeypatch):
    """The class of the page, added as the page does."""
    monkeypatch.setattr(peers, "PEERS", dict(peers.PEERS))
    page = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import numpy.*?)```", page, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    names = {}
    exec(code, names)
    return names["MeanFace"]


def test_it_gives_predictions(mean_face):
    prediction = peers.load_peer("mean-face", "nothing")(SAMPLES / "grace_hopper.jpg")
    assert isinstance(prediction, Prediction)
    (face,) = prediction
    assert tuple(face.pose) == pytest.approx((0, 0, 0))
    # The second crop is centred on the landmarks of the first, and the landmarks fill most of it.
    low, high = face.landmarks[:, :2].min(axis=0), face.landmarks[:, :2].max(axis=0)
    np.testing.assert_allclose((low + high) / 2, face.crop.centre, atol=0.1 * face.crop.size)
    assert 0.5 < (high - low).max() / face.crop.size < 0.9


def test_evaluate_takes_it_by_its_name(mean_face, tmp_path, capsys):
    data = write_set(tmp_path / "set")
    arguments = [
        "--dataset",
        "aflw2000-3d",
        data,
        "--peers",
        "mean-face",
        "--peer-files",
        tmp_path,
        "--quiet",
    ]
    assert main(["evaluate", "landmarks", "--weights", "m4net-small", *map(str, arguments)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^m4net-small .*\nmean-face( +\d+\.\d{3}){4}", out, re.MULTILINE)
