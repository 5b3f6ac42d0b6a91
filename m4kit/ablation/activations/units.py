"""What the units of a network do on a batch of faces: dead, saturated, and where their inputs lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from m4kit.network import ACTIVATIONS, M4Net

BINS = np.linspace(-8, 8, 65)
"""Edges of the histograms of pre-activations; what lies beyond counts in the outermost bins."""

STILL = 1e-3
"""A unit whose outputs on a whole batch differ by less is dead."""

FLAT = 0.05
"""Where the slope is below this share of the activation's greatest, it is saturated."""

_SLOPE_TABLE = np.linspace(-40, 40, 160001)


class Units(NamedTuple):
    """A stage's units on a batch.

    `dead` is the share of its units (channels of a map) whose output differs by less than `STILL` over all faces
    and places. `saturated` is the share of all its values where the activation's slope is below `FLAT` times its
    greatest: both ends of a sigmoid, but also the negative side of ReLU and of Leaky ReLU, and where ELU has
    levelled out. `histogram` (64,) counts pre-activations between `BINS` as shares that sum to 1; `mean` and `std`
    are theirs.
    """

    dead: float
    saturated: float
    mean: float
    std: float
    histogram: np.ndarray


@torch.no_grad()
def units(network: M4Net, x: torch.Tensor) -> dict[str, Units]:
    """What the network's stages do with inputs (B, 3, S, S), by the stage's name, early to late.

    Batch norms go by the batch's own statistics, as in training, and everything else is in `eval` mode.
    A stage is a layer with an activation: "conv1", the separable layers "dw2_1" to "dw6", both of whose convolutions
    count, and the heads "head1" to "head3" (the last head has none).
    """
    found: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def note(stage):
        return lambda _, inputs, output: found.setdefault(stage, []).append((inputs[0], output))

    handles = [module.register_forward_hook(note(stage)) for stage, module in _activations(network)]
    with _observing(network):
        try:
            network.outputs(x)
        finally:
            for handle in handles:
                handle.remove()
    flat = _flat_intervals(network.activation)
    return {stage: _units(pairs, flat) for stage, pairs in found.items()}


def stage_gradients(network: M4Net) -> dict[str, float]:
    """The Euclidean norms of the gradients that now lie in the network's stages, by stage as `units` names them."""
    parts = {stage: _layer(network, stage) for stage, _ in _activations(network)}
    norms = {}
    for stage, modules in parts.items():
        gradients = [p.grad.norm() for module in modules for p in module.parameters() if p.grad is not None]
        norms[stage] = float(torch.stack(gradients).norm()) if gradients else float("nan")
    return norms


def curve(activation: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An activation and its slope at x (n,), as it is in `eval` mode."""
    values = torch.tensor(np.asarray(x, dtype=np.float64), requires_grad=True)
    with torch.enable_grad():
        y = ACTIVATIONS[activation]().eval()(values)
        (slope,) = torch.autograd.grad(y.sum(), values)
    return y.detach().numpy(), slope.numpy()


def _activations(network: M4Net) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.backbone.named_children():
        if name == "activation":
            yield "conv1", module
        elif hasattr(module, "activation"):
            yield name, module.activation
    for number, head in enumerate(network.spatial_heads):
        yield f"head{number + 1}", head.activation


def _layer(network: M4Net, stage: str) -> list[nn.Module]:
    if stage == "conv1":
        return [network.backbone.conv1, network.backbone.bn1]
    if stage.startswith("head"):
        return [network.spatial_heads[int(stage.removeprefix("head")) - 1]]
    return [network.backbone.get_submodule(stage)]


@contextmanager
def _observing(network: M4Net) -> Iterator[None]:
    training = network.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    network.eval()
    for norm in norms:
        # Uses the batch's statistics, and keeps its own as they are.
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        network.train(training)


def _flat_intervals(activation: str) -> list[tuple[float, float]]:
    """The stretches (low, high) of the axis where an activation is saturated, infinite at its ends."""
    slope = np.abs(curve(activation, _SLOPE_TABLE)[1])
    inside = np.diff(np.concatenate([[0], slope < FLAT * slope.max(), [0]]).astype(int))
    starts, stops = np.flatnonzero(inside == 1), np.flatnonzero(inside == -1) - 1
    ends = {0: -np.inf, len(slope) - 1: np.inf}
    return [
        (ends.get(a, _SLOPE_TABLE[a]), ends.get(b, _SLOPE_TABLE[b]))
        for a, b in zip(starts, stops, strict=True)
    ]


def _units(pairs: list[tuple[torch.Tensor, torch.Tensor]], flat: list[tuple[float, float]]) -> Units:
    dead = torch.cat([(y.amax((0, 2, 3)) - y.amin((0, 2, 3)) < STILL).float() for _, y in pairs])
    x = torch.cat([before.flatten() for before, _ in pairs]).numpy()
    saturated = sum(np.count_nonzero((x >= low) & (x <= high)) for low, high in flat)
    counts, _ = np.histogram(np.clip(x, BINS[0], BINS[-1]), BINS)
    return Units(float(dead.mean()), saturated / x.size, float(x.mean()), float(x.std()), (counts / x.size))
