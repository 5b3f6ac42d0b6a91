"""M4Net: predicts the 62 parameters of the 3D face model from a crop of a face, with four heads and their fusion.

`docs/m4net.md` lists which parts come from the paper and which are m4kit's own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from m4kit.camera import CROP_SIZE
from m4kit.checks import check_array, check_choice, check_type, check_whole
from m4kit.inference import loading
from m4kit.parameters import PARAMETERS, fuse
from m4kit.weights import (
    WeightsError,
    fingerprint,
    load_strictly,
    read_tensors,
    resolve,
    verify,
    write_tensors,
)


class RReLU(nn.RReLU):
    """Randomized leaky ReLU. Unlike PyTorch's, it stays in the channels-last memory format, which trains faster.

    Slopes below 0 are drawn from `lower` to `upper` for each value, in 256 steps. In evaluation the slope is their
    mean.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        # Random bytes: floats take three times as long to draw.
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        steps = words.view(torch.uint8).as_strided(x.shape, torch.empty_like(x).stride()).to(x.dtype)
        slopes = steps.mul_((self.upper - self.lower) / 255).add_(self.lower)
        # A comparison as a number: masks and torch.where are slow on a CPU.
        return x * torch.maximum(slopes, (x >= 0).to(x.dtype))


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "rrelu": RReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
}
FUSIONS = ("static", "dynamic")
HEAD_STAGES = ("dw5_1", "dw5_3", "dw5_5", "dw6")
"""The layers whose outputs the four heads take, from early to late."""


class Size(NamedTuple):
    """Channels of one size of M4Net.

    `width` multiplies MobileNet-V1's channels. `last` is the number of channels of the last layer, which is smaller
    than MobileNet-V1's to make up for the cost of the heads. Each of the first three heads reduces its input to
    `head` channels.
    """

    width: float
    last: int
    head: int


SIZES = {"base": Size(1.0, last=696, head=48), "small": Size(0.5, last=272, head=32)}

# Name, channels at width 1 and stride of MobileNet-V1's separable layers, with 3DDFA-V2's names.
_LAYERS = (
    ("dw2_1", 64, 1),
    ("dw2_2", 128, 2),
    ("dw3_1", 128, 1),
    ("dw3_2", 256, 2),
    ("dw4_1", 256, 1),
    ("dw4_2", 512, 2),
    ("dw5_1", 512, 1),
    ("dw5_2", 512, 1),
    ("dw5_3", 512, 1),
    ("dw5_4", 512, 1),
    ("dw5_5", 512, 1),
    ("dw5_6", 1024, 2),
    ("dw6", 1024, 1),
)


class Separable(nn.Module):
    """Depthwise 3x3 and pointwise convolutions, each with batch norm and activation."""

    def __init__(self, channels: int, out_channels: int, stride: int, activation: type[nn.Module]):
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        self.bn_dw = nn.BatchNorm2d(channels)
        self.conv_sep = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn_sep = nn.BatchNorm2d(out_channels)
        self.activation = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.bn_dw(self._depthwise(x)))
        return self.activation(self.bn_sep(self.conv_sep(x)))

    def _depthwise(self, x: torch.Tensor) -> torch.Tensor:
        slow = self.training and x.dtype == torch.bfloat16 and x.device.type == "cpu"
        if self.conv_dw.stride == (1, 1) or not slow:
            return self.conv_dw(x)
        # The result is the same. In bf16 on a CPU, the gradient of a strided depthwise convolution is very slow:
        # computing all positions and dropping three of four halves the time of a training step.
        full = nn.functional.conv2d(x, self.conv_dw.weight, padding=1, groups=self.conv_dw.groups)
        return full[:, :, ::2, ::2]


