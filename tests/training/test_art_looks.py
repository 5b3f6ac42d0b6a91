import numpy as np
import pytest

from m4kit.training.art_looks import engraving, flat_print, line_drawing, look_like_art, painting
from m4kit.training.synthetic import random_background

LOOKS = (line_drawing, flat_print, engraving, painting)


def bar():
    """A dark vertical bar on light grey."""
    crop = np.full((120, 120, 3), 200, np.uint8)
    crop[20:100, 58:63] = 40
    return crop


@pytest.mark.parametrize("look", LOOKS)
def test_dark_stays_darker_than_light_in_every_look(look):
    for seed in range(8):
        drawn = look(bar(), np.random.default_rng(seed)).astype(float).mean(axis=2)
        assert drawn[40:80, 59:62].mean() < drawn[40:80, 20:40].mean() - 8


def test_a_line_drawing_of_an_even_area_is_empty_paper():
    for seed in range(8):
        drawn = line_drawing(np.full((120, 120, 3), 128, np.uint8), np.random.default_rng(seed))
        assert np.ptp(drawn.reshape(-1, 3), axis=0).max() <= 1


def test_a_flat_print_has_few_colours():
    crop = np.tile(np.linspace(0, 255, 120).astype(np.uint8)[None, :, None], (120, 1, 3))
    for seed in range(8):
        drawn = flat_print(crop, np.random.default_rng(seed))
        assert len(np.unique(drawn[10:-10, 10:-10].reshape(-1, 3), axis=0)) < 60


def test_a_painting_keeps_edges_and_smooths_areas():
    random = np.random.default_rng(0)
    crop = np.where(np.arange(120)[None, :, None] < 60, 60, 190) + random.normal(scale=12, size=(120, 120, 3))
    drawn = (
        painting(np.clip(crop, 0, 255).astype(np.uint8), np.random.default_rng(3)).astype(float).mean(axis=2)
    )
    assert np.abs(np.diff(drawn.mean(axis=0))).argmax() in (58, 59, 60)


def test_the_same_seed_gives_the_same_look():
    crop = random_background(np.random.default_rng(1))
    one, two, other = (look_like_art(crop, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
