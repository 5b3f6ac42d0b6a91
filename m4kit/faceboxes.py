"""FaceBoxes, the detector's network.

Zhang et al., "FaceBoxes: A CPU Real-time Face Detector with High Accuracy" (IJCB 2017), in the form whose weights
are published as `FaceBoxesProd.pth`. The first layers reduce the photo by a factor of 32, and three inception blocks
widen the receptive field. Heads at strides 32, 64 and 128 predict for each of a grid of prior boxes (`priors`) how to
move it onto a face, and a score.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m4kit.checks import check_type
from m4kit.inference import loading
from m4kit.priors import CENTRE_VARIANCE, DENSITY, MEAN_COLOUR, PRIOR_SIZES, SIZE_VARIANCE
from m4kit.weights import WeightsError, fingerprint, load_strictly, read_pickled, read_tensors, resolve

PACKAGED_WEIGHTS = "faceboxes"
"""Registered name of the packaged weights."""

MEAN_BGR = tuple(map(float, reversed(MEAN_COLOUR)))


class Convolution(nn.Module):
    """Convolution, batch norm and ReLU; or CReLU, which keeps both signs in twice the channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, both_signs: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.both_signs = both_signs

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(torch.cat([x, -x], dim=1) if self.both_signs else x, inplace=True)


class Inception(nn.Module):
    """Four parallel branches of 32 channels with receptive fields of 1, 3, 3 and 5 pixels."""

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
    """The FaceBoxes network, 1,007,330 parameters."""

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
        # Not a weight.
        self.register_buffer("mean", torch.tensor(MEAN_BGR).reshape(3, 1, 1), persistent=False)
        # Whatever torch's default is.
        self.float()

    def answers(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The moves and logits of `forward` for images (B, H, W, 3) uint8 RGB: what an engine runs."""
        return self(images.permute(0, 3, 1, 2).flip(1).float() - self.mean)

    def facts(self) -> dict[str, str]:
        """What identifies the network, as text: the `notes` of its engine."""
        return {"fingerprint": fingerprint(self)}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The moves of all priors, (B, P, 4), and the logits of a face, (B, P).

        `x` is (B, 3, H, W) as `network_input` makes it. P and the order are those of `priors.prior_boxes(H, W)`.
        """
        levels = self.levels(x)
        moves = [self._flat(head(level), 4) for head, level in zip(self.moves, levels, strict=True)]
        classes = [self._flat(head(level), 2) for head, level in zip(self.scores, levels, strict=True)]
        classes = torch.cat(classes, dim=1)
        return torch.cat(moves, dim=1), classes[..., 1] - classes[..., 0]

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The inputs of the heads, at strides 32, 64 and 128; `x` is as for `forward`."""
        x = F.max_pool2d(self.digest1(x), 3, stride=2, padding=1)
        x = F.max_pool2d(self.digest2(x), 3, stride=2, padding=1)
        stride32 = self.inception(x)
        stride64 = self.halve1(stride32)
        return stride32, stride64, self.halve2(stride64)

    @staticmethod
    def _flat(grid: Tensor, width: int) -> Tensor:
        """(B, priors * width, rows, columns) -> (B, rows * columns * priors, width)."""
        return grid.permute(0, 2, 3, 1).reshape(grid.shape[0], -1, width)


def network_input(image: np.ndarray) -> Tensor:
    """The network's input for an image (H, W, 3) uint8 RGB: (3, H, W) float, BGR, minus the mean colour."""
    bgr = image[..., ::-1].astype(np.float32) - np.float32(MEAN_BGR)
    return torch.from_numpy(bgr).permute(2, 0, 1)


def encode(boxes: Tensor, priors: Tensor) -> Tensor:
    """Moves (..., 4) from boxes (..., 4) and priors (P, 4), the inverse of `priors.decode`."""
    centre, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    return torch.cat(
        [
            (centre - priors[:, :2]) / (CENTRE_VARIANCE * priors[:, 2:]),
            torch.log(size / priors[:, 2:]) / SIZE_VARIANCE,
        ],
        dim=-1,
    )


@loading()
def load_network(weights: str | Path = "m4kit") -> FaceBoxes:
    """Load the network in `eval` mode from a name or path, as for `Detector`.

    Raises `WeightsError` if the file is missing, broken or of another network.
    """
    check_type(
        weights,
        "load_network",
        str,
        PathLike,
        remedy='"m4kit" names the packaged one',
        words="a name or path",
    )
    path = resolve(PACKAGED_WEIGHTS if weights == "m4kit" else weights)
    tensors = _read_pth(path) if path.suffix == ".pth" else read_tensors(path)[0]
    network = FaceBoxes().eval()
    load_strictly(network, tensors, path=path)
    return network.requires_grad_(False)


def _read_pth(path: Path) -> dict[str, Tensor]:
    """Read the official PyTorch file and rename its tensors to m4kit's names."""
    tensors = read_pickled(path)
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
