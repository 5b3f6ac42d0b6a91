"""What a face's vertices are coloured by."""

import dataclasses

import numpy as np
import pytest

from m4kit.camera import Crop
from m4kit.render import PORCELAIN
from m4kit.vertex_colours import MODES, PART_COLOURS, clay, scalar_colours, vertex_colours

from helpers.faces import MODEL, ellipsoid, ellipsoid_model, face


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_each_vertex_a_colour(mode):
    photo = np.random.default_rng(0).integers(0, 255, (240, 240, 3), dtype=np.uint8)
    colours = vertex_colours(face(pose=(20, 5, 0)), mode, image=photo).colours
    assert colours.shape == (len(MODEL.mean), 3)
    assert colours.dtype == np.uint8


def test_in_clay_eyes_and_mouth_have_their_own_colours_and_skin_has_one():
    colours, regions = vertex_colours(face().head, "clay").colours.astype(int), MODEL.head.regions
    others = np.any([regions[name] for name in PART_COLOURS], axis=0)
    assert (colours[~others] == PORCELAIN).all()
    light = {name: colours[regions[name]].mean() for name in PART_COLOURS}
    white = colours[regions["eyeballs"] & ~regions["irises"]].mean()
    assert light["pupils"] < light["irises"] < white
    assert light["teeth"] > light["tongue"]
    red, green, blue = colours[regions["tongue"] | regions["mouth_inside"]].mean(0)
    assert red > green + 10 and red > blue + 10
    # The front of the tongue is lighter than its root.
    tongue = np.flatnonzero(regions["tongue"])
    front, *_, root = tongue[(-MODEL.head.mean[tongue, 2]).argsort()]
    assert colours[front].sum() > 2 * colours[root].sum()


def test_the_face_has_the_clay_of_its_head_and_a_model_without_parts_is_plain():
    assert np.array_equal(clay(MODEL).colours, clay(MODEL.head).colours[: len(MODEL.mean)])
    assert (clay(ellipsoid_model()).colours == PORCELAIN).all()


def test_no_two_parts_of_a_head_have_one_colour():
    names = vertex_colours(face().head, "region").names
    assert len(set(names.values())) == len(names) == len(MODEL.head.regions)


def test_depth_is_in_millimetres_whatever_the_photos_scale():
    small = face()
    large = dataclasses.replace(small, crop=Crop(-0.5, -0.5, 960))
    depths = [vertex_colours(f, "depth").values for f in (small, large)]
    assert np.ptp(depths[0]) == pytest.approx(float(np.ptp(MODEL.mean[:, 2])), rel=1e-3)
    assert np.allclose(*depths, atol=1e-3)


def test_the_distance_from_the_mean_is_signed_and_ignores_the_pose():
    coefficients = np.zeros(50)
    coefficients[0] = 1.0
    first, turned = (face(pose=pose, coefficients=coefficients) for pose in ((0, 0, 0), (40, 10, 5)))
    distance = vertex_colours(first, "distance")
    assert np.allclose(distance.values, vertex_colours(turned, "distance").values, atol=1e-4)
    assert distance.limits[0] == -distance.limits[1]
    opposite = vertex_colours(face(coefficients=-coefficients), "distance").values
    assert np.allclose(distance.values, -opposite, atol=1e-4)
    moved = np.linalg.norm(MODEL.identity_modes[0], axis=1)
    assert (np.abs(distance.values) <= moved + 1e-3).all()


def test_the_mean_face_has_no_distance_from_itself():
    assert np.abs(vertex_colours(face(), "distance").values).max() < 1e-3


def test_the_spread_is_what_the_heads_shapes_differ_by():
    heads = np.tile(face().heads[0], (4, 1))
    heads[:2, 12] += 1.0
    heads[2:, 12] -= 1.0
    spread = vertex_colours(face(heads=heads), "spread")
    assert np.allclose(spread.values, np.linalg.norm(MODEL.identity_modes[0], axis=1), atol=1e-3)


@pytest.mark.parametrize(
    ("mode", "subject", "words"),
    [
        ("colour", face(), "colour: expected one of clay"),
        ("texture", face(), "expected the photo"),
        ("spread", face(heads=np.zeros((1, 62))), "expected a face with several heads, got 1"),
    ],
)
def test_what_cannot_be_shown_is_said(mode, subject, words):
    with pytest.raises(ValueError, match=words):
        vertex_colours(subject, mode)


def test_a_photo_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"texture of the photo: expected an image \(H, W, 3\) uint8 RGB"):
        vertex_colours(face(), "texture", image=np.zeros((240, 240, 3)))


def test_limits_change_the_colours_and_not_the_numbers():
    coefficients = np.zeros(50)
    coefficients[0] = 1.0
    subject = face(coefficients=coefficients)
    own, wide = (vertex_colours(subject, "distance", limits=limits) for limits in (None, (-100, 100)))
    assert np.array_equal(own.values, wide.values)
    assert wide.limits == (-100, 100)
    # On so wide a scale all is near its grey middle.
    assert np.ptp(wide.colours.astype(int), axis=1).max() < np.ptp(own.colours.astype(int), axis=1).max()


@pytest.mark.parametrize(
    ("mode", "limits", "words"), [("clay", (0, 1), "no numbers"), ("depth", (5, 1), "the lower one first")]
)
def test_limits_that_are_none_are_refused(mode, limits, words):
    with pytest.raises(ValueError, match=words):
        vertex_colours(face(), mode, limits=limits)


def test_a_model_without_regions_says_so():
    with pytest.raises(ValueError, match="names no regions"):
        vertex_colours(ellipsoid(), "region")


def test_numbers_become_colours_between_their_limits():
    colours = scalar_colours(np.array([-5.0, 0.0, 5.0, 99.0]), limits=(0.0, 5.0), scale="gray")
    assert colours.colours[:, 0].tolist() == [0, 0, 255, 255]
    assert colours.values.tolist() == [-5.0, 0.0, 5.0, 99.0]