class Backbone(nn.Module):
    """MobileNet-V1 in 3DDFA-V2's layout.

    `forward` takes (B, 3, S, S) and returns the inputs of the four heads: three maps of stride 16 and one of stride
    32.
    """

    def __init__(self, width: float, last: int, activation: type[nn.Module] = nn.ReLU):
        super().__init__()
        channels = int(32 * width)
        self.conv1 = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.activation = activation()
        for name, full, stride in _LAYERS:
            out_channels = last if name == "dw6" else int(full * width)
            self.add_module(name, Separable(channels, out_channels, stride, activation))
            channels = out_channels

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.activation(self.bn1(self.conv1(x)))
        maps = []
        for name, _, _ in _LAYERS:
            x = self.get_submodule(name)(x)
            if name in HEAD_STAGES:
                maps.append(x)
        return maps


class SpatialHead(nn.Module):
    """A head that keeps spatial positions: a 1x1 convolution and a linear layer, (B, C, s, s) to (B, 62)."""

    def __init__(self, channels: int, reduced: int, side: int, activation: type[nn.Module]):
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1, bias=False)
        self.bn = nn.BatchNorm2d(reduced)
        self.activation = activation()
        self.linear = nn.Linear(reduced * side * side, PARAMETERS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.bn(self.reduce(x)))
        return _in_full_precision(self.linear, x.flatten(1))


class Outputs(NamedTuple):
    """All outputs of M4Net for B crops.

    `heads` (B, 4, 62) are the heads' raw parameters, `weights` (B, 4) are the heads' weights, which sum to 1, and
    `parameters` (B, 62) is the weighted sum.
    """

    heads: torch.Tensor
    weights: torch.Tensor
    parameters: torch.Tensor


