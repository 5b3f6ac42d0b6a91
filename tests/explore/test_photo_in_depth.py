"""A photo beside its degraded copy, used as a person would: by setting the widgets' values."""

import dataclasses

import numpy as np
import pytest

from m4kit import Prediction
from m4kit.explore.photo_in_depth import PhotoInDepth
from m4kit.prediction import FaceBox

from helpers.canvas import PHOTO, TWO_FACES, last_vertices, of_kind


@pytest.fixture
def shown(sent):
    explorer = PhotoInDepth(lambda image: Prediction(image, TWO_FACES.faces))
    explorer.show(PHOTO, condition="haze", severity=2.0)
    return explorer


def test_pictures_and_view_say_in_words_what_they_show(shown):
    assert 'alt="The photo, clean, 2 faces found"' in shown.pictures[0].value
    assert 'alt="The photo, haze 2, 2 faces found"' in shown.pictures[1].value
    assert shown.canvas.label == "3D view of the face: clean and haze 2"


def test_the_camera_has_a_way_back(shown):
    shown.camera_buttons["Left"].click()
    shown.camera_buttons["Reset"].click()
    np.testing.assert_allclose(np.reshape(shown.canvas.camera["rotation"], (3, 3)), np.eye(3))


def test_without_a_face_there_is_no_empty_view_and_with_one_there_is_a_view_again(shown, sent):
    shown.predictor = lambda image: Prediction(image, ())
    shown.show(PHOTO)
    assert shown.meshes.layout.display == "none"
    assert "No face is found in the photo, clean" in shown.legend.value
    shown.predictor = lambda image: Prediction(image, TWO_FACES.faces)
    shown.show(PHOTO)
    assert shown.meshes.layout.display is None
    assert of_kind(sent, "panels")[-1]["count"] == 2


def test_every_face_of_a_photo_can_be_chosen(sent):
    apart = dataclasses.replace(TWO_FACES[1], box=FaceBox(280, 50, 390, 200))
    faces = (TWO_FACES[0], apart)
    explorer = PhotoInDepth(lambda image: Prediction(image, faces))
    explorer.show(PHOTO, near=(0.9, 0.5))
    assert (explorer.face_choice.label, explorer.faces[0]) == ("Face 2", apart)
    before = explorer.pictures[0].value
    explorer.face_choice.value = 0
    assert explorer.faces[0] is TWO_FACES[0]
    assert np.abs(last_vertices(sent) - TWO_FACES[0].shape).max() < 0.01
    assert explorer.pictures[0].value != before
    # Another degradation shows the same face.
    explorer.severity.value = 1.0
    assert explorer.faces == (TWO_FACES[0], TWO_FACES[0])
    explorer.predictor = lambda image: Prediction(image, faces[:1])
    explorer.show(PHOTO)
    assert explorer.face_choice.layout.display == "none"
