"""FaceBoxes, the face detector: a photo in, boxes out.

The network is the one of Zhang et al., "FaceBoxes: A CPU Real-time Face Detector with High Accuracy" (IJCB
2017), in the form whose weights are published as `FaceBoxesProd.pth`. Rapidly digested layers shrink the
photo 32 times, three inception blocks widen the receptive field, and heads at strides 32, 64 and 128 say for
each of a grid of prior boxes how to move it onto a face and how sure they are that there is one. Small priors
are laid denser than the grid, so that a small face finds as many of them as a large one (anchor
densification).

    detector = Detector()
    boxes = detector(image)          # (n, 5): left, top, right, bottom in photo pixels, score

Wherever m4kit takes a detector, any callable that turns an image into an array (n, 4) or (n, 5) will do.
"""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m4kit.boxes import suppress
from m4kit.folding import folded
from m4kit.images import check_image
from m4kit.weights import WeightsError, load_strictly, read_tensors, resolve

PACKAGED_WEIGHTS = "faceboxes"
"""Their name among the weights that m4kit knows."""

MEAN_BGR = (104.0, 117.0, 123.0)
STRIDES = (32, 64, 128)
PRIOR_SIZES = ((32, 64, 128), (256,), (512,))
DENSITY = {32: 4, 64: 2}
"""Priors of a size in each row and column of a grid cell, where that is not one."""
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
"""Units in which the network says how far a prior is to move, and by what factor to grow."""

NMS_IOU = 0.3
NETWORK_MIN_FACE = 20.0
"""Side in pixels of the smallest faces that the network finds with some reliability."""
DEFAULT_PIXELS = 1080 * 720
"""Photos of up to this many pixels are taken as they are, unless `min_face` says otherwise; 3DDFA-V2's limit."""
DEFAULT_SHARE = 0.012
"""The smallest face wanted in a larger photo, as a share of its longer side: the back row of a school class."""
MAX_PIXELS = 48_000_000
"""The most that `min_face` may ask for: beyond it a photo takes many seconds."""
WHOLE_PIXELS = 2_200_000
"""A larger picture goes through the network in tiles, so that memory does not grow with it."""
TILE, OVERLAP = 1024, 208
"""Side of a tile and what it shares with its neighbours, in network pixels: a face smaller than the overlap lies
whole in some tile, a larger one is found in the whole photo made smaller."""
MIN_SIDE = 8
"""A photo with a side below this many pixels at the network's scale holds no face that it could find."""