class M4Net(nn.Module):
    """A MobileNet backbone with four heads, each of which predicts all 62 parameters, and their fusion.

    `size` is "base" or "small" (half as wide), and `activation` is one of `ACTIVATIONS`. `fusion` is "static" (one
    weight per head for all faces, learned or set by `fix_head_weights`) or "dynamic" (a linear layer on the last
    features computes the weights for each face). `crop_size` is the side of the input in pixels.

    The input is (B, 3, crop_size, crop_size) float, RGB, (value - 127.5) / 128, as `to_input` makes it from crops.
    The layers compute whitened parameters (mean 0 and standard deviation 1 over the training set). The buffers
    `parameter_mean` and `parameter_std` (62,) turn them into raw parameters, which the network returns.

    `notes` says where the weights come from: `run` and `licence` as given to `save`, the `file` that they were loaded
    from, and `face_model`, the fingerprint of the face model whose parameters they predict. A new network has no
    notes; training it sets `face_model`.
    """

    def __init__(
        self,
        size: str = "base",
        activation: str = "relu",
        fusion: str = "static",
        *,
        crop_size: int = CROP_SIZE,
    ):
        super().__init__()
        check_choice(size, "size", SIZES)
        check_choice(activation, "activation", ACTIVATIONS)
        check_choice(fusion, "fusion", FUSIONS)
        check_whole(crop_size, "crop_size", least=1)
        self.size, self.activation, self.fusion, self.crop_size = size, activation, fusion, crop_size
        self.notes: dict[str, str] = {}
        width, last, reduced = SIZES[size]
        kind = ACTIVATIONS[activation]
        self.backbone = Backbone(width, last, kind)
        side = -(-crop_size // 16)
        channels = int(512 * width)
        self.spatial_heads = nn.ModuleList(SpatialHead(channels, reduced, side, kind) for _ in range(3))
        self.last_head = nn.Linear(last, PARAMETERS)
        if fusion == "static":
            self.head_logits = nn.Parameter(torch.zeros(len(HEAD_STAGES)))
        else:
            self.head_scores = nn.Linear(last, len(HEAD_STAGES))
        self.register_buffer("parameter_mean", torch.zeros(PARAMETERS))
        self.register_buffer("parameter_std", torch.ones(PARAMETERS))
        self._initialise()
        # Whatever torch's default is.
        self.float()

    def _initialise(self) -> None:
        gain = _gain(self.activation)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_in = module.weight[0].numel()
                nn.init.normal_(module.weight, std=gain / fan_in**0.5)
            elif isinstance(module, nn.Linear):
                # An untrained network predicts the mean face.
                nn.init.normal_(module.weight, std=0.1 / module.in_features**0.5)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Fused raw parameters (B, 62) of crops (B, 3, S, S)."""
        return self.outputs(x).parameters

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        """Each head's raw parameters (B, 4, 62) of crops (B, 3, S, S), early head first."""
        return self.outputs(x).heads

    def outputs(self, x: torch.Tensor) -> Outputs:
        """Compute heads, weights and fused parameters of crops (B, 3, S, S) in one pass."""
        side = self.crop_size
        if x.dim() != 4 or x.shape[1:] != (3, side, side):
            raise ValueError(
                f"M4Net expected crops of shape (B, 3, {side}, {side}), got {tuple(x.shape)}; "
                "to_input makes them from (B, H, W, 3) pixels"
            )
        *early, last = self.backbone(x)
        pooled = last.mean((2, 3))
        whitened = [head(stage) for head, stage in zip(self.spatial_heads, early, strict=True)]
        whitened.append(_in_full_precision(self.last_head, pooled))
        heads = torch.stack(whitened, 1) * self.parameter_std + self.parameter_mean
        if self.fusion == "static":
            weights = self.head_logits.softmax(0).expand(heads.shape[0], -1)
        else:
            weights = _in_full_precision(self.head_scores, pooled).softmax(1)
        return Outputs(heads, weights, fuse(heads, weights))

    def answers(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute what an engine runs: heads (B, 4, 62) and weights (B, 4) for crops (B, S, S, 3) uint8 RGB."""
        heads, weights, _ = self.outputs(_normalised(crops))
        return heads, weights

    def facts(self) -> dict[str, str]:
        """Return what identifies the network, as text: the `notes` of its engine."""
        return {
            "fingerprint": fingerprint(self),
            "heads_digest": self.heads_digest(),
            "face_model": self.notes.get("face_model", ""),
            "file": self.notes.get("file", ""),
            "crop_size": str(self.crop_size),
        }

    def heads_digest(self) -> str:
        """Compute a fingerprint of the weights that the heads' outputs depend on, without those of the fusion.

        Networks with the same heads and another fusion have the same digest, so measurements of the heads hold for
        all of them.
        """
        return fingerprint(self, without=("head_logits", "head_scores"))

    def whiten(self, parameters: torch.Tensor) -> torch.Tensor:
        """Whiten raw parameters (..., 62): standard deviations from their mean, as the heads' layers compute them."""
        return (parameters - self.parameter_mean) / self.parameter_std

    def fix_head_weights(self, weights) -> M4Net:
        """Set the static weights of the four heads and freeze them. They are scaled to sum to 1."""
        if self.fusion != "static":
            raise ValueError("fix_head_weights: expected a network of static fusion, got dynamic")
        weights = torch.tensor(check_array(weights, "head weights", "four numbers"), dtype=torch.float32)
        valid = weights.shape == (len(HEAD_STAGES),) and bool(
            weights.isfinite().all() and (weights >= 0).all()
        )
        if not valid or weights.sum() == 0:
            raise ValueError(f"expected four weights >= 0 with a sum above 0, got {weights.tolist()}")
        with torch.no_grad():
            self.head_logits.copy_((weights / weights.sum()).log())
        self.head_logits.requires_grad_(False)
        return self

    def with_dynamic_fusion(self) -> M4Net:
        """Copy this network with dynamic fusion, whose layer first returns the static weights for every face."""
        if self.fusion != "static":
            raise ValueError(f"expected a network of static fusion, got {self.fusion}")
        network = M4Net(self.size, self.activation, "dynamic", crop_size=self.crop_size)
        state = self.state_dict()
        state["head_scores.bias"] = state.pop("head_logits")
        state["head_scores.weight"] = torch.zeros_like(network.head_scores.weight)
        network.load_state_dict(state, strict=True)
        network.notes = dict(self.notes)
        return network.train(self.training)

    def save(self, path: str | Path, *, run: str = "", licence: str = "", half: bool = False) -> None:
        """Write the weights as `.safetensors`, with the metadata that `load` needs to build the network.

        `run` names the training run. `half` stores the large tensors in half precision.
        """
        metadata = {
            "network": "M4Net",
            "size": self.size,
            "activation": self.activation,
            "fusion": self.fusion,
            "crop_size": str(self.crop_size),
            "run": run or self.notes.get("run", ""),
            "licence": licence or self.notes.get("licence", ""),
            "face_model": self.notes.get("face_model", ""),
        }
        write_tensors(path, self.state_dict(), metadata, half=half)

    @classmethod
    @loading()
    def load(cls, source: str | Path = "m4net-base") -> M4Net:
        """Load a network in `eval` mode from a registered name or a file that `save` wrote.

        A file may extend other weights, which its metadata names. It then holds only the tensors that differ.

        Raises `WeightsError` for a file that is missing, broken, changed, of another network, or without the
        fingerprint of its face model.
        """
        check_type(
            source,
            "M4Net.load",
            str,
            PathLike,
            remedy="give M4Net's registered name or path",
            words="a name or path",
        )
        path = resolve(source)
        tensors, metadata = read_tensors(path)
        try:
            if metadata["network"] != "M4Net":
                raise ValueError(f"it holds {metadata['network']}")
            size, activation, fusion = (metadata[key] for key in ("size", "activation", "fusion"))
            network = cls(size, activation, fusion, crop_size=int(metadata["crop_size"]))
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{path}: expected weights that M4Net.save wrote, but the metadata differ ({error})"
            ) from error
        if "face_model" not in metadata:
            raise WeightsError(
                f"{path}: expected weights that name their face model, got a file of an earlier m4kit, whose face "
                "model was another; train them again with m4kit train"
            )
        if "extends" in metadata:
            tensors = {
                name: tensor
                for name, tensor in _extended(path, metadata).items()
                if name in network.state_dict()
            } | tensors
        tensors = {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
        }
        load_strictly(network, tensors, path=path)
        network.notes = {key: metadata.get(key, "") for key in ("run", "licence", "face_model")}
        network.notes["file"] = str(source)
        return network.eval()


def _extended(path: Path, metadata: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Read the tensors that a file of weights extends."""
    name, sha256 = metadata["extends"], metadata.get("extends_sha256", "")
    base = verify(resolve(name), sha256, remedy=f"{path} needs exactly that file of {name}; fetch both again")
    return read_tensors(base)[0]


def to_input(crops: np.ndarray, *, crop_size: int = CROP_SIZE) -> torch.Tensor:
    """Turn crops (n, S, S, 3) uint8 RGB into M4Net's input (n, 3, S, S) float32: (value - 127.5) / 128."""
    crops = np.asarray(crops)
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (crop_size, crop_size, 3):
        raise ValueError(
            f"expected crops (n, {crop_size}, {crop_size}, 3) of uint8 RGB, "
            f"got {crops.shape} of {crops.dtype}"
        )
    return _normalised(torch.tensor(crops, device="cpu"))


def _normalised(crops: torch.Tensor) -> torch.Tensor:
    return crops.permute(0, 3, 1, 2).float().sub(127.5).div(128)


def count_multiply_adds(network: nn.Module, crop_size: int = CROP_SIZE) -> dict[str, int]:
    """Count the multiply-adds of each convolution and linear layer for one crop, by layer name.

    Batch norms do not count, because they fold into the convolutions.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        copy.deepcopy(network).eval()(torch.zeros(1, 3, crop_size, crop_size))
    flops = {
        name.partition(".")[2]: sum(counts.values()) for name, counts in counter.get_flop_counts().items()
    }
    return {
        name: flops[name] // 2
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def _in_full_precision(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """Run a layer in float32, also under autocast: bfloat16's 8 bits are too few for the parameters."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


def _gain(activation: str) -> float:
    """Return the gain that preserves the variance through a layer (He et al. 2015; 1 for ELU and SELU)."""
    slope = {"leaky_relu": nn.LeakyReLU().negative_slope, "rrelu": (RReLU().lower + RReLU().upper) / 2}
    if activation in slope:
        return nn.init.calculate_gain("leaky_relu", slope[activation])
    if activation in ("sigmoid", "tanh"):
        return nn.init.calculate_gain(activation)
    return 1.0 if activation in ("elu", "selu") else nn.init.calculate_gain("relu")
