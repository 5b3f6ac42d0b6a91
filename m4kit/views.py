"""What the network says of a crop, asked once or of several views of it: mirrored, a little turned, made smaller.

The views' answers are laid back over the crop and averaged (test-time augmentation). That costs a run of the network
a view and lowers the error, since what a network gets wrong by chance differs from view to view.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch

from m4kit.camera import CROP_SIZE
from m4kit.face_model import FaceModel
from m4kit.folding import folded
from m4kit.network import M4Net, to_input
from m4kit.parameters import fuse, landmarks_in_crop, split

VIEWS = ((0, 0.0, 1.0), (1, 0.0, 1.0), (0, 7.0, 1.08), (1, 7.0, 1.08), (0, -7.0, 1.0), (1, -7.0, 1.0))
"""Mirrored or not, degrees in the plane, how much smaller the face is made."""

COUNTS = (1, 2, 6)
"""How many of `VIEWS` there may be: the crop alone, with its mirror image, all."""

_CENTRE = (CROP_SIZE - 1) / 2
BATCH = 64

PredictCrops = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""A network as a function: crops (n, 120, 120, 3) uint8 RGB in; out landmarks (n, 68, 2 or 3) in the crop frame
(crop pixels, y up, origin at the crop's centre) and cameras (n, 3, 4) into that frame."""

# From pixel centres of a crop, y down, to the crop frame, y up.
_TO_FRAME = np.array([[1, 0, -_CENTRE], [0, -1, _CENTRE], [0, 0, 1.0]])


def view_matrices(views: int = len(VIEWS)) -> np.ndarray:
    """(views, 3, 3) maps of pixel coordinates from the crop to each view's picture."""
    matrices = []
    for mirrored, degrees, shrink in VIEWS[:views]:
        matrix = np.vstack([cv2.getRotationMatrix2D((_CENTRE, _CENTRE), degrees, 1 / shrink), [0, 0, 1]])
        if mirrored:
            matrix = np.array([[-1, 0, CROP_SIZE - 1], [0, 1, 0], [0, 0, 1.0]]) @ matrix
        matrices.append(matrix)
    return np.array(matrices)


def view_pictures(crops: np.ndarray, views: int = len(VIEWS)) -> np.ndarray:
    """The views of crops (n, 120, 120, 3), one crop's after another's: (n * views, 120, 120, 3)."""
    matrices = view_matrices(views)
    return np.stack(
        [
            crop if number == 0 else cv2.warpAffine(crop, matrix[:2], (CROP_SIZE, CROP_SIZE))
            for crop in crops
            for number, matrix in enumerate(matrices)
        ]
    )


def check_views(views: int, model: FaceModel) -> None:
    """Raise `ValueError` for a number of views that is not in `COUNTS`, or that the face model cannot mirror."""
    if views not in COUNTS:
        raise ValueError(f"views: expected {', '.join(map(str, COUNTS))}, got {views}")
    if views > 1 and not len(model.symmetry):
        raise ValueError(
            "views: the face model says nothing of its symmetry, which mirror images need; give 1"
        )


def ask(
    network: M4Net, model: FaceModel, crops: np.ndarray, *, views: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Heads' raw parameters (n, 4, 62) and their weights (n, 4) of crops (n, 120, 120, 3) uint8 RGB.

    `views` is how many versions of each crop the network sees: 1, 2 (the mirror image too) or 6; `check_views` raises
    `ValueError` for others. The network runs as it is: a folded one (`folding.folded`) is faster.
    """
    check_views(views, model)
    heads, weights = [np.zeros((0, 4, 62), np.float32)], [np.zeros((0, 4), np.float32)]
    step = max(1, BATCH // views)
    with torch.inference_mode():
        for start in range(0, len(crops), step):
            outputs = network.outputs(to_input(view_pictures(crops[start : start + step], views)))
            heads.append(_laid_back(outputs.heads.numpy(), model, views))
            weights.append(outputs.weights.numpy().reshape(-1, views, 4).mean(axis=1))
    return np.concatenate(heads), np.concatenate(weights)


def crop_predictor(network: M4Net, model: FaceModel, *, views: int = 1) -> PredictCrops:
    """M4Net and the face model of its parameters as one function; `views` as for `ask`."""

    network = folded(network)

    def predict_crops(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parameters = fuse(*ask(network, model, crops, views=views))
        return landmarks_in_crop(model, parameters), split(parameters).camera

    return predict_crops


def _laid_back(heads: np.ndarray, model: FaceModel, views: int) -> np.ndarray:
    """The mean of the views' answers (n * views, 4, 62) as answers (n, 4, 62) to the crop."""
    if views == 1:
        return heads
    heads = heads.reshape(-1, views, *heads.shape[1:])
    total = np.zeros((len(heads), *heads.shape[2:]))
    for number, matrix in enumerate(view_matrices(views)):
        moved = _TO_FRAME @ matrix @ np.linalg.inv(_TO_FRAME)
        back = np.eye(3)
        back[:2, :2] = np.linalg.inv(moved[:2, :2])
        # Depth has no place in the picture, but shrinks with it.
        back[2, 2] = 1 / np.sqrt(abs(np.linalg.det(moved[:2, :2])))
        cameras = heads[:, number, :, :12].reshape(-1, 4, 3, 4).astype(float)
        cameras[..., :2, 3] -= moved[:2, 2]
        cameras = back @ cameras
        coefficients = heads[:, number, :, 12:]
        if VIEWS[number][0]:
            # A mirror image shows another person under a mirrored camera.
            cameras[..., 0] *= -1
            coefficients = model.mirrored(torch.from_numpy(coefficients)).numpy()
        total += np.concatenate([cameras.reshape(-1, 4, 12), coefficients], axis=-1) / views
    return total.astype(np.float32)
