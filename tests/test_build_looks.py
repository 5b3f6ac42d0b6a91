"""The page of faces from all sides: whose faces are on it, and what a run shows of an earlier one."""

import re

import numpy as np
from PIL import Image

from m4kit.datasets import HELD_OUT_PEOPLE, held_out
from m4kit.images import load_image

from helpers.paths import ROOT, script_fixture

script = script_fixture("build_looks")


def test_no_training_sees_the_faces_of_the_data_sets(script):
    people = [re.sub(r"^(training|test)_|_\d+$", "", name) for name in script.YOUTUBE]
    assert held_out(people, HELD_OUT_PEOPLE).all()
    assert held_out([f"{name}.jpg" for name in script.AFLW], 0.05).all()


def test_an_earlier_runs_picture_is_beside_the_new_one(script, tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    title = "astronaut.jpg, face 1"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(before / f"{title}.png")
    photo = ROOT / "sample_images" / "astronaut.jpg"
    page = script.main([str(photo), "--output", str(tmp_path / "after"), "--before", str(before)])
    assert re.findall(r'alt="(\w+)"', page.read_text(encoding="utf-8")) == ["before", "after"]
    assert load_image(tmp_path / "after" / f"{title}.png").shape[1] == 6 * script.SIDE
