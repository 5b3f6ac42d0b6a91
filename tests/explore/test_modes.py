"""How much variance the modes hold: numbers against closed forms, and charts as SVG."""

from xml.etree import ElementTree

import numpy as np
import pytest

from m4kit import FaceModel
from m4kit.explore.modes import (
    Curve,
    ModeSliders,
    chart,
    cumulative_variance,
    gram_matrix,
    reconstruction_error,
)


def test_the_cumulative_variance_of_equal_orthogonal_modes_grows_evenly():
    modes = np.stack([np.roll(np.eye(3), k, axis=0) for k in range(4)])
    assert np.allclose(cumulative_variance(modes), [0.25, 0.5, 0.75, 1.0])
    assert np.allclose(cumulative_variance(modes[:2] * np.array([2.0, 1.0])[:, None, None]), [0.8, 1.0])


def test_the_reconstruction_error_is_what_the_missing_modes_move():
    modes = np.zeros((2, 4, 3))
    modes[0, :, 0], modes[1, :, 1] = 3.0, 4.0
    assert np.allclose(reconstruction_error(modes, np.array([1.0, 1.0])), [5.0, 4.0, 0.0])


def test_the_error_is_the_distance_of_the_packaged_models_meshes():
    model = FaceModel.load()
    identity = np.random.default_rng(0).normal(size=40)
    error = reconstruction_error(model.identity_modes, identity)
    whole = model.vertices(identity)
    for kept in (0, 7, 39):
        cut = model.vertices(np.where(np.arange(40) < kept, identity, 0))
        expected = np.sqrt(np.square(whole - cut).sum(1).mean())
        assert error[kept] == pytest.approx(expected, rel=1e-4)
    assert error[40] == 0


def test_a_gram_matrix_that_is_known_gives_the_same_error():
    modes = np.random.default_rng(1).normal(size=(3, 5, 3))
    assert np.allclose(
        reconstruction_error(modes, [1, -2, 0.5]),
        reconstruction_error(modes, [1, -2, 0.5], gram=gram_matrix(modes)),
    )


def test_a_chart_is_an_svg_with_a_line_for_each_curve_and_words_for_those_who_do_not_see_it():
    x = np.arange(5)
    picture = ElementTree.fromstring(
        chart([Curve("a < b", x, x**2, "red"), Curve("c", x, x, "blue")], title="growth & more", x_label="x")
    )
    assert picture.get("aria-label") == "growth & more"
    assert [line.get("stroke") for line in picture.iter("polyline")] == ["red", "blue"]
    assert {"a < b", "c", "x", "growth & more"} <= {text.text for text in picture.iter("text")}


def test_a_chart_starts_at_zero_and_its_mark_lies_on_the_curve():
    curve = Curve("", np.arange(3), np.array([4.0, 1.0, 0.0]), "red")
    picture = ElementTree.fromstring(chart([curve], title="t", x_label="x", mark=1))
    points = [tuple(map(float, pair.split(","))) for pair in picture.find("polyline").get("points").split()]
    (dot,) = picture.iter("circle")
    assert (float(dot.get("cx")), float(dot.get("cy"))) == points[1]
    # Down to the axis in SVG means a larger y; from 4 to 1 it is three times as far as from 1 to 0.
    fall = np.diff([y for _, y in points])
    assert fall[0] == pytest.approx(3 * fall[1], abs=0.3)


@pytest.mark.parametrize("curves", [[], [Curve("flat", np.arange(1), np.zeros(1), "red")]])
def test_a_chart_of_nothing_is_still_a_picture(curves):
    assert "nan" not in chart(curves, title="t", x_label="x")


def test_what_a_browser_computes_from_a_sliders_value_is_the_value():
    """A slider's script stores the place as a percentage and counts steps in it; other values would be sent back."""
    for largest in (0, 4.5, 9):
        sliders = ModeSliders(3, word="identity", explain=print, largest=largest)
        sliders.set([0.3, -1.7, 3.97])
        for slider in sliders.sliders:
            span = slider.max - slider.min
            step, place = 100 * slider.step / span, 100 * (slider.value - slider.min) / span
            assert slider.min + round(place / step) * step * span / 100 == slider.value
