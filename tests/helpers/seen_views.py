"""The parameters that a perfect network predicts for a view of a face: the same points, moved like the picture."""

import numpy as np

from m4kit.views import VIEWS, view_matrices

MIRRORED = np.diag([-1.0, 1.0, 1.0])


def seen_in(view, cameras, coefficients, symmetry):
    """Cameras (..., 3, 4) into the crop frame and coefficients (..., 50), transformed to one of `VIEWS`.

    A mirrored picture shows another person, whose antisymmetric coefficients have the other sign.
    """
    mirrored, _, shrink = VIEWS[view]
    down = np.diag([1.0, -1.0])
    # All views turn about the crop's centre, where the frame has its origin.
    moved = np.eye(3) / shrink
    moved[:2, :2] = down @ view_matrices()[view][:2, :2] @ down
    cameras = moved @ cameras
    if mirrored:
        cameras[..., :3] = cameras[..., :3] @ MIRRORED
    return cameras, coefficients * symmetry if mirrored else coefficients
