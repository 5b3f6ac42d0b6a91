"""Samples as photos with their faces."""

import numpy as np

from m4kit.datasets import Sample
from m4kit.datasets.photos import photos_of

from helpers.faces import points68


def test_faces_are_gathered_by_their_picture():
    box = np.array([0.0, 0.0, 10.0, 10.0])
    samples = [
        Sample("a/1#1", lambda: None, box=box),
        Sample("a/1#2", lambda: None, landmarks=points68()),
        Sample("a/1#3", lambda: None),
        Sample("b#3x", lambda: None),
    ]
    first, second = photos_of(samples)
    assert (first.name, second.name) == ("a/1", "b#3x")
    assert (first.faces, second.faces) == (tuple(samples[:2]), ())
    np.testing.assert_allclose(first.boxes, [box, [30, 40, 110, 100]])
    (landmarks,) = first.landmarks
    np.testing.assert_array_equal(landmarks, points68())
    assert second.boxes.shape == (0, 4)
    assert (first.condition, first.all_labelled) == (None, False)
