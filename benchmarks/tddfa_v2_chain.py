"""Runs 3DDFA-V2's chain from a photo to 68 landmarks, as fast as ONNX Runtime does: the peer of `run.py`.

FaceBoxes with its official weights finds the faces. One crop of each goes through mb1 or mb05, and the Basel Face
Model places the 68 landmarks, without the mesh. Sizes, thresholds, crops and arithmetic are those of 3DDFA-V2's code
(`FaceBoxes_ONNX.py`, `TDDFA_ONNX.py`), but only boxes with a sufficient score are decoded, which gives the same faces
in less time.

`prepare` writes the files that `Chain` reads. It needs PyTorch and the package onnx; a `Chain` needs neither.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from m4kit.boxes import suppress

MEAN_BGR = (104.0, 117.0, 123.0)
HEIGHT, WIDTH = 720, 1080
"""The largest picture that FaceBoxes sees."""

PRIORS = ((32, (32, 64, 128)), (64, (256,)), (128, (512,)))
DENSITY = {32: 4, 64: 2}
"""FaceBoxes' strides with the sizes of their priors, and how many of a size a row of a cell has (1 for others)."""

SCORE, IOU = 0.5, 0.3
CROP = 120


def prepare(peer_files: Path, faceboxes: Path | None, folder: Path) -> None:
    """Write the networks as ONNX, and the constants of the 68 landmarks, into `folder`.

    `peer_files` is the folder of 3DDFA-V2's files. `faceboxes` is the official `FaceBoxesProd.pth`, without which the
    chain has no detector.
    """
    import onnx
    import torch

    from m4kit.faceboxes import load_network
    from m4kit.folding import folded
    from m4kit.peers.tddfa_v2 import BFM, NETWORKS, WHITENING, read_bfm, read_network, read_whitening

    graph = onnx.load(str(peer_files / NETWORKS["mb1"]))
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.save(graph, str(folder / "mb1.onnx"))
    exported = {"mb05": (folded(read_network(peer_files / NETWORKS["mb05"])), (1, 3, CROP, CROP), ["n"])}
    if faceboxes is not None:
        exported["faceboxes"] = (
            folded(load_network(faceboxes)),
            (1, 3, 256, 256),
            ["n", "", "height", "width"],
        )
    for name, (network, shape, free) in exported.items():
        torch.onnx.export(
            network,
            (torch.zeros(shape),),
            folder / f"{name}.onnx",
            dynamo=False,  # The other exporter needs a package more.
            input_names=["picture"],
            dynamic_axes={"picture": {axis: word for axis, word in enumerate(free) if word}},
        )
    model, (mean, std) = read_bfm(peer_files / BFM), read_whitening(peer_files / WHITENING)
    np.savez(
        folder / "landmarks.npz",
        basis=model.landmark_modes.reshape(-1, 68 * 3),
        centre=model.landmark_mean,
        mean=mean.astype(np.float32),
        std=std.astype(np.float32),
    )


