"""Distances between meshes of one face, with the true partners known."""

from dataclasses import replace

import numpy as np
import pytest

from m4kit.camera import rotation_from_euler
from m4kit.explore.correspondence import mesh_distance
from m4kit.face_model import FaceModel

from helpers.faces import MODEL, face

MEAN = MODEL.mean.astype(float)
NAMES = ("identity_modes", "expression_modes", "triangles", "landmark_vertices", "landmark_weights")


def moved(vertices):
    """Vertices in another frame: larger, turned, and elsewhere."""
    return 1.1 * vertices @ rotation_from_euler(4, -3, 2).T + [3, -10, 60]


def with_shape(vertices):
    return replace(face(), model=MODEL.with_mean(vertices))


def test_size_place_and_pose_of_a_mesh_do_not_count():
    assert mesh_distance(face(), with_shape(moved(MEAN))).max() < 1e-3
    assert mesh_distance(face(), face(pose=(30, 10, 5))).max() < 1e-3


def test_a_longer_nose_is_a_distance_at_the_nose():
    nose = MODEL.regions["nose"]
    longer = MEAN + np.outer(nose, [0, 0, 4])
    distance = mesh_distance(face(), with_shape(moved(longer)))
    # The fit of all vertices takes a little of it.
    assert distance[nose].mean() == pytest.approx(4, abs=0.8)
    assert distance[~nose].mean() < 0.6


def test_another_mesh_of_the_same_surface_is_found_and_what_has_no_partner_is_unknown():
    """Our mesh with its vertices in another order, in another frame, and with its nose 4 mm longer."""
    order = np.random.default_rng(0).permutation(len(MEAN))
    place = np.argsort(order)
    nose = MODEL.regions["nose"]
    arrays = MODEL.arrays | {name: place[MODEL.arrays[name]] for name in ("triangles", "landmark_vertices")}
    arrays |= {name: np.zeros_like(arrays[name]) for name in ("identity_modes", "expression_modes")}
    arrays |= {
        "mean": moved(MEAN + np.outer(nose, [0, 0, 4]))[order],
        "mirror": np.zeros(0, dtype=int),
        "symmetry": np.zeros(0),
    }
    distance = mesh_distance(face(), replace(face(), model=FaceModel(arrays=arrays)))
    known = np.isfinite(distance)
    for name in ("eyeballs", "mouth_inside"):
        assert not known[MODEL.regions[name]].any()
    assert known.mean() > 0.5
    tip = np.linalg.norm(MEAN - MODEL.landmarks()[30], axis=1) < 6
    assert distance[tip & known].mean() == pytest.approx(4, abs=1)
    assert distance[known & ~nose & ~tip].mean() < 1