class Convolution(nn.Module):
    """Convolution, batch normalisation, and ReLU; or CReLU, which keeps both signs in twice the channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, both_signs: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.both_signs = both_signs

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(torch.cat([x, -x], dim=1) if self.both_signs else x, inplace=True)


class Inception(nn.Module):
    """Four branches of 32 channels with receptive fields of 1, 3, 3 and 5 pixels, side by side."""

    def __init__(self):
        super().__init__()
        self.point = Convolution(128, 32, 1)
        self.pooled = Convolution(128, 32, 1)
        self.middle = nn.Sequential(Convolution(128, 24, 1), Convolution(24, 32, 3))
        self.wide = nn.Sequential(Convolution(128, 24, 1), Convolution(24, 32, 3), Convolution(32, 32, 3))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(F.avg_pool2d(x, 3, stride=1, padding=1))
        return torch.cat([self.point(x), pooled, self.middle(x), self.wide(x)], dim=1)


class FaceBoxes(nn.Module):
    """The network, 1,007,330 parameters."""

    def __init__(self):
        super().__init__()
        self.digest1 = Convolution(3, 24, 7, stride=4, both_signs=True)
        self.digest2 = Convolution(48, 64, 5, stride=2, both_signs=True)
        self.inception = nn.Sequential(Inception(), Inception(), Inception())
        self.halve1 = nn.Sequential(Convolution(128, 128, 1), Convolution(128, 256, 3, stride=2))
        self.halve2 = nn.Sequential(Convolution(256, 128, 1), Convolution(128, 256, 3, stride=2))
        priors = [sum(DENSITY.get(size, 1) ** 2 for size in sizes) for sizes in PRIOR_SIZES]
        heads = list(zip((128, 256, 256), priors, strict=True))
        self.moves = nn.ModuleList(nn.Conv2d(width, n * 4, 3, padding=1) for width, n in heads)
        self.scores = nn.ModuleList(nn.Conv2d(width, n * 2, 3, padding=1) for width, n in heads)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How each prior is to move, (B, P, 4), and the logit of there being a face, (B, P).

        `x` is (B, 3, H, W) as `network_input` makes it; P and the order are those of `prior_boxes(H, W)`.
        """
        x = F.max_pool2d(self.digest1(x), 3, stride=2, padding=1)
        x = F.max_pool2d(self.digest2(x), 3, stride=2, padding=1)
        stride32 = self.inception(x)
        stride64 = self.halve1(stride32)
        levels = (stride32, stride64, self.halve2(stride64))
        moves = [self._flat(head(level), 4) for head, level in zip(self.moves, levels, strict=True)]
        classes = [self._flat(head(level), 2) for head, level in zip(self.scores, levels, strict=True)]
        classes = torch.cat(classes, dim=1)
        return torch.cat(moves, dim=1), classes[..., 1] - classes[..., 0]

    @staticmethod
    def _flat(grid: Tensor, width: int) -> Tensor:
        """(B, priors * width, rows, columns) -> (B, rows * columns * priors, width)."""
        return grid.permute(0, 2, 3, 1).reshape(len(grid), -1, width)


def network_input(image: np.ndarray) -> Tensor:
    """An image (H, W, 3) uint8 RGB as the network wants it: (3, H, W) float, BGR, less the mean colour."""
    bgr = image[..., ::-1].astype(np.float32) - np.float32(MEAN_BGR)
    return torch.from_numpy(bgr).permute(2, 0, 1)