class Chain:
    """The chain with the files that `prepare` wrote, and the network "mb1" or "mb05"."""

    def __init__(self, folder: str | Path, network: str = "mb1", *, threads: int = 1):
        folder = Path(folder)
        self._network = _session(folder / f"{network}.onnx", threads)
        detector = folder / "faceboxes.onnx"
        self._detector = _session(detector, threads) if detector.is_file() else None
        with np.load(folder / "landmarks.npz") as constants:
            self._basis, self._centre = constants["basis"], constants["centre"]
            self._mean, self._std = constants["mean"], constants["std"]
        self._priors: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, bgr: np.ndarray) -> list[np.ndarray]:
        """Find the landmarks (68, 3) of each face of a photo (H, W, 3) uint8 BGR, as `landmarks`."""
        return [self.landmarks(bgr, [box])[0] for box in self.boxes(bgr)]

    def boxes(self, bgr: np.ndarray) -> np.ndarray:
        """Find boxes (n, 5) in a photo (H, W, 3) uint8 BGR: left, top, right, bottom in photo pixels, score."""
        height, width = bgr.shape[:2]
        scale = min(1.0, HEIGHT / height)
        scale *= min(1.0, WIDTH / (scale * width))
        small = bgr if scale == 1 else cv2.resize(bgr, (int(scale * width), int(scale * height)))
        picture = np.ascontiguousarray((small - np.float32(MEAN_BGR)).transpose(2, 0, 1)[None])
        moves, logits = self._detector.run(None, {"picture": picture})
        found = np.flatnonzero(logits[0] >= np.log(SCORE / (1 - SCORE)))
        moves, priors = moves[0, found], self._priors_of(*small.shape[:2])[found]
        centre = priors[:, :2] + 0.1 * moves[:, :2] * priors[:, 2:]
        half = priors[:, 2:] * np.exp(0.2 * moves[:, 2:]) / 2
        scores = 1 / (1 + np.exp(-logits[0, found]))
        boxes = np.column_stack([(centre - half) / scale, (centre + half) / scale, scores])
        return boxes[suppress(boxes[:, :4], boxes[:, 4], iou=IOU)]

    def landmarks(self, bgr: np.ndarray, boxes: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """Find landmarks (n, 68, 3) in photo pixels, y down, of the faces in boxes (n, 4 or more), in one batch."""
        squares = np.array([_square(box) for box in boxes])
        parameters = self.answers(np.stack([_crop(bgr, square) for square in squares]))
        camera = parameters[:, :12].reshape(-1, 3, 4)
        shape = self._centre + (parameters[:, 12:] @ self._basis).reshape(-1, 68, 3)
        # The model's unit is a millimetre, that of 3DDFA-V2's cameras a micrometre.
        points = 1000 * shape @ camera[..., :3].transpose(0, 2, 1) + camera[:, None, :, 3]
        points = points * [1, -1, 1] + [-1, CROP, -1]
        scale = (squares[:, 2:] - squares[:, :2]).mean(axis=1)[:, None, None] / CROP
        points *= scale
        points[..., :2] += squares[:, None, :2]
        return points

    def answers(self, crops: np.ndarray) -> np.ndarray:
        """Compute the parameters (n, 62) of crops (n, 120, 120, 3) uint8 BGR."""
        pictures = np.ascontiguousarray(((crops - np.float32(127.5)) / 128).transpose(0, 3, 1, 2))
        whitened = self._network.run(None, {self._network.get_inputs()[0].name: pictures})[0]
        return whitened * self._std + self._mean

    def _priors_of(self, height: int, width: int) -> np.ndarray:
        """Prior boxes (P, 4) of a picture: centre and size in pixels. They depend on its size alone, and are kept."""
        if (height, width) not in self._priors:
            self._priors[height, width] = np.concatenate([_level(height, width, *level) for level in PRIORS])
        return self._priors[height, width]


def _level(height: int, width: int, stride: int, sizes: tuple[int, ...]) -> np.ndarray:
    """Make the prior boxes (p, 4) of one stride, row by row, cell by cell."""
    cell = []
    for size in sizes:
        density = DENSITY.get(size, 1)
        steps = np.arange(density) * stride / density if density > 1 else np.array([stride / 2])
        cell += [(x, y, size, size) for y in steps for x in steps]
    rows, columns = -(-height // stride), -(-width // stride)
    corners = [(x * stride, y * stride, 0, 0) for y in range(rows) for x in range(columns)]
    return (np.float32(corners)[:, None] + np.float32(cell)).reshape(-1, 4)


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for the next picture would take the cores from what is measured next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _square(box: np.ndarray) -> np.ndarray:
    """Return the square (4,), left, top, right, bottom, around a box: `parse_roi_box_from_box`."""
    left, top, right, bottom = box[:4]
    side = (right - left + bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2 + 0.14 * side
    half = int(1.58 * side) / 2
    return np.array([x - half, y - half, x + half, y + half])


def _crop(bgr: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Cut the square of a photo, black outside it, and resize it to the network's input: `crop_img`."""
    left, top, right, bottom = (round(float(value)) for value in square)
    height, width = bgr.shape[:2]
    inside = bgr[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    if inside.shape[:2] != (bottom - top, right - left):
        whole = np.zeros((bottom - top, right - left, 3), np.uint8)
        y, x = max(0, -top), max(0, -left)
        whole[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        inside = whole
    return cv2.resize(inside, (CROP, CROP), interpolation=cv2.INTER_LINEAR)
