"""The 62 parameters of a face: a (3, 4) camera row by row, 40 identity and 10 expression coefficients.

`split`, `split_camera` and `fuse` take numpy arrays and torch tensors, with any number of leading axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m4kit.face_model import EXPRESSION_MODES, IDENTITY_MODES, FaceModel
from m4kit.landmarks import face_size

if TYPE_CHECKING:
    import torch

CAMERA = 12
PARAMETERS = CAMERA + IDENTITY_MODES + EXPRESSION_MODES


class Parameters(NamedTuple):
    """Parameters by name: `camera` (..., 3, 4), `identity` (..., 40) and `expression` (..., 10)."""

    camera: np.ndarray | torch.Tensor
    identity: np.ndarray | torch.Tensor
    expression: np.ndarray | torch.Tensor


def split(parameters) -> Parameters:
    """Split parameters (..., 62) into views of their camera, identity and expression."""
    camera, coefficients = split_camera(parameters)
    return Parameters(camera, coefficients[..., :IDENTITY_MODES], coefficients[..., IDENTITY_MODES:])


def split_camera(parameters):
    """Split parameters (..., 62) into views of the camera (..., 3, 4) and all coefficients (..., 50)."""
    camera = parameters[..., :CAMERA]
    return camera.reshape(*camera.shape[:-1], 3, 4), parameters[..., CAMERA:]


def join(camera: np.ndarray, *coefficients: np.ndarray) -> np.ndarray:
    """Join a camera (..., 3, 4) and coefficients, (..., 50) or (..., 40) and (..., 10), into parameters (..., 62)."""
    return np.concatenate([camera.reshape(*camera.shape[:-2], CAMERA), *coefficients], axis=-1)


def fuse(heads, weights):
    """Compute the weighted sum (..., 62) of the heads (..., 4, 62) under weights (4,) or (..., 4).

    The weights are not normalised: only weights that sum to 1 give a mean.
    """
    if heads.shape[-2] != weights.shape[-1]:
        raise ValueError(
            f"fuse expected one weight for each of the {heads.shape[-2]} heads, "
            f"got weights of shape {tuple(weights.shape)}"
        )
    return (heads * weights[..., None]).sum(-2)


def head_spread(model: FaceModel, heads: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Measure how much the heads disagree on each face, (n,): their landmarks' mean distance from the heads' mean.

    `heads` are raw parameters (n, 4, 62) and `weights` (n, 4). The distance is in percent of the size of the fused
    landmarks, so no ground truth is needed.
    """
    placed = landmarks_in_crop(model, heads)[..., :2]
    # Landmarks that collapse to a point have no size.
    size = np.maximum(face_size(landmarks_in_crop(model, fuse(heads, weights))), 1e-6)
    return 100 * np.linalg.norm(placed - placed.mean(axis=1, keepdims=True), axis=-1).mean(axis=(1, 2)) / size


def landmarks_in_crop(model: FaceModel, parameters: np.ndarray) -> np.ndarray:
    """Compute the landmarks (..., 68, 3) of raw parameters (..., 62), in the crop frame."""
    camera, identity, expression = split(np.asarray(parameters))
    landmarks = model.landmarks(identity, expression)
    return landmarks @ camera[..., :3].swapaxes(-1, -2) + camera[..., None, :, 3]
