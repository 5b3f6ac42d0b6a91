"""Other people's networks, as `m4kit.evaluate` takes them. Not a part of the package: none of this ships.

The weights lie in the folder that the environment variable M4KIT_SHARED names (default `../shared` from the
project's root), under `peers/`.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np

from m4kit.camera import CROP_SIZE, Crop, cut_crop
from m4kit.datasets import PublishedBox, Sample
from m4kit.evaluate import PredictCrops

PROJECT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    """The folder with data and peers; it may be absent."""
    return Path(os.environ.get("M4KIT_SHARED", PROJECT.parent / "shared"))


def recut(sample: Sample) -> Sample:
    """The sample with its published crop replaced by one cut anew, in 3DDFA-V2's convention of pixels.

    There a box's left edge is a pixel's index, which m4kit's crops count from that pixel's centre: half a
    pixel further right. Evaluate with `published_crops=True`.
    """
    left, top, size = sample.crop
    return replace(
        sample,
        published_crop=lambda: cut_crop(sample.image(), Crop(left - 0.5, top - 0.5, size)),
        published_box=PublishedBox(left, top, left + size, top + size),
    )


class _NumpyUnpickler(pickle.Unpickler):
    """Builds numpy arrays and nothing else, so that a pickle from outside cannot run code."""

    ALLOWED = frozenset(
        (module, name)
        for package in ("numpy.core", "numpy._core")
        for module, name in (
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            (f"{package}.multiarray", "_reconstruct"),
            (f"{package}.multiarray", "scalar"),
            (f"{package}.numeric", "_frombuffer"),
        )
    )

    def find_class(self, module: str, name: str):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"expected numpy arrays alone, got {module}.{name}")
        return super().find_class(module, name)


def read_numpy_pickle(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a pickle that holds a dictionary of numpy arrays, read without trusting it."""
    with path.open("rb") as file:
        return _NumpyUnpickler(file, encoding="latin1").load()


def tddfa_v2(folder: Path | None = None, *, threads: int = 1) -> PredictCrops:
    """3DDFA-V2 with MobileNet x1 (Guo et al., ECCV 2020) through ONNX Runtime, and its Basel Face Model.

    `folder` holds `mb1_120x120.onnx`, `param_mean_std_62d_120x120.pkl` and `bfm_noneck_v3.pkl`. The landmarks
    are in its own crop pixels, moved to the crop frame: origin at pixel (60, 60), y up.
    """
    import onnxruntime

    folder = shared_folder() / "peers/3ddfa_v2" if folder is None else folder
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(folder / "mb1_120x120.onnx"), options, providers=["CPUExecutionProvider"]
    )
    whitening = read_numpy_pickle(folder / "param_mean_std_62d_120x120.pkl")
    model = read_numpy_pickle(folder / "bfm_noneck_v3.pkl")
    flat = np.asarray(model["keypoints"], dtype=int)
    mean, identity, expression = (np.asarray(model[key])[flat] for key in ("u", "w_shp", "w_exp"))

    def predict_crops(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bgr = crops[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        name = session.get_inputs()[0].name
        # The network takes one crop at a time.
        whitened = np.concatenate([session.run(None, {name: (crop[None] - 127.5) / 128})[0] for crop in bgr])
        parameters = whitened * whitening["std"] + whitening["mean"]
        cameras = parameters[:, :12].reshape(-1, 3, 4)
        shapes = mean.T + parameters[:, 12:52] @ identity.T + parameters[:, 52:62] @ expression.T
        points = np.einsum("nij,nkj->nki", cameras[..., :3], shapes.reshape(len(crops), 68, 3))
        points += cameras[:, None, :, 3]
        # Its crop pixels are x - 1 and 120 - y of what the camera gives.
        points[..., 0] -= 1 + CROP_SIZE / 2
        points[..., 1] -= CROP_SIZE / 2
        points[..., 2] -= 1
        return points, cameras

    return predict_crops
