"""Makes a training's first weights from 3DDFA-V2's (MIT licence), or from an M4Net's for another face model.

3DDFA-V2's take these steps on training crops: restore the batch norms, narrow the last layer, map the parameters to
our face model by an affine map, and fit a first linear layer for each of the other three heads.
"""

from __future__ import annotations

import copy
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from m4kit.files import reason_of
from m4kit.network import SIZES, M4Net, to_input
from m4kit.parameters import PARAMETERS
from m4kit.peers.tddfa_v2 import TddfaNetwork, read_network
from m4kit.training import TrainingError
from m4kit.training.data import Labels

LICENCE = "started from 3DDFA-V2's weights (MIT, Guo et al. 2020)"
_BATCH = 64


class AffineMap(NamedTuple):
    """Maps a network's raw parameters to ours: matrix (62, 62) @ parameters + offset (62,).

    `face_model` is the fingerprint of the face model that it maps to.
    """

    matrix: np.ndarray
    offset: np.ndarray
    face_model: str


def affine_map(theirs: np.ndarray, ours: np.ndarray, spread: np.ndarray, *, face_model: str) -> AffineMap:
    """Fit the affine map that best maps their raw parameters (n, 62) to ours (n, 62), by ridge regression.

    `spread` (62,) is the standard deviation of theirs, `face_model` the fingerprint of the model of ours.
    """
    mean = theirs.mean(0)
    x = (theirs - mean) / spread
    y_mean = ours.mean(0)
    solution = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(PARAMETERS), x.T @ (ours - y_mean))
    matrix = (solution / spread[:, None]).T
    return AffineMap(matrix, y_mean - matrix @ mean, face_model)


def whitened_map(
    to_ours: AffineMap,
    theirs: tuple[np.ndarray, np.ndarray],
    ours: tuple[np.ndarray, np.ndarray],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert an affine map of raw parameters to one of whitened parameters: matrix (62, 62) and constant (62,).

    `theirs` and `ours` are mean and standard deviation (62,).
    """
    (their_mean, their_std), (mean, std), (matrix, offset) = (
        tuple(torch.tensor(np.asarray(v), dtype=torch.float64) for v in pair)
        for pair in (theirs, ours, to_ours[:2])
    )
    return matrix * their_std / std[:, None], (matrix @ their_mean + offset - mean) / std


@torch.no_grad()
def mapped(network: M4Net, labels: Labels, crops: np.ndarray, chosen: np.ndarray) -> M4Net:
    """Convert a network of another face model to the labels' model: its last layers answer through an affine map.

    The map is fitted to the `chosen` labels (n,), some thousands, of crops (N, S, S, 3) uint8 RGB. The given
    network does not change.
    """
    network = copy.deepcopy(network).eval()
    answers = torch.cat([network(batch) for batch in _batches(crops[chosen])]).double().numpy()
    theirs = network.parameter_mean.double().numpy(), network.parameter_std.double().numpy()
    ours = whitening_of(labels.parameters[~labels.validation])
    parameters = labels.parameters[chosen].astype(np.float64)
    to_ours = affine_map(answers, parameters, theirs[1], face_model=labels.face_model)
    matrix, constant = whitened_map(to_ours, theirs, ours)
    for layer in (*(head.linear for head in network.spatial_heads), network.last_head):
        layer.bias.copy_(matrix @ layer.bias.double() + constant)
        layer.weight.copy_(matrix @ layer.weight.double())
    set_whitening(network, ours)
    network.notes["face_model"] = labels.face_model
    return network


def whitening_of(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation (62,) of parameters (n, 62); deviations near 0 become 1."""
    std = parameters.std(0, dtype=np.float64)
    return parameters.mean(0, dtype=np.float64), np.where(std > 1e-3, std, 1.0)


def set_whitening(network: M4Net, whitening: tuple[np.ndarray, np.ndarray]) -> None:
    """Set the mean and standard deviation by which the network turns its outputs into raw parameters."""
    for buffer, value in zip((network.parameter_mean, network.parameter_std), whitening, strict=True):
        buffer.copy_(buffer.new_tensor(value))


def read_map(path: str | Path) -> AffineMap:
    """Read the affine map from 3DDFA-V2's parameters to ours (`.npz` with `matrix`, `offset` and `face_model`)."""
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
            arrays = (file[name].astype(np.float64) for name in ("matrix", "offset"))
            result = AffineMap(*arrays, str(file["face_model"]))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{path}: expected an affine map (.npz with matrix, offset and face_model), but reading it failed "
            f"({reason_of(error)}); give the map.npz that this version's m4kit.training.labels wrote"
        ) from error
    if result.matrix.shape != (PARAMETERS, PARAMETERS) or result.offset.shape != (PARAMETERS,):
        raise TrainingError(
            f"{path}: expected a matrix (62, 62) and an offset (62,), got {result.matrix.shape} "
            f"and {result.offset.shape}"
        )
    return result


