"""Sliders draw their picture again, show what goes wrong, and leave a still picture."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from m4kit.explore import SliderPicture
from m4kit.visualize import pictures_figure
from m4kit.visualize.notebook_figure import NotebookFigure


def grey(level, **_):
    return np.full((30, 700, 3), level, np.uint8)


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_picture_follows_the_sliders():
    shown = SliderPicture(grey, level=(0, 255, 10), other=(-1.0, 1.0, 0.0))
    assert shown.values == {"level": 10, "other": 0.0}
    assert abs(pixels(shown.picture.value).mean() - 10) < 2
    shown.sliders["level"].value = 200
    assert abs(pixels(shown.picture.value).mean() - 200) < 2
    assert shown.describe() == "SliderPicture: level 200, other 0"


def test_a_saved_notebook_keeps_a_smaller_picture_of_the_same_values():
    shown = SliderPicture(grey, level=(0, 255, 100))
    kept = pixels(base64.b64decode(shown._repr_mimebundle_()["image/jpeg"]))
    assert kept.shape[1] < 700
    assert abs(kept.mean() - 100) < 2


def test_it_shows_a_figure_pixel_for_pixel_and_keeps_a_chart_without_a_ground():
    chart = NotebookFigure(figsize=(6, 1), dpi=100)
    chart.subplots().plot([1, 2])
    for figure in (chart, pictures_figure({"grey": grey(9)})):
        shown = SliderPicture(lambda level, figure=figure: figure, level=(0, 9, 1))
        width, height = figure.get_size_inches() * figure.dpi
        assert pixels(shown.picture.value).shape[:2] == (height, width)
    with Image.open(io.BytesIO(SliderPicture(lambda level: chart, level=(0, 9, 1)).still())) as kept:
        assert kept.width < 600
        assert kept.convert("RGBA").getpixel((0, 0))[3] == 0


def test_an_exception_of_the_first_picture_is_raised_and_a_later_one_is_shown():
    with pytest.raises(ZeroDivisionError):
        SliderPicture(lambda level: grey(1 // level), level=(0, 9, 0))
    shown = SliderPicture(lambda level: grey(1 // level), level=(0, 9, 1))
    shown.sliders["level"].value = 0
    assert isinstance(shown.errors.pop(), ZeroDivisionError)
    assert "ZeroDivisionError" in shown.error_line.value


def test_whole_limits_give_whole_numbers():
    assert isinstance(SliderPicture(grey, level=(0, 9, 1)).values["level"], int)
    assert isinstance(SliderPicture(lambda level: grey(1), level=(0, 9, 1.0)).values["level"], float)


@pytest.mark.parametrize("limits", [(0, 9), 5, (0, 9, 12), (9, 0, 5)])
def test_wrong_limits_name_the_slider_and_what_was_expected(limits):
    with pytest.raises(ValueError, match="expected level=\\(lowest, highest, start\\)"):
        SliderPicture(grey, level=limits)


def test_a_picture_of_another_kind_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="SliderPicture: the picture: expected an image"):
        SliderPicture(lambda level: None, level=(0, 9, 1))
    with pytest.raises(ValueError, match="at least one slider"):
        SliderPicture(grey)
