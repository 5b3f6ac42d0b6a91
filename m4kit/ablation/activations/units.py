"""Statistics of a network's units on a batch of faces: dead, saturated, and the distribution of their inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from m4kit.network import ACTIVATIONS, M4Net

BINS = np.linspace(-8, 8, 65)
"""Edges of the histograms of pre-activations. Values outside count in the first and last bin."""

STILL = 1e-3
"""A unit is dead if its outputs on a whole batch differ by less than this."""

FLAT = 0.05
"""A value is saturated if the slope there is below this share of the activation's largest slope."""

_SLOPE_TABLE = np.linspace(-40, 40, 160001)


class Units(NamedTuple):
    """Statistics of a stage's units on a batch.

    `dead` is the share of its units (channels) whose output differs by less than `STILL` over all faces and places.
    `saturated` is the share of all its values where the activation's slope is below `FLAT` times its largest slope:
    both ends of a sigmoid, but also the negative side of ReLU and Leaky ReLU, and the flat part of ELU. `histogram`
    (64,) holds the shares of pre-activations between `BINS`, which sum to 1; `mean` and `std` are theirs.
    """

    dead: float
    saturated: float
    mean: float
    std: float
    histogram: np.ndarray


@torch.no_grad()
def units(network: M4Net, x: torch.Tensor) -> dict[str, Units]:
    """Statistics of each stage on inputs (B, 3, S, S), by the stage's name, from first to last.

    Batch norms use the batch's own statistics, as in training; everything else is in `eval` mode. A stage is a layer
    with an activation: "conv1", the separable layers "dw2_1" to "dw6" (both convolutions count), and the heads
    "head1" to "head3" (the last head has none).
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
    """Euclidean norm of the current gradients of each stage, with the stages' names as in `units`."""
    parts = {stage: _layer(network, stage) for stage, _ in _activations(network)}
    norms = {}
    for stage, modules in parts.items():
        gradients = [p.grad.norm() for module in modules for p in module.parameters() if p.grad is not None]
        norms[stage] = float(torch.stack(gradients).norm()) if gradients else float("nan")
    return norms


def curve(activation: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of an activation at x (n,), in `eval` mode."""
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
        # Uses the statistics of the batch, without updating the running ones.
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        network.train(training)


def _flat_intervals(activation: str) -> list[tuple[float, float]]:
    """Intervals (low, high) in which an activation is saturated; the outer ones extend to infinity."""
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