@lru_cache(maxsize=16)
def prior_boxes(height: int, width: int) -> Tensor:
    """The priors of a picture, (P, 4): centre x, centre y, width, height in pixels from the upper left
    corner.

    Cached by size: do not write into it.
    """
    priors = []
    for stride, sizes in zip(STRIDES, PRIOR_SIZES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        # Dense priors start at the cell's corner, a single one sits in its middle.
        cell = []
        for size in sizes:
            density = DENSITY.get(size, 1)
            offsets = np.arange(density) * stride / density if density > 1 else np.array([stride / 2])
            y, x = np.meshgrid(offsets, offsets, indexing="ij")
            side = np.full(x.size, size)
            cell.append(np.stack([x.ravel(), y.ravel(), side, side], axis=1))
        cell = np.concatenate(cell)
        y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
        corner = np.stack([x, y, np.zeros_like(x), np.zeros_like(x)], axis=-1)
        priors.append((corner[:, :, None] + cell).reshape(-1, 4))
    return torch.from_numpy(np.concatenate(priors).astype(np.float32))


def decode(moves: Tensor, priors: Tensor) -> Tensor:
    """Boxes (..., 4) as left, top, right, bottom from the network's moves (..., 4) and the priors (P, 4)."""
    centre = priors[:, :2] + moves[..., :2] * CENTRE_VARIANCE * priors[:, 2:]
    half = priors[:, 2:] * torch.exp(moves[..., 2:] * SIZE_VARIANCE) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def encode(boxes: Tensor, priors: Tensor) -> Tensor:
    """The inverse of `decode`."""
    centre, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    return torch.cat(
        [
            (centre - priors[:, :2]) / (CENTRE_VARIANCE * priors[:, 2:]),
            torch.log(size / priors[:, 2:]) / SIZE_VARIANCE,
        ],
        dim=-1,
    )


class Detector:
    """Finds faces in photos.

    `weights` is "m4kit" for the weights that lie in the package, "faceboxes-official" for the published ones,
    which are downloaded once (see `m4kit.weights`), the path of a `.safetensors` file of m4kit or of the official
    `FaceBoxesProd.pth`, or a network. The detector works with a folded copy that is made once: later changes of
    `network` have no effect on it.
    """

    def __init__(self, weights: str | Path | FaceBoxes = "m4kit"):
        self.network = weights if isinstance(weights, FaceBoxes) else load_network(weights)
        self._folded = folded(self.network)

    def __call__(
        self,
        image: np.ndarray,
        *,
        threshold: float = 0.5,
        max_faces: int | None = None,
        min_face: float | None = None,
    ) -> np.ndarray:
        """Faces of a photo, (n, 5): left, top, right, bottom in photo pixels and the score, best first.

        `image` is (H, W, 3) uint8 RGB. Pixel centres have integer coordinates, and the box of a face that the
        frame cuts reaches beyond the photo. Faces of a score below `threshold` are left out, and so are all
        but the best `max_faces`.

        `min_face` is the side of the smallest face wanted, in photo pixels, or below 1 as a share of the photo's
        longer side. The photo is resized so that such a face becomes 20 pixels, about the least that the
        network finds: a small value enlarges the photo and takes time, a large one is fast. What becomes larger
        than 2.2 megapixels is searched in tiles. By default a photo of up to 0.78 megapixels (1080x720) is taken
        as it is, and a larger one shrunk as far as faces of 1.2 % of its longer side allow.
        """
        image = check_image(image, name="detector")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold: expected a score between 0 and 1, got {threshold}")
        if max_faces is not None and max_faces < 1:
            raise ValueError(f"max_faces: expected at least 1, or None for all, got {max_faces}")
        found = self._search(image, _scale(image.shape, min_face), threshold)
        return found[suppress(found[:, :4], found[:, 4], iou=NMS_IOU)[:max_faces]]

    def _search(self, image: np.ndarray, scale: float, threshold: float) -> np.ndarray:
        """Boxes (n, 5) in photo pixels, not yet suppressed, of the photo at `scale` network pixels a photo pixel."""
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        if height * width <= WHOLE_PIXELS:
            return self._detections(image, height, width, threshold)
        # Faces too large for a tile.
        small = (DEFAULT_PIXELS / (image.shape[0] * image.shape[1])) ** 0.5
        parts = [self._search(image, small, threshold)]
        side, step = TILE / scale, (TILE - OVERLAP) / scale
        for top in _starts(image.shape[0], side, step):
            for left in _starts(image.shape[1], side, step):
                tile = image[top : top + round(side), left : left + round(side)]
                tall, wide = (max(1, round(length * scale)) for length in tile.shape[:2])
                found = self._detections(tile, tall, wide, threshold)
                found[:, :4] += np.tile([left, top], 2)
                corner = np.array([left, top, left + tile.shape[1], top + tile.shape[0]]) - 0.5
                parts.append(found[_whole(found, corner, image.shape, margin=2 / scale)])
        return np.concatenate(parts)

    def _detections(self, image: np.ndarray, height: int, width: int, threshold: float) -> np.ndarray:
        """Boxes (n, 5) in the image's pixels, of the image resized for the network."""
        if min(height, width) < MIN_SIDE:
            return np.zeros((0, 5))
        boxes, scores = self._candidates(resize(image, height, width), threshold)
        # The network counts from the photo's corner, m4kit from the first pixel's centre.
        boxes = boxes * np.tile([image.shape[1] / width, image.shape[0] / height], 2) - 0.5
        return np.column_stack([boxes, scores])

    def _candidates(self, image: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """All boxes (n, 4) from the image's corner, and scores (n,), that reach the threshold."""
        with torch.inference_mode():
            moves, logits = self._folded(network_input(image)[None])
            scores = logits[0].sigmoid()
            found = scores >= threshold
            boxes = decode(moves[0, found], prior_boxes(*image.shape[:2])[found])
        return boxes.double().numpy(), scores[found].double().numpy()


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image at another size, averaged over areas where it shrinks so that no detail aliases."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _starts(length: int, side: float, step: float) -> list[int]:
    """Where tiles begin along a length, so that they cover it and the last one ends with it."""
    last = max(0, length - round(side))
    return [*range(0, last, max(1, round(step))), last] if last else [0]


def _whole(found: np.ndarray, tile: np.ndarray, shape: tuple[int, ...], *, margin: float) -> np.ndarray:
    """Which boxes (n, 5) a tile (left, top, right, bottom) does not cut, unless the photo's edge does so too."""
    inner = tile > -0.5, tile < np.array([0, 0, shape[1] - 0.5, shape[0] - 0.5])
    cut = (inner[0][:2] & (found[:, :2] < tile[:2] + margin)).any(axis=1)
    return ~(cut | (inner[1][2:] & (found[:, 2:4] > tile[2:] - margin)).any(axis=1))


def _scale(shape: tuple[int, ...], min_face: float | None) -> float:
    """Network pixels per photo pixel."""
    pixels, longer = shape[0] * shape[1], max(shape[:2])
    if min_face is None:
        wanted = NETWORK_MIN_FACE / (DEFAULT_SHARE * longer)
        return min(1.0, max(wanted, (DEFAULT_PIXELS / pixels) ** 0.5))
    if not min_face > 0:
        raise ValueError(
            f"min_face: expected a face's side in photo pixels, or as a share of the photo, above 0, got {min_face}"
        )
    scale = NETWORK_MIN_FACE / (min_face * longer if min_face < 1 else min_face)
    if pixels * scale**2 > MAX_PIXELS:
        least = NETWORK_MIN_FACE * (pixels / MAX_PIXELS) ** 0.5
        raise ValueError(
            f"min_face={min_face:g} would enlarge this photo of {shape[1]}x{shape[0]} pixels to "
            f"{pixels * scale**2 / 1e6:.0f} megapixels; ask for {least:.0f} pixels or more, or cut the photo"
        )
    return scale


def load_network(weights: str | Path = "m4kit") -> FaceBoxes:
    """The network with the weights of a name or path, as `Detector` takes them, ready for inference.

    Raises `WeightsError` where the file is missing, broken or of another network.
    """
    path = resolve(PACKAGED_WEIGHTS if weights == "m4kit" else weights)
    tensors = _read_pth(path) if path.suffix == ".pth" else read_tensors(path)[0]
    network = FaceBoxes().eval()
    load_strictly(network, tensors, path=path)
    return network.requires_grad_(False)


def _read_pth(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch state dict with the official names, by our names."""
    try:
        tensors = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path}: expected a whole PyTorch file of weights, but reading failed ({error}); fetch it anew"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise WeightsError(
            f"{path}: expected a dictionary of tensors, got {type(tensors).__name__}; give FaceBoxesProd.pth"
        )
    return {_our_name(name): tensor for name, tensor in tensors.items()}


_OFFICIAL_NAMES = {
    "conv1": "digest1",
    "conv2": "digest2",
    "conv3_1": "halve1.0",
    "conv3_2": "halve1.1",
    "conv4_1": "halve2.0",
    "conv4_2": "halve2.1",
    "inception1": "inception.0",
    "inception2": "inception.1",
    "inception3": "inception.2",
    "branch1x1": "point",
    "branch1x1_2": "pooled",
    "branch3x3_reduce": "middle.0",
    "branch3x3": "middle.1",
    "branch3x3_reduce_2": "wide.0",
    "branch3x3_2": "wide.1",
    "branch3x3_3": "wide.2",
    "bn": "norm",
    "loc": "moves",
    "conf": "scores",
}


def _our_name(official: str) -> str:
    parts = official.removeprefix("module.").split(".")
    return ".".join(_OFFICIAL_NAMES.get(part, part) for part in parts)
