"""Pages made of templates, and pictures inside them."""

import base64
import io

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from m4kit.pages import picture_url, render_page


def test_a_page_opens_offline_and_escapes_what_it_is_given():
    page = render_page("base.html", title="<b>a & b</b>")
    assert "&lt;b&gt;a &amp; b&lt;/b&gt;" in page
    assert "http" not in page


def test_a_value_that_is_forgotten_is_an_error():
    with pytest.raises(UndefinedError, match="title"):
        render_page("base.html")


def test_a_picture_gets_smaller_until_it_fits_its_budget():
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    sizes = []
    for budget in (10**6, 20_000, 10):
        start, _, data = picture_url(noise, budget, sides=(400, 200, 100)).partition(",")
        assert start == "data:image/jpeg;base64"
        sizes.append(Image.open(io.BytesIO(base64.b64decode(data))).size)
    assert sizes == [(400, 300), (200, 150), (100, 75)]
