"""Pictures without a background, and small PNG files."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from m4kit.visualize.pictures import picture_bundle, small_png, without_background


def read(content):
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGBA")).astype(float)


def on(ground, picture):
    """A picture (H, W, 4) on a page of one grey value."""
    alpha = picture[..., 3:] / 255
    return picture[..., :3] * alpha + ground * (1 - alpha)


@pytest.fixture
def glass():
    """Colours from one side to the other, more and more transparent from above to below."""
    rows, columns = np.mgrid[0:64, 0:64] * 4
    return np.stack([columns, 255 - columns, rows // 2 + 60, 255 - rows], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("page", [255, 130, 17])
def test_what_is_drawn_without_its_ground_looks_the_same_on_any_page(glass, page):
    picture = without_background(lambda grey: np.rint(on(grey, glass.astype(float))).astype(np.uint8))
    assert np.abs(on(page, picture.astype(float)) - on(page, glass.astype(float))).max() < 4


@pytest.mark.parametrize("page", [255, 17])
def test_a_small_png_looks_the_same_on_a_light_and_a_dark_page(glass, page):
    difference = on(page, read(small_png(glass))) - on(page, glass.astype(float))
    # 4096 colours have become 256.
    assert np.sqrt((difference**2).mean()) < 6


def test_few_colours_are_kept_exactly_and_nothing_stays_transparent():
    picture = np.zeros((40, 50, 4), np.uint8)
    picture[5:9] = 200, 30, 90, 255
    picture[20:30, 10:20] = 0, 114, 178, 90
    assert np.abs(read(small_png(picture)) - picture).max() <= 2


@pytest.mark.parametrize("most", [(0, 0, 0, 0), (200, 30, 90, 255)])
def test_among_many_colours_the_most_frequent_one_stays(glass, most):
    picture = np.tile(np.uint8(most), (90, 64, 1))
    assert np.abs(read(small_png(np.concatenate([picture, glass])))[:90] - most).max() <= 1


def test_it_is_much_smaller_than_a_png_with_all_colours():
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 4), dtype=np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, format="png", optimize=True)
    assert len(small_png(noise)) < 0.4 * len(whole.getvalue())


def test_jupyter_learns_what_kind_of_file_it_is(glass):
    (kind,) = bundle = picture_bundle(content := small_png(glass))
    assert kind == "image/png" and base64.b64decode(bundle[kind]) == content
    assert list(picture_bundle(b"\xff\xd8\xff")) == ["image/jpeg"]
