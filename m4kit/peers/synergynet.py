"""SynergyNet (Wu et al., 3DV 2021) from its checkpoint and the face model that its repository reads.

The layout is that of https://github.com/choyingw/SynergyNet, tested on files with random numbers: nobody here has run
the published ones. So the figures to quote are those of the paper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
import torch
from torch import nn

from m4kit.face_model import EXPRESSION_MODES, IDENTITY_MODES, FaceModel, FaceModelError, basel_model
from m4kit.files import reason_of
from m4kit.inference import loading
from m4kit.peers.tddfa_v2 import WhitenedPeer, check_modes, read_whitening
from m4kit.weights import WeightsError, load_strictly, read_pickled

CHECKPOINT = "best.pth.tar"
MODEL_FOLDER = "3dmm_data"
"""The face model's folder, with `keypoints_sim.npy`, `u_shp.npy`, `u_exp.npy`, `w_shp_sim.npy`, `w_exp_sim.npy`,
`tri.mat` and `param_whitening.pkl`."""

_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""MobileNet-V2's stages: expansion, channels, blocks, and stride of the first block (Sandler et al., CVPR 2018)."""

_BACKBONE = "I2P.backbone."
_OF_TRAINING = ("forwardDirection.", "reverseDirection.")
_BUFFERS = ("param_mean", "param_std", "w_shp", "u", "w_exp", "u_base", "w_shp_base", "w_exp_base")


def _convolution(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class _Block(nn.Module):
    """An inverted residual block."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *([_convolution(inputs, hidden, 1)] if expansion > 1 else []),
            _convolution(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class SynergyBackbone(nn.Module):
    """SynergyNet's MobileNet-V2: (B, 3, 120, 120) BGR in, 62 whitened BFM parameters out.

    The rest of SynergyNet, which refines landmarks, runs only in its training.
    """

    def __init__(self):
        super().__init__()
        layers, channels = [_convolution(3, 32, 3, stride=2)], 32
        for expansion, outputs, count, stride in _STAGES:
            for number in range(count):
                layers.append(_Block(channels, outputs, stride=1 if number else stride, expansion=expansion))
                channels = outputs
        self.features = nn.Sequential(*layers, _convolution(channels, 1280, 1))
        # The names of the checkpoint, where a dropout precedes each layer.
        self.classifier_ori, self.classifier_shape, self.classifier_exp = (
            nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, count))
            for count in (12, IDENTITY_MODES, EXPRESSION_MODES)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x).mean((2, 3))
        return torch.cat([self.classifier_ori(x), self.classifier_shape(x), self.classifier_exp(x)], 1)


class SynergyNet(WhitenedPeer):
    """SynergyNet from a folder with its `CHECKPOINT` and its `MODEL_FOLDER`. Layout tested, figures as published.

    `bfm` is the face model's folder if it is elsewhere. Its parameters and pixels are 3DDFA-V2's, because both are
    trained on 3DDFA's crops.

    Raises `WeightsError` or `FaceModelError` for files that are missing, broken or of another kind.
    """

    def __init__(self, folder: str | Path, *, bfm: str | Path | None = None):
        bfm, network = Path(bfm or Path(folder) / MODEL_FOLDER), read_checkpoint(Path(folder) / CHECKPOINT)
        whitening = read_whitening(bfm / "param_whitening.pkl", names=("param_mean", "param_std"))
        super().__init__(network, whitening, read_model(bfm), name="synergynet")


@loading()
def read_checkpoint(path: str | Path) -> SynergyBackbone:
    """Read the backbone of a checkpoint, in `eval` mode.

    Raises `WeightsError` for a file that is missing or broken, or has other tensors; it names the first of them.
    """
    checkpoint = read_pickled(path)
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise WeightsError(
            f"{path}: expected SynergyNet's checkpoint with a state_dict; give its {CHECKPOINT}"
        )
    tensors = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    kept = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in tensors.items()
        if not name.startswith(_OF_TRAINING) and name not in _BUFFERS
    }
    network = SynergyBackbone()
    load_strictly(network, kept, path=path)
    return network.eval()


def read_model(folder: str | Path) -> FaceModel:
    """Read the Basel Face Model in 3DDFA's form: `.npy` files in micrometres, and `tri.mat`, counted from 1.

    Raises `FaceModelError` for a file that is missing, broken or of another size.
    """
    folder = Path(folder)
    try:
        keypoints, u_shape, u_expression, identity, expression = (
            np.load(folder / f"{name}.npy", allow_pickle=False)
            for name in ("keypoints_sim", "u_shp", "u_exp", "w_shp_sim", "w_exp_sim")
        )
        triangles = scipy.io.loadmat(folder / "tri.mat")["tri"].astype(np.int64) - 1
        mean = u_shape + u_expression
        model = basel_model(mean, identity, expression, triangles=triangles, keypoints=keypoints)
        # Modes and mean of one size, and triangles within it.
        model.vertices(np.zeros(identity.shape[1]), np.zeros(expression.shape[1]))[model.triangles]
    except (OSError, KeyError, IndexError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise FaceModelError(
            f"{folder}: expected SynergyNet's face model ({MODEL_FOLDER}), but reading it failed "
            f"({reason_of(error)}); fetch the folder again, as SynergyNet's README says"
        ) from error
    check_modes(model, folder, remedy=f"give SynergyNet's {MODEL_FOLDER}")
    return model
