"""3DDFA-V2 (Guo et al., ECCV 2020): its files, its networks mb1 and mb05, and the peer made of them.

The files are those of https://github.com/cleardusk/3DDFA_V2 (MIT licence; the Basel Face Model has its own).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from m4kit.camera import CROP_SIZE
from m4kit.checks import read_only
from m4kit.face_model import EXPRESSION_MODES, IDENTITY_MODES, FaceModel, FaceModelError, load_numpy_pickle
from m4kit.files import reason_of
from m4kit.folding import folded
from m4kit.inference import inference, loading
from m4kit.network import Backbone, to_input
from m4kit.parameters import PARAMETERS, join, split_camera
from m4kit.peers.peer import Peer
from m4kit.weights import WeightsError, load_strictly, read_pickled

NETWORKS = {"mb1": "mb1_120x120.onnx", "mb05": "mb05_120x120.pth"}
"""The networks, MobileNet x1 and x0.5, and their files."""

WHITENING = "param_mean_std_62d_120x120.pkl"
"""The file with mean and standard deviation of the parameters."""

BFM = "bfm_noneck_v3.pkl"
"""The file with the Basel Face Model."""

_BATCH = 24


class TddfaNetwork(nn.Module):
    """3DDFA-V2's own network: (B, 3, 120, 120) BGR in, 62 whitened BFM parameters out."""

    def __init__(self, width: float):
        super().__init__()
        self.backbone = Backbone(width, int(1024 * width))
        self.fc = nn.Linear(int(1024 * width), PARAMETERS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(x)[-1].mean((2, 3)))


class WhitenedPeer(Peer):
    """A peer whose network takes BGR and gives 3DDFA's parameters, whitened with `whitening`: mean and deviation."""

    def __init__(
        self, network: nn.Module, whitening: tuple[np.ndarray, np.ndarray], model: FaceModel, *, name: str
    ):
        super().__init__()
        self.name, self.model = name, model
        self.weights = sum(weight.numel() for weight in network.parameters())
        self._network, self._whitening = folded(network), whitening

    def parameters_of(self, crops: np.ndarray) -> np.ndarray:
        """Raw parameters (n, 62), as `Peer.parameters_of`."""
        mean, std = self._whitening
        return to_crop_frame(whitened(self._network, crops) * std + mean)


class TddfaV2(WhitenedPeer):
    """3DDFA-V2 with the network "mb1" or "mb05", from a folder with its `NETWORKS`, `WHITENING` and `BFM`.

    `bfm` is the Basel Face Model's file if it is elsewhere. Coefficients are in the face model's unit, not in
    standard deviations.

    Raises `WeightsError` or `FaceModelError` for files that are missing, broken or of another kind.
    """

    def __init__(self, folder: str | Path, network: str = "mb1", *, bfm: str | Path | None = None):
        if network not in NETWORKS:
            raise ValueError(f"network: expected {' or '.join(NETWORKS)}, got {network!r}")
        folder = Path(folder)
        own, whitening = read_network(folder / NETWORKS[network]), read_whitening(folder / WHITENING)
        super().__init__(own, whitening, read_bfm(bfm or folder / BFM), name=f"3ddfa-v2-{network}")


@inference()
def whitened(network: nn.Module, crops: np.ndarray) -> np.ndarray:
    """Compute whitened parameters (n, 62) by a network that takes BGR, for crops (n, 120, 120, 3) uint8 RGB."""
    answers = [np.zeros((0, PARAMETERS), np.float32)]
    for start in range(0, len(crops), _BATCH):
        answers.append(network(to_input(crops[start : start + _BATCH]).flip(1)).numpy())
    return np.concatenate(answers).astype(np.float64)


def to_crop_frame(raw: np.ndarray) -> np.ndarray:
    """Convert 3DDFA's raw parameters (..., 62) to the camera of m4kit: from millimetres to the crop frame.

    Its cameras take micrometres. Its crop pixels count x from 1, and y from the lower edge.
    """
    camera, coefficients = split_camera(np.array(raw, dtype=np.float64))
    camera[..., :3] *= 1000
    camera[..., 3] -= [1 + CROP_SIZE / 2, CROP_SIZE / 2, 1]
    return join(camera, coefficients)


def read_whitening(path: str | Path, *, names: tuple[str, str] = ("mean", "std")) -> tuple[np.ndarray, ...]:
    """Read mean and standard deviation (62,) of the parameters, in a pickle under these names.

    Raises `WeightsError` for a file that is missing, broken or of another kind.
    """
    path = Path(path)
    try:
        data = load_numpy_pickle(path)
        return tuple(
            np.asarray(data[name], np.float64).ravel()[:PARAMETERS].reshape(PARAMETERS) for name in names
        )
    except (FaceModelError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path}: expected a pickle with {names[0]} and {names[1]} of the 62 parameters, but reading it failed "
            f"({reason_of(error)}); fetch it again from the network's publisher"
        ) from error