def read_peer(path: str | Path, crops: np.ndarray) -> TddfaNetwork:
    """Read 3DDFA-V2's network from its `.onnx` (mb1) or `.pth` (mb05) file, in `eval` mode.

    The ONNX file has its batch norms folded into the convolutions. They are restored without changing the network's
    answers; `crops` (n, 120, 120, 3) uint8 RGB, some hundreds, give their statistics.

    Raises `WeightsError` for a file that is missing, broken or of another network.
    """
    network = read_network(path)
    return _unfold(network, crops).eval() if Path(path).suffix == ".onnx" else network


@torch.no_grad()
def _unfold(peer: TddfaNetwork, crops: np.ndarray) -> TddfaNetwork:
    """Set each batch norm, x + bias, to (x - m) / sqrt(v + eps) * sqrt(v + eps) + m + bias, which is the same.

    m and v are the channel's mean and variance over the crops, so that training continues with true statistics.
    """
    norms = [module for module in peer.modules() if isinstance(module, nn.BatchNorm2d)]
    sums = {norm: [0.0, 0.0, 0] for norm in norms}

    def gather(norm, inputs):
        x = inputs[0].double()
        sums[norm][0] += x.sum((0, 2, 3))
        sums[norm][1] += x.square().sum((0, 2, 3))
        sums[norm][2] += x[:, 0].numel()

    handles = [norm.register_forward_pre_hook(gather) for norm in sums]
    peer.eval()
    for batch in _batches(crops):
        peer(batch.flip(1))
    for handle in handles:
        handle.remove()
    for norm in norms:
        total, squares, count = sums[norm]
        mean, variance = total / count, (squares / count - (total / count) ** 2).clamp(min=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean + norm.bias)
        norm.momentum = nn.BatchNorm2d(1).momentum
    return peer


@torch.no_grad()
def transfer(
    peer: TddfaNetwork,
    crops: np.ndarray,
    *,
    peer_whitening: tuple[np.ndarray, np.ndarray],
    to_ours: AffineMap,
    whitening: tuple[np.ndarray, np.ndarray],
    fusion: str = "static",
    report: Callable[[str], object] = lambda line: None,
) -> M4Net:
    """Make an M4Net with the peer's backbone and four heads that answer in the face model of `to_ours`.

    `crops` (n, 120, 120, 3) uint8 RGB are some thousands of training faces; the last fifth measures the errors.
    `peer_whitening` and `whitening` are mean and standard deviation (62,) of the peer's raw parameters and of ours.
    `report` receives two lines with root mean square errors in standard deviations: that of the narrowed last layer
    against the peer's own answer, and those of the heads, early to late, against the mapped answer.
    """
    size = next(
        (s for s, spec in SIZES.items() if int(32 * spec.width) == peer.backbone.conv1.out_channels), None
    )
    if size is None:
        raise TrainingError(
            f"expected a peer as wide as M4Net's {' or '.join(SIZES)}, got {peer.backbone.conv1.out_channels} "
            "channels in its first layer"
        )
    network = M4Net(size, "relu", fusion)
    network.notes["face_model"] = to_ours.face_model
    features = [[], [], [], []]
    for batch in _batches(crops):
        for kept, stage in zip(features, peer.backbone(batch.flip(1)), strict=True):
            kept.append(stage.half())
    *stages, last = (torch.cat(kept) for kept in features)
    pooled = last.float().mean((2, 3)).double()
    fit = torch.arange(len(crops)) < len(crops) * 4 // 5

    answer = pooled @ peer.fc.weight.double().T + peer.fc.bias.double()
    kept = _most_telling(pooled[fit], peer.fc.weight.double(), SIZES[size].last)
    weight, bias = _ridge(pooled[:, kept], answer, fit)
    narrowed = pooled[:, kept] @ weight.T + bias
    narrowing = float((narrowed - answer)[~fit].square().mean().sqrt())
    report(f"last layer narrowed from {pooled.shape[1]} to {len(kept)} channels: off by {narrowing:.3f} std")

    compose, constant = whitened_map(to_ours, peer_whitening, whitening)
    target = answer @ compose.T + constant

    state = peer.backbone.state_dict()
    for name in (
        "conv_sep.weight",
        "bn_sep.weight",
        "bn_sep.bias",
        "bn_sep.running_mean",
        "bn_sep.running_var",
    ):
        state[f"dw6.{name}"] = state[f"dw6.{name}"][kept]
    # Their network sees BGR, ours RGB.
    state["conv1.weight"] = state["conv1.weight"].flip(1)
    network.backbone.load_state_dict(state, strict=True)
    network.last_head.weight.copy_(compose @ weight)
    network.last_head.bias.copy_(compose @ bias + constant)
    set_whitening(network, whitening)
    errors = []
    for head, stage in zip(network.spatial_heads, stages, strict=True):
        flat = _start_reduction(head, stage, fit)
        weight, bias = _ridge(flat, target, fit)
        head.linear.weight.copy_(weight)
        head.linear.bias.copy_(bias)
        errors.append(float((flat @ weight.T + bias - target)[~fit].square().mean().sqrt()))
    errors.append(float((narrowed @ compose.T + constant - target)[~fit].square().mean().sqrt()))
    # Head weights follow the errors; the limit is there because training makes the last head less exact.
    logits = -2 * torch.tensor(errors).clamp(min=0.25).log()
    (network.head_logits if fusion == "static" else network.head_scores.bias).copy_(logits)
    report("heads against the mapped answer, in std: " + ", ".join(f"{error:.3f}" for error in errors))
    return network


