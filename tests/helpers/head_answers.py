"""Labelled faces at nine yaws, whose parameters are known."""

import numpy as np

from m4kit.camera import Crop, head_pose, rotation_from_euler
from m4kit.datasets import Sample

CROP = Crop(10, 20, 240)
YAWS = (0.0, 10.0, -20.0, 40.0, -50.0, 35.0, 70.0, -80.0, 65.0)


def parameters_of(seed):
    """Raw parameters (n, 62), one face for each of the yaws."""
    random = np.random.default_rng(seed)
    cameras = [np.column_stack([0.5 * rotation_from_euler(yaw, 5, -3), [1, -2, 0]]).ravel() for yaw in YAWS]
    return np.concatenate([cameras, random.normal(size=(len(YAWS), 50))], axis=1).astype(np.float32)


def samples_of(model, parameters):
    landmarks = model.landmarks(parameters[:, 12:52], parameters[:, 52:]).numpy()
    cameras = parameters[:, :12].reshape(-1, 3, 4)
    placed = landmarks @ cameras[..., :3].transpose(0, 2, 1) + cameras[:, None, :, 3]
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
