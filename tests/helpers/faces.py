"""Made-up faces: parameters under a known camera, faces of the packaged model or an ellipsoid, points in a box."""

from dataclasses import replace
from functools import cache

import numpy as np

from m4kit.camera import Crop, rotation_from_euler
from m4kit.face_model import FaceModel, landmarks_at
from m4kit.prediction import Face, FaceBox

from helpers.synthetic import sphere

MODEL = FaceModel.load()


def parameters(pose=(0.0, 0.0, 0.0), *, scale=0.5, shift=(0.0, 0.0, 0.0), coefficients=0.0):
    """Raw parameters (62,) of a face turned by yaw, pitch and roll; `coefficients` are (50,) or one number."""
    camera = np.column_stack([scale * rotation_from_euler(*pose), shift])
    return np.concatenate([camera.ravel(), np.broadcast_to(coefficients, 50)])


def face(*, pose=(0.0, 0.0, 0.0), coefficients=0.0, heads=None):
    """A face of the packaged model in a square of 240 photo pixels, whose heads agree unless they are given."""
    heads = np.tile(parameters(pose, coefficients=coefficients), (4, 1)) if heads is None else heads
    return Face(
        FaceBox(0, 0, 240, 240), Crop(-0.5, -0.5, 240), heads, np.full(len(heads), 1 / len(heads)), MODEL
    )


def ellipsoid(*, centre=(100.0, 100.0), height=100.0, yaw=0.0, pitch=0.0, roll=0.0):
    """An ellipsoid with landmarks as a face, `height` photo pixels tall when upright."""
    crop = Crop(centre[0] - height, centre[1] - height, 2 * height)
    heads = np.tile(parameters((yaw, pitch, roll), scale=120 / (2 * 210)), (4, 1))
    made = Face(FaceBox(0, 0, 1, 1), crop, heads, np.full(4, 0.25), ellipsoid_model())
    low, high = made.landmarks[:, :2].min(axis=0), made.landmarks[:, :2].max(axis=0)
    return replace(made, box=FaceBox(*low.tolist(), *high.tolist(), score=0.97))


def points68(left: float = 30, top: float = 40, width: float = 80, height: float = 60) -> np.ndarray:
    """Random points (68, 2) that fill a box of that place and size."""
    points = np.random.default_rng(7).uniform(0, 1, (68, 2))
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    return points * [width, height] + [left, top]


CROP_OF_POINTS = (70 - 40 * 2**0.5, 70 - 40 * 2**0.5, 80 * 2**0.5)
"""The crop of `points68()`: around the centre of its box, with sqrt(2) times its longer side."""


def _ellipsoid_landmarks():
    """68 points in iBUG's order on the front of the ellipsoid of `ellipsoid`, in mm, y up."""
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
    arrays = {
        "mean": mean,
        "identity_modes": np.zeros((40, *mean.shape)),
        "expression_modes": np.zeros((10, *mean.shape)),
        "triangles": triangles,
        **landmarks_at(len(vertices) + np.arange(68)),
    }
    return FaceModel(arrays=arrays)
