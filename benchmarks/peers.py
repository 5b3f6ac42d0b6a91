"""Other people's networks as functions that `m4kit.evaluate` takes. Not a part of the package.

The weights are below `peers/` in the folder that the environment variable M4KIT_SHARED names (default `../shared`,
relative to the project's root).

    python benchmarks/peers.py AFLW2000-3D [--published-crops] [--reannotated] [--whole-chain]

prints the report of `m4kit evaluate landmarks` for 3DDFA-V2 with MobileNet x1. The whole chain uses m4kit's detector.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from m4kit.camera import CROP_SIZE
from m4kit.datasets import read_aflw2000_3d
from m4kit.evaluate import PredictCrops, evaluate_chain, evaluate_landmarks
from m4kit.face_model import load_numpy_pickle

PROJECT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    """Folder with data and peers, which may be absent."""
    return Path(os.environ.get("M4KIT_SHARED", PROJECT.parent / "shared"))


def tddfa_v2(folder: Path | None = None, *, threads: int = 1) -> PredictCrops:
    """3DDFA-V2 with MobileNet x1 (Guo et al., ECCV 2020) through ONNX Runtime, and its Basel Face Model.

    `folder` holds `mb1_120x120.onnx`, `param_mean_std_62d_120x120.pkl` and `bfm_noneck_v3.pkl`. Its landmarks are
    in crop pixels counted from the crop's edge; they are moved to the crop frame.
    """
    import onnxruntime

    folder = shared_folder() / "peers/3ddfa_v2" if folder is None else folder
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(folder / "mb1_120x120.onnx"), options, providers=["CPUExecutionProvider"]
    )
    whitening = load_numpy_pickle(folder / "param_mean_std_62d_120x120.pkl")
    model = load_numpy_pickle(folder / "bfm_noneck_v3.pkl")
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


def main() -> None:
    """Evaluate 3DDFA-V2 on AFLW2000-3D, as `m4kit evaluate landmarks` evaluates M4Net."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path, help="the data set: a folder, or a .zip that is read in place")
    parser.add_argument("--published-crops", action="store_true")
    parser.add_argument("--reannotated", action="store_true")
    parser.add_argument("--whole-chain", action="store_true")
    options = parser.parse_args()
    faces = read_aflw2000_3d(options.path, reannotated=options.reannotated)
    peer = tddfa_v2()
    print(evaluate_landmarks(peer, faces, published_crops=options.published_crops).report())
    if options.whole_chain:
        print(evaluate_chain(peer, faces).report())


if __name__ == "__main__":
    main()
