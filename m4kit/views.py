"""Test-time augmentation: averages the network's answers over several views of a crop.

The views are mirrored, rotated a little and made smaller. What is predicted for each view is transformed back to
the crop and averaged. Each view costs one run of the network. The error falls, because random errors differ between
views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from m4kit.camera import CROP_SIZE
from m4kit.checks import check_whole
from m4kit.engine import Engine, TorchEngine
from m4kit.face_model import FaceModel
from m4kit.parameters import fuse, join, landmarks_in_crop, split, split_camera
from m4kit.weights import check_fits

if TYPE_CHECKING:
    from m4kit.network import M4Net

VIEWS = ((0, 0.0, 1.0), (1, 0.0, 1.0), (0, 7.0, 1.08), (1, 7.0, 1.08), (0, -7.0, 1.0), (1, -7.0, 1.0))
"""Each view: mirrored or not, rotation in the image plane in degrees, and how many times smaller the face becomes."""

COUNTS = (1, 2, 6)
"""How many of `VIEWS` can be used: the crop alone, the crop and its mirror image, or all."""

PredictCrops = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""A network as a function of crops (n, 120, 120, 3) uint8 RGB. It returns landmarks (n, 68, 2 or 3) in the crop frame
(crop pixels, y up, origin at the crop's centre) and cameras (n, 3, 4) into that frame."""

_CENTRE = (CROP_SIZE - 1) / 2

# From pixel centres of a crop, y down, to the crop frame, y up.
_TO_FRAME = np.array([[1, 0, -_CENTRE], [0, -1, _CENTRE], [0, 0, 1.0]])


def view_matrices(views: int = len(VIEWS)) -> np.ndarray:
    """Compute matrices (views, 3, 3) from pixel coordinates of the crop to those of each view."""
    matrices = []
    for mirrored, degrees, shrink in VIEWS[:views]:
        matrix = np.vstack([cv2.getRotationMatrix2D((_CENTRE, _CENTRE), degrees, 1 / shrink), [0, 0, 1]])
        if mirrored:
            matrix = np.array([[-1, 0, CROP_SIZE - 1], [0, 1, 0], [0, 0, 1.0]]) @ matrix
        matrices.append(matrix)
    return np.array(matrices)


def view_pictures(crops: Sequence[np.ndarray] | np.ndarray, views: int = len(VIEWS)) -> np.ndarray:
    """Make the views (n * views, 120, 120, 3) of crops (n, 120, 120, 3), crop by crop."""
    if views == 1:
        return np.asarray(crops)
    matrices = view_matrices(views)
    return np.stack(
        [
            crop if number == 0 else cv2.warpAffine(crop, matrix[:2], (CROP_SIZE, CROP_SIZE))
            for crop in crops
            for number, matrix in enumerate(matrices)
        ]
    )


def maps_to_crop(views: int = len(VIEWS)) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give a matrix (3, 3) and an offset (3,) per view, which map its points to the crop: matrix @ (point - offset).

    Points (x, y, depth) are in the crop frame of the view and of the crop.
    """
    for matrix in view_matrices(views):
        moved = _TO_FRAME @ matrix @ np.linalg.inv(_TO_FRAME)
        back = np.eye(3)
        back[:2, :2] = np.linalg.inv(moved[:2, :2])
        # Depth is not in the picture but scales with it.
        back[2, 2] = 1 / np.sqrt(abs(np.linalg.det(moved[:2, :2])))
        yield back, np.append(moved[:2, 2], 0.0)


def check_views(views: int, model: FaceModel) -> None:
    """Raise `ValueError` unless `views` is one of `COUNTS` and the face model can be mirrored if necessary."""
    if check_whole(views, "views") not in COUNTS:
        raise ValueError(f"views: expected {', '.join(map(str, COUNTS))}, got {views}")
    if views > 1 and not len(model.symmetry):
        raise ValueError(
            f"views: expected 1, because this face model has no symmetry and cannot be mirrored; got {views}"
        )


def regress(
    network: M4Net | Engine, model: FaceModel, crops: Sequence[np.ndarray] | np.ndarray, *, views: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the heads' raw parameters (n, 4, 62) and weights (n, 4) for crops (n, 120, 120, 3) uint8 RGB.

    `views` is the number of views of each crop: 1, 2 (with the mirror image) or 6. `check_views` raises `ValueError`
    for others. PyTorch runs a folded copy of a network, made again at each call: give an engine for many calls. A
    network with another `crop_size` sees the crops at its own size, and its parameters are still in the frame of 120
    pixels. For a single view, crops may have the network's size.
    """
    check_views(views, model)
    engine = _engine_of(network)
    heads, weights = [np.zeros((0, 4, 62), np.float32)], [np.zeros((0, 4), np.float32)]
    side = int(engine.notes["crop_size"])
    # Batches of nearly the same size: one of ten crops takes less time than eight and then two.
    count = max(1, round(len(crops) * views / engine.batch))
    for some in np.array_split(crops, count) if len(crops) else ():
        answers = engine(of_side(view_pictures(some, views), side))
        heads.append(_averaged(answers[0], model, views))
        weights.append(answers[1].reshape(-1, views, 4).mean(axis=1))
    return np.concatenate(heads), np.concatenate(weights)


def crop_predictor(network: M4Net | Engine, model: FaceModel, *, views: int = 1) -> PredictCrops:
    """Combine a network, or its engine, and the face model of its parameters into one function.

    `views` is as for `regress`. PyTorch runs a folded copy of a network. Raises `WeightsError` if the network was
    trained for another face model.
    """
    check_fits(network, model)
    return partial(_predict_crops, _engine_of(network), model, views)


def _predict_crops(
    engine: Engine, model: FaceModel, views: int, crops: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    parameters = fuse(*regress(engine, model, crops, views=views))
    return landmarks_in_crop(model, parameters), split(parameters).camera


def _engine_of(network: M4Net | Engine) -> Engine:
    # An M4Net has no `batch`; asking for its class would load PyTorch.
    return network if hasattr(network, "batch") else TorchEngine(network)


def of_side(pictures: np.ndarray, side: int) -> np.ndarray:
    """Resize pictures (n, S, S, 3) to (n, side, side, 3), as a training does."""
    if pictures.shape[1] == side:
        return pictures
    return np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in pictures])


def _averaged(heads: np.ndarray, model: FaceModel, views: int) -> np.ndarray:
    """Transform the views' parameters (n * views, 4, 62) back to the crop and average them, (n, 4, 62)."""
    if views == 1:
        return heads
    heads = heads.reshape(-1, views, *heads.shape[1:]).astype(float)
    total = np.zeros((len(heads), *heads.shape[2:]))
    for number, (back, offset) in enumerate(maps_to_crop(views)):
        cameras, coefficients = split_camera(heads[:, number])
        cameras[..., 3] -= offset
        cameras = back @ cameras
        if VIEWS[number][0]:
            # A mirror image shows the mirrored person under a mirrored camera.
            cameras[..., 0] *= -1
            coefficients = model.mirrored(coefficients)
        total += join(cameras, coefficients) / views
    return total.astype(np.float32)
