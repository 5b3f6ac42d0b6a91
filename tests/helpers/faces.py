"""Faces of the packaged model under a known camera."""

import numpy as np

from m4kit import FaceModel
from m4kit.camera import Crop, rotation_from_euler
from m4kit.prediction import Face, FaceBox

MODEL = FaceModel.load()


def face(*, pose=(0.0, 0.0, 0.0), coefficients=None, heads=None):
    camera = np.column_stack([0.5 * rotation_from_euler(*pose), np.zeros(3)])
    parameters = np.concatenate([camera.ravel(), np.zeros(50) if coefficients is None else coefficients])
    heads = np.tile(parameters, (4, 1)) if heads is None else heads
    return Face(
        FaceBox(0, 0, 240, 240), Crop(-0.5, -0.5, 240), heads, np.full(len(heads), 1 / len(heads)), MODEL
    )
