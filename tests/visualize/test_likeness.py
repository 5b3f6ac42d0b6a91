"""The chart of distances between drawings and between a network's meshes."""

import re

import numpy as np
import pytest

from m4kit.visualize import likeness_figure

from helpers import faces


def people(scale):
    """Five random people, `scale` times as far from the mean face."""
    values = np.random.default_rng(5).normal(0, 1, (5, 50))
    return [faces.face(coefficients=scale * one) for one in values]


def test_half_the_coefficients_leave_half_of_the_distances():
    figure = likeness_figure(people(1), people(0.5))
    title = figure.axes[0].get_title()
    assert re.findall(r"\d+", title) == ["50", "50", "50"]
    drawn, predicted = figure.axes[0].collections[0].get_offsets().T
    assert len(drawn) == 10
    np.testing.assert_allclose(predicted, drawn / 2, rtol=1e-4)


def test_pose_is_no_distance():
    turned = [faces.face(pose=(yaw, 0, 0), coefficients=0.1 * yaw) for yaw in (0, 10, 20)]
    straight = [faces.face(coefficients=0.1 * yaw) for yaw in (0, 10, 20)]
    assert likeness_figure(straight, turned).axes[0].get_title().startswith("100 %")


def test_other_numbers_of_faces_are_refused():
    with pytest.raises(ValueError, match="got 5 and 4"):
        likeness_figure(people(1), people(1)[:4])
