"""The examples of CONTRIBUTING.md work: a condition and an explorer. Peers have their own page and test."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from m4kit import Predictor
from m4kit.conditions import degradation, degrade

from helpers.paths import ROOT, SAMPLES

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(heading):
    """The names that the code below a heading defines; it has twenty lines at most."""
    (code,) = re.findall(
        r"```python\n(.*?)```", PAGE.split(f"## {heading}\n")[1].split("\n## ")[0], re.DOTALL
    )
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    names = {}
    exec(code, names)
    return names


@pytest.fixture
def photo():
    return np.asarray(Image.open(SAMPLES / "grace_hopper.jpg").convert("RGB"))


def test_a_condition_that_is_added_degrades_photos(monkeypatch, photo):
    for name in ("FORMULAS", "STRENGTHS"):
        monkeypatch.setattr(degradation, name, dict(getattr(degradation, name)))
    monkeypatch.setattr(degradation, "CONDITIONS", degradation.CONDITIONS)
    with pytest.raises(ValueError, match="expected a condition out of"):
        degrade(photo, "fading", 3, seed=0)
    example("Add a condition")
    contrasts = [degrade(photo, "fading", severity, seed=0).std() for severity in (0, 1, 3, 5)]
    assert contrasts[0] == photo.std()
    assert contrasts == sorted(contrasts, reverse=True)
    assert contrasts[-1] < 0.6 * contrasts[0]


def test_an_explorer_that_is_added_follows_its_slider_and_keeps_a_still_picture(photo):
    left, top, right, bottom = 177, 109, 346, 335
    prediction = Predictor(network="m4net-small")(photo, boxes=[[left, top, right, bottom]])
    shown = example("Add an explorer")["FogExplorer"](prediction)

    def contrast():
        return np.asarray(Image.open(io.BytesIO(shown.still()))).std()

    clear = contrast()
    shown.severity.value = 5.0
    assert contrast() < 0.9 * clear
    assert shown.errors == []
    assert shown.severity.description
    assert "image/jpeg" in shown._repr_mimebundle_()
