"""The picture of a mesh that needs no browser."""

import numpy as np
import pytest

from m4kit.camera import rotation_from_euler
from m4kit.visualize import mesh_picture

from helpers.faces import MODEL, face

PHOTO = np.random.default_rng(0).integers(0, 255, (240, 240, 3), dtype=np.uint8)


def test_the_picture_shows_the_head_turned():
    front, turned = (mesh_picture(face(), yaw=yaw, side=120).astype(int) for yaw in (0, 70))
    assert front.shape == (120, 120, 3)
    assert 0.15 < (front.min(-1) < 250).mean() < 0.6
    assert (np.abs(front - turned).max(-1) > 30).mean() > 0.1


def test_the_picture_of_a_head_shows_all_of_it_from_every_side():
    for yaw, pitch in ((0, 0), (90, 0), (0, -90)):
        seen = mesh_picture(face().head, yaw=yaw, pitch=pitch, side=120).min(-1) < 250
        assert not (seen[[0, -1]].any() or seen[:, [0, -1]].any())
        assert seen.mean() > 0.25


def test_numbers_bring_a_bar_with_their_scales_colours():
    plain, with_bar = (
        mesh_picture(face(), colour="depth", legend=legend, side=240) for legend in (False, True)
    )
    rows = np.nonzero((plain != with_bar).any(-1).any(1))[0]
    assert rows.min() > 0.85 * 240
    bar = with_bar[224, 60:180].astype(int)
    # Cividis runs from dark blue to yellow.
    assert bar[0, 2] > bar[0, 0]
    assert bar[-1, 0] > 200 > bar[-1, 2]
    clay = [mesh_picture(face(), legend=legend, side=120) for legend in (False, True)]
    assert np.array_equal(*clay)


def test_landmarks_and_axes_are_drawn_where_the_turned_face_has_them():
    plain = mesh_picture(face(), yaw=30, side=240)
    marked = mesh_picture(face(), yaw=30, side=240, landmarks=True)
    axes = mesh_picture(face(), yaw=30, side=240, pose_axes=True)
    turned = MODEL.landmarks() @ rotation_from_euler(30, 0, 0).T
    x, y = np.rint(turned[:, :2] * [1, -1] + 119.5).astype(int).T
    assert (plain[y, x] != marked[y, x]).any(1).mean() > 0.95
    assert (plain[y[30], x[30]] != axes[y[30], x[30]]).any()


def test_the_photo_is_asked_for():
    with pytest.raises(ValueError, match="expected the photo"):
        mesh_picture(face(), colour="texture")
