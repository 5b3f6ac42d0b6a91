"""Labelled faces at nine yaws, whose parameters are known."""

import numpy as np

from m4kit.camera import Crop, head_pose
from m4kit.datasets import Sample
from m4kit.parameters import landmarks_in_crop, split

from helpers.faces import parameters

CROP = Crop(10, 20, 240)
YAWS = (0.0, 10.0, -20.0, 40.0, -50.0, 35.0, 70.0, -80.0, 65.0)


def parameters_of(seed):
    """Raw parameters (n, 62), one face for each of the yaws."""
    random = np.random.default_rng(seed)
    coefficients = random.normal(size=(len(YAWS), 50))
    rows = [
        parameters((yaw, 5, -3), shift=(1, -2, 0), coefficients=own)
        for yaw, own in zip(YAWS, coefficients, strict=True)
    ]
    return np.array(rows, dtype=np.float32)


def samples_of(model, rows):
    """Samples of the faces with raw parameters (n, 62)."""
    cameras = split(rows).camera
    placed = landmarks_in_crop(model, rows)
    return tuple(
        Sample(
            name=str(number),
            image=lambda: np.full((300, 300, 3), 90, np.uint8),
            landmarks=CROP.to_photo(points),
            pose=head_pose(camera),
            crop=CROP,
        )
        for number, (points, camera) in enumerate(zip(placed, cameras, strict=True))
    )
