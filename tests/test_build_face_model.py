"""The script that builds the face model: its principal components, on made-up displacements."""

import numpy as np
import pytest

from helpers.paths import script_fixture

MIRROR = np.array([1, 0, 3, 2, 4])
FLIP = np.array([-1, 1, 1])
AREAS = np.array([1, 1, 4, 4, 1.0])


script = script_fixture("build_face_model")


@pytest.fixture(scope="module")
def offsets():
    """Displacements (n, 5, 3) of different strength at each vertex."""
    normal = np.random.default_rng(0).normal(size=(500, 5, 3))
    return normal * np.array([5, 5, 2, 2, 1])[:, None] * [3, 2, 1]


@pytest.fixture(scope="module")
def components(script, offsets):
    return script.symmetric_components(offsets, MIRROR, AREAS, 6)


def test_modes_are_in_order_of_their_weighted_variance(components):
    modes, _, share = components
    variances = (AREAS[:, None] * modes**2).sum((1, 2))
    assert (np.diff(variances) <= 1e-9).all()
    assert 0.5 < share < 1


def test_each_mode_is_symmetric_or_antisymmetric(components):
    modes, sign, _ = components
    assert set(sign) == {-1, 1}
    np.testing.assert_allclose(modes[:, MIRROR] * FLIP, sign[:, None, None] * modes, atol=1e-9)


def test_coefficients_of_the_samples_have_a_standard_deviation_of_one(components, offsets):
    """Mirror images count as samples too, so the square means of both are one."""
    modes, sign, _ = components
    weights = AREAS[:, None]
    for mode, one in zip(modes, sign, strict=True):
        part = (offsets + one * offsets[:, MIRROR] * FLIP) / 2
        coefficients = (part * mode * weights).sum((1, 2)) / (mode**2 * weights).sum()
        assert np.square(coefficients).mean() == pytest.approx(1)


def test_a_wink_is_far_more_frequent_than_a_smile_of_one_side(script):
    names = ["eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight", "jawOpen", "mouthClose"]
    strengths = script.random_expressions(names, 4000, np.random.default_rng(0))
    left, right, smile, other = (strengths[:, number] > 0 for number in range(4))
    lone = (left ^ right).sum() / (left | right).sum()
    crooked = (smile ^ other).sum() / (smile | other).sum()
    assert lone > 2.5 * crooked > 0
    assert (strengths[:, 5] <= strengths[:, 4]).all()
