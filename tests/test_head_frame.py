"""The frame of the head: the photo's, turned back and in millimetres."""

import numpy as np
import pytest

from m4kit.head_frame import HeadFrame

from helpers.canvas import turned_face


def test_in_the_heads_frame_the_face_looks_straight_ahead_and_is_as_large_as_in_the_model():
    shown = HeadFrame.of(turned_face()).from_photo(turned_face().vertices)
    # The camera of this face is an exact scaled rotation, so the model's own shape comes back.
    assert np.abs(shown - turned_face().shape).max() < 1e-3


def test_turned_back_by_its_rotation_the_frame_is_the_photos():
    frame, points = HeadFrame.of(turned_face()), turned_face().landmarks
    seen = frame.from_photo(points) @ frame.rotation.T
    across, down = (points - frame.origin)[:, :2].T
    assert np.allclose(seen[:, 0] * frame.scale, across)
    assert np.allclose(-seen[:, 1] * frame.scale, down)


def test_the_photo_lies_behind_the_face_in_the_right_place():
    frame = HeadFrame.of(turned_face())
    corners = frame.photo_plane(400, 300, -50.0) @ frame.rotation.T
    assert np.allclose(corners[:, 2], corners[0, 2])
    width = corners[1, 0] - corners[0, 0]
    assert width == pytest.approx(400 / frame.scale)


def test_points_go_to_the_photo_and_back():
    frame, points = HeadFrame.of(turned_face()), turned_face().landmarks
    np.testing.assert_allclose(frame.to_photo(frame.from_photo(points)), points, atol=1e-3)
