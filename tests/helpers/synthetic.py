"""Meshes and faces of known form for tests of pictures."""

from dataclasses import replace
from functools import cache

import numpy as np

from m4kit.camera import Crop, rotation_from_euler
from m4kit.face_model import FaceModel
from m4kit.prediction import Face, FaceBox, Prediction


def sphere(*, centre=(0.0, 0.0, 0.0), radius=1.0, steps=96):
    """Vertices and triangles of a sphere in the photo's frame (y down), counter-clockwise from outside."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, steps + 1), np.linspace(0, 2 * np.pi, 2 * steps + 1))
    unit = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], axis=-1)
    index = np.arange(polar.size).reshape(polar.shape)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    triangles = np.concatenate([np.stack([a, c, b], axis=1), np.stack([a, d, c], axis=1)])
    vertices = radius * unit.reshape(-1, 3) + np.asarray(centre, dtype=float)
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # In a frame with y down the cross product of an outside triangle points inwards.
    assert ((normals * (corners.mean(axis=1) - centre)).sum(axis=1) < 1e-9).all()
    return vertices, triangles


def rectangle(left, top, right, bottom, z=0.0):
    """Two triangles, seen from outside by the viewer, that fill a rectangle of the photo."""
    vertices = np.array([[left, top, z], [left, bottom, z], [right, bottom, z], [right, top, z]], dtype=float)
    return vertices, np.array([[0, 1, 2], [0, 2, 3]])


def _ellipsoid_landmarks():
    """68 points in iBUG's order on the front of the ellipsoid of `face`, in mm, y up."""
    angle = np.linspace(-1.25, 1.25, 17)
    brow = np.linspace(0, 1, 5)
    eye = np.array([[-1, 0], [-0.4, 0.5], [0.4, 0.5], [1, 0], [0.4, -0.5], [-0.4, -0.5]])
    around = np.linspace(np.pi, -np.pi, 12, endpoint=False)
    within = np.linspace(np.pi, -np.pi, 8, endpoint=False)
    plane = np.concatenate(
        [
            np.stack([70 * np.sin(angle), 15 - 95 * np.cos(angle)], axis=1),
            np.stack([-52 + 38 * brow, 40 + 8 * np.sin(np.pi * brow)], axis=1),
            np.stack([14 + 38 * brow, 40 + 8 * np.sin(np.pi * brow)], axis=1),
            np.stack([np.zeros(4), np.linspace(24, -8, 4)], axis=1),
            np.stack([np.linspace(-13, 13, 5), [-17, -19, -20, -19, -17]], axis=1),
            eye * 13 + [-32, 24],
            eye * 13 + [32, 24],
            np.stack([25 * np.cos(around), -45 + 9 * np.sin(around)], axis=1),
            np.stack([18 * np.cos(within), -45 + 4 * np.sin(within)], axis=1),
        ]
    )
    depth = 90 * np.sqrt(np.clip(1 - (plane[:, 0] / 75) ** 2 - (plane[:, 1] / 105) ** 2, 0, 1))
    return np.column_stack([plane, depth])


@cache
def ellipsoid_model():
    """A face model of one shape: an ellipsoid, with the landmarks as vertices of their own."""
    vertices, triangles = sphere(steps=40)
    landmarks = _ellipsoid_landmarks()
    mean = np.concatenate([vertices * [75, -105, 90], landmarks])
    places = len(vertices) + np.arange(68)
    arrays = {
        "mean": mean,
        "identity_modes": np.zeros((40, *mean.shape)),
        "expression_modes": np.zeros((10, *mean.shape)),
        "triangles": triangles,
        "landmark_vertices": places[:, None].repeat(3, axis=1),
        "landmark_weights": np.tile([1.0, 0.0, 0.0], (68, 1)),
        "mirror": np.zeros(0, dtype=int),
        "symmetry": np.zeros(0),
    }
    return FaceModel(arrays=arrays)


def face(*, centre=(100.0, 100.0), height=100.0, yaw=0.0, pitch=0.0, roll=0.0):
    """An ellipsoid for a face, `height` photo pixels tall where it is upright."""
    crop = Crop(centre[0] - height, centre[1] - height, 2 * height)
    camera = np.column_stack([120 / (2 * 210) * rotation_from_euler(yaw, pitch, roll), np.zeros(3)])
    heads = np.tile(np.concatenate([camera.ravel(), np.zeros(50)]), (4, 1))
    made = Face(FaceBox(0, 0, 1, 1), crop, heads, np.full(4, 0.25), ellipsoid_model())
    low, high = made.landmarks[:, :2].min(axis=0), made.landmarks[:, :2].max(axis=0)
    return replace(made, box=FaceBox(*low.tolist(), *high.tolist(), score=0.97))


def photo(height=200, width=200):
    """A mid-grey photo with a little texture."""
    noise = np.random.default_rng(0).integers(-6, 7, (height, width, 1))
    return np.broadcast_to(120 + noise, (height, width, 3)).astype(np.uint8)


def prediction(*faces, size=(200, 200), source="photo.jpg"):
    """A prediction of these faces on a grey photo of size (height, width)."""
    return Prediction(image=photo(*size), faces=faces, source=source)
