"""The figure of what a face model cannot say."""

from dataclasses import replace

import numpy as np
import pytest

from m4kit.prediction import Origin
from m4kit.visualize import limits_figure

from helpers import faces


def test_six_pictures_for_a_face_with_a_photo():
    face = faces.face(pose=(10, 0, 0))
    photo = np.full((240, 240, 3), 90, np.uint8)
    figure = limits_figure(replace(face, origin=Origin(photo)), face.landmarks + 4.0, side=120)
    pictures = [axes.images[0].get_array() for axes in figure.axes]
    assert len(pictures) == 6
    assert {picture.shape for picture in pictures} == {(131, 120, 3)}
    # All six differ: photo, network, fit, its mesh, its colours, and the mesh beyond the model.
    assert len({np.asarray(picture).tobytes() for picture in pictures}) == 6


def test_a_face_without_a_photo_is_refused():
    with pytest.raises(ValueError, match="no photo"):
        limits_figure(faces.face(), np.zeros((68, 2)))