def _batches(crops: np.ndarray) -> Iterator[torch.Tensor]:
    for start in range(0, len(crops), _BATCH):
        yield to_input(crops[start : start + _BATCH], crop_size=crops.shape[1])


def _most_telling(pooled: torch.Tensor, weight: torch.Tensor, count: int) -> torch.Tensor:
    """Choose the channels that change the answer most, by variance times squared weights; returns their indices."""
    importance = pooled.var(0) * weight.square().sum(0)
    return importance.argsort(descending=True)[:count].sort().values


def _start_reduction(head, stage: torch.Tensor, fit: torch.Tensor) -> torch.Tensor:
    """Set the head's 1x1 convolution to the stage's principal components; return its features (n, F).

    The batch norm shifts them by one standard deviation, so that the activation cuts off little.
    """
    channels = stage.shape[1]
    flat = stage[fit].float().permute(0, 2, 3, 1).reshape(-1, channels)
    mean = flat.mean(0)
    covariance = (flat.T @ flat / len(flat) - mean[:, None] * mean).double()
    values, vectors = torch.linalg.eigh(covariance)
    count = head.reduce.out_channels
    axes = vectors[:, -count:].T
    signs = torch.randint(0, 2, (count, 1), generator=torch.Generator().manual_seed(0)) * 2 - 1
    axes = (axes * signs).float()
    head.reduce.weight.copy_(axes[:, :, None, None])
    head.bn.running_mean.copy_(axes @ mean)
    head.bn.running_var.copy_(values[-count:].clamp(min=0))
    head.bn.bias.fill_(1.0)
    head.eval()
    parts = [head.activation(head.bn(head.reduce(part.float()))).flatten(1) for part in stage.split(_BATCH)]
    head.train()
    return torch.cat(parts).double()


def _ridge(
    features: torch.Tensor, target: torch.Tensor, fit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit weights (62, F) and bias (62,) by ridge regression, with the penalty that is best on rows not in `fit`."""
    centre, aim = features[fit].mean(0), target[fit].mean(0)
    x, y = features[fit] - centre, target[fit] - aim
    values, vectors = torch.linalg.eigh(x.T @ x)
    seen = vectors.T @ (x.T @ y)
    best = None
    for strength in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
        weight = (vectors @ (seen / (values.clamp(min=0) + strength * values[-1])[:, None])).T
        error = ((features[~fit] - centre) @ weight.T + aim - target[~fit]).square().mean()
        if best is None or error < best[0]:
            best = (error, weight)
    weight = best[1]
    return weight, aim - weight @ centre
