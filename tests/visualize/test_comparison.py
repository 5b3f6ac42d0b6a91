"""Figures that compare answers for one face: colours, scale and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from m4kit.prediction import Origin
from m4kit.visualize import distances_figure, landmarks_figure
from m4kit.visualize.comparison import COLOURS

from helpers.faces import MODEL, face
from helpers.synthetic import photo


def of_photo(**options):
    return replace(face(**options), origin=Origin(photo(240, 240)))


def picture(figure, place=0):
    return np.asarray(figure.axes[place].images[0].get_array())


def painted(figure, colour):
    """Pixels (n, 2), x and y, that have a colour."""
    return np.argwhere((np.abs(picture(figure).astype(int) - colour) < 12).all(axis=2))[:, ::-1]


class TestLandmarks:
    def test_each_face_has_its_own_colour_at_its_own_place(self):
        one = of_photo()
        aside = replace(one, crop=one.crop._replace(left=one.crop.left + 20))
        figure = landmarks_figure({"a": one, "b": aside}, side=400)
        places = [np.median(painted(figure, colour), axis=0) for colour in COLOURS[:2]]
        alone = np.median(painted(landmarks_figure({"a": one}, side=400), COLOURS[0]), axis=0)
        assert np.abs(places[0] - alone).max() < 25
        assert places[1][0] - places[0][0] > 20

    def test_what_it_cannot_draw_is_refused(self):
        with pytest.raises(ValueError, match="no photo"):
            landmarks_figure({"a": face()})
        with pytest.raises(ValueError, match="expected 1 to 6 faces, got 0"):
            landmarks_figure({})
        with pytest.raises(TypeError, match="landmarks_figure"):
            landmarks_figure([of_photo()])


class TestDistances:
    def test_there_is_a_row_for_each_yaw_and_one_scale_for_all(self):
        far, near = np.full(len(MODEL.mean), 4.0), np.full(len(MODEL.mean), 1.0)
        figure = distances_figure(face(), {"far": far, "near": near}, yaws=(0, 40), side=120)
        assert [axes.get_title() for axes in figure.axes] == ["far", "near", "", ""]
        # Red has less green than yellow.
        middle = [picture(figure, place)[60, 60].astype(int) for place in (0, 1)]
        assert middle[0][1] < middle[1][1] - 60

    def test_unknown_places_are_clay(self):
        unknown = np.where(MODEL.mean[:, 0] > 0, np.nan, 3.0)
        shown = picture(distances_figure(face(), {"half": unknown}, yaws=(0,), side=120))[60]
        colourful = np.ptp(shown[:, :3].astype(int), axis=1) * (shown[:, 3] > 250)
        assert colourful[40:58].min() > 40
        assert colourful[64:80].max() < 20

    def test_an_array_of_another_shape_is_refused(self):
        with pytest.raises(
            ValueError, match=r"b: expected a distance for each of 12850 vertices, got shape \(3,\)"
        ):
            distances_figure(face(), {"b": np.zeros(3)})