def read_bfm(path: str | Path) -> FaceModel:
    """Read the Basel Face Model of 3DDFA-V2 (`FaceModel.load_bfm`) with exactly its 68 landmarks.

    The file takes the depth of landmark 45 from another vertex than its x and y. 3DDFA-V2's figures contain that, so
    `landmarks` has it too; `landmark_vertices` do not.

    Raises `FaceModelError` for a file that is missing, broken, or has other modes.
    """
    model = FaceModel.load_bfm(path)
    check_modes(model, path, remedy=f"give 3DDFA-V2's {BFM}")
    keypoints = load_numpy_pickle(path)["keypoints"].reshape(-1, 3).astype(np.int64)
    model.landmark_mean = read_only(model.mean.ravel()[keypoints])
    model.landmark_modes = read_only(model.modes.reshape(len(model.modes), -1)[:, keypoints])
    return model


def check_modes(model: FaceModel, path: str | Path, *, remedy: str) -> None:
    """Raise `FaceModelError` unless a face model has 40 identity and 10 expression modes."""
    modes = len(model.identity_modes), len(model.expression_modes)
    if modes != (IDENTITY_MODES, EXPRESSION_MODES):
        raise FaceModelError(
            f"{path}: expected a Basel Face Model of {IDENTITY_MODES} identity and {EXPRESSION_MODES} expression "
            f"modes, got {modes[0]} and {modes[1]}; {remedy}"
        )


@loading()
def read_network(path: str | Path) -> TddfaNetwork:
    """Read a network from its `.onnx` (mb1) or `.pth` (mb05) file, in `eval` mode.

    The ONNX file has its batch norms folded into the convolutions. Here each norm becomes x + bias. Reading it needs
    the package onnx. Raises `WeightsError` for a file that is missing, broken or of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; fetch it from https://github.com/cleardusk/3DDFA_V2 (folder weights), or give "
            "the folder that holds it"
        )
    try:
        tensors, biases = _read_onnx(path) if path.suffix == ".onnx" else (_read_pth(path), {})
        network = TddfaNetwork(tensors["backbone.conv1.weight"].shape[0] / 32)
    except ImportError as error:
        raise WeightsError(f"{path}: reading it needs the package onnx; pip install onnx") from error
    # Whatever the file's reader raises.
    except Exception as error:
        raise WeightsError(
            f"{path}: expected 3DDFA-V2's {NETWORKS['mb1']} or {NETWORKS['mb05']}, but reading it failed "
            f"({reason_of(error)}); fetch it again"
        ) from error
    for name, bias in biases.items():
        norm = norm_of(name)
        fresh = network.get_submodule(norm).state_dict()
        fresh["weight"] = (fresh["running_var"] + network.get_submodule(norm).eps).sqrt()
        fresh["bias"] = bias
        tensors |= {f"{norm}.{key}": value for key, value in fresh.items()}
    load_strictly(network, tensors, path=path)
    return network.eval()


def norm_of(convolution: str) -> str:
    """Name the batch norm that follows a convolution of `TddfaNetwork`."""
    return convolution.replace("conv1", "bn1").replace("conv_", "bn_")


def _read_onnx(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Read the network's tensors, and the convolutions' biases by the convolutions' names."""
    import onnx

    graph = onnx.load(str(path)).graph
    stored = {item.name: torch.tensor(onnx.numpy_helper.to_array(item)) for item in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    width = stored[convolutions[0].input[1]].shape[0] / 32
    tensors, biases = {"fc.weight": stored["fc.weight"], "fc.bias": stored["fc.bias"]}, {}
    names = [name for name, module in TddfaNetwork(width).named_modules() if isinstance(module, nn.Conv2d)]
    for name, node in zip(names, convolutions, strict=True):
        tensors[f"{name}.weight"] = stored[node.input[1]]
        biases[name] = stored[node.input[2]]
    return tensors, biases


def _read_pth(path: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, tensor in read_pickled(path)["state_dict"].items():
        short = name.removeprefix("module.")
        # The layer of landmarks is only for the training.
        if not short.startswith("fc_lm."):
            of_last = short.startswith("fc_param.")
            tensors["fc." + short.removeprefix("fc_param.") if of_last else f"backbone.{short}"] = tensor
    return tensors
