"""Turns a network of convolutions and linear layers into one of 8-bit integers, for ONNX Runtime.

Layers are quantised from the first to the last. Each sees the calibration pictures as the quantised layers
before it show them, and is fitted to what the network gives there in fp32:

1. All channels are scaled to similar ranges, which ReLU allows (Nagel et al., "Data-Free Quantization Through Weight
   Equalization and Bias Correction", ICCV 2019).
2. The weights are fitted by least squares and rounded one after the other. Those that are left make up for the error
   of each (Frantar et al., "GPTQ", ICLR 2023).
3. The bias makes the mean error of each channel 0.

Activations have 8 bits, weights 7 (see `LARGEST`). Linear layers without a ReLU give floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import onnxruntime
from graph_rewrites import (
    attributes,
    both_signs,
    copied,
    heads_together,
    layers,
    output_after,
    pool_both_signs,
    rewritten,
    rows_as_channels,
    users_of,
    weights_of,
    with_nodes,
)
from onnx import ModelProto, NodeProto, helper

LARGEST = 63
"""The largest weight, as an integer. x86 processors without VNNI add pairs of products in 16 bits, which weights
above 64 would overflow: the answers would be wrong there.
"""
MIDDLE = 128
"""The least integer that counts as positive, where a layer has both signs."""
SAMPLES = 16_000
"""Places of a layer's output that it is fitted to, over all calibration pictures."""
DAMPING = 0.01
"""How strongly the fit holds on to the fp32 weights, relative to the mean square of the layer's inputs."""
NARROWEST = 1e-3
"""Channels with a smaller range than this share of the widest one are scaled as if they had it."""


class Steps(NamedTuple):
    """Floats as integers from 0 to 255: a float is `scale` times the integer's distance from `zero`."""

    scale: float
    zero: int


class Integers(NamedTuple):
    """A layer's integer weights (outputs, inputs, ...), each output's scale, and the float biases."""

    weights: np.ndarray
    scales: np.ndarray
    biases: np.ndarray


def quantised(model: ModelProto, batches: Sequence[np.ndarray], pixels: Steps) -> ModelProto:
    """Quantise a model's layers to integers, calibrated on batches of `pictures` (n, H, W, 3) uint8 RGB.

    It transposes the pictures, and turns their pixels into the floats that `pixels` says. The number of a picture's
    columns is a multiple of 4.
    """
    quantisation = _Quantisation(rewritten(_equalised(model, batches[:4])), batches, pixels)
    for layer in quantisation.layers:
        quantisation.add(layer)
    return rows_as_channels(heads_together(quantisation.model()))


class _Quantisation:
    """A model in fp32, and the integers of the layers that were added so far."""

    def __init__(self, model: ModelProto, batches: Sequence[np.ndarray], pixels: Steps):
        self.fp32, self.batches = model, batches
        self.layers = layers(model)
        self.integers: dict[str, Integers] = {}
        self.pixels = self.layers[0].input[0]
        self.steps = {self.pixels: pixels}
        self._weights, self._users = weights_of(model), users_of(model)
        self._places, self._wanted = {}, {}
        self._sample()

    def _sample(self) -> None:
        """Choose places of each layer's output, and keep what the network gives there in fp32."""
        random, outputs = np.random.default_rng(0), [layer.output[0] for layer in self.layers]
        share, wanted = SAMPLES / sum(map(len, self.batches)), {name: [] for name in outputs}
        for batch, answers in zip(self.batches, _answers(self.fp32, self.batches, outputs), strict=True):
            for name, answer in zip(outputs, answers, strict=True):
                flat = np.moveaxis(answer, 1, -1).reshape(-1, answer.shape[1])
                places = random.choice(len(flat), min(len(flat), round(share * len(batch))), replace=False)
                self._places.setdefault(name, []).append(places)
                wanted[name].append(flat[places])
        self._wanted = {name: np.concatenate(parts) for name, parts in wanted.items()}

    def add(self, layer: NodeProto) -> None:
        """Find the integers of the next layer, and the steps of its output."""
        maps = _answers(self.model(), self.batches, [self._floats(layer.input[0])])
        places = self._places.pop(layer.output[0])
        seen = [_patches(one, layer, at) for (one,), at in zip(maps, places, strict=True)]
        wanted = self._wanted.pop(layer.output[0])
        self.integers[layer.name] = fitted(self._weights[layer.input[1]], np.concatenate(seen), wanted)
        after = output_after(layer, self._users)
        if signs := both_signs(layer, self._users):
            # Their 0 lies between two integers.
            steps = Steps(steps_of(np.abs(wanted)).scale * 255 / 127, MIDDLE)
            integers = self.integers[layer.name]
            self.integers[layer.name] = integers._replace(biases=integers.biases - steps.scale / 2)
            self._take(signs[-1].output[0], steps)
        elif after != layer.output[0]:
            self._take(after, steps_of(np.maximum(wanted, 0)))
        elif layer.op_type == "Conv":
            self._take(after, steps_of(wanted))

    def _take(self, name: str, steps: Steps) -> None:
        """Keep a tensor's steps. What pools or joins such tensors has the widest steps of them."""
        self.steps[name] = steps
        for user in self._users.get(name, ()):
            if user.op_type in ("Transpose", "Reshape"):
                self._take(user.output[0], steps)
            if user.op_type in ("MaxPool", "Concat") and set(user.input) <= self.steps.keys():
                self._take(user.output[0], max(self.steps[one] for one in user.input))

    def _floats(self, name: str) -> str:
        """Return the name of a tensor's floats after it was rounded to its steps."""
        return name if name == self.pixels or name not in self.steps else f"{name}.rounded"

    def model(self) -> ModelProto:
        """Make the model with the integers that were found, between QuantizeLinear and DequantizeLinear."""
        nodes, numbers = [], weights_of(self.fp32)

        def convert(kind: str, name: str, scale, zero, output: str, **axis) -> None:
            steps = {f"{output}.scale": np.asarray(scale, np.float32), f"{output}.zero": np.asarray(zero)}
            numbers.update(steps)
            nodes.append(helper.make_node(kind, [name, *steps], [output], **axis))

        def dequantise_each(name: str, integers: np.ndarray, scales: np.ndarray) -> str:
            numbers[f"{name}.integers"] = integers
            zeros = np.zeros(len(scales), integers.dtype)
            convert("DequantizeLinear", f"{name}.integers", scales, zeros, name, axis=0)
            return name

        makers = {name: node for node in self.fp32.graph.node for name in node.output}
        transposed, between = self.pixels, set()
        while makers[transposed].op_type != "Transpose":
            between.add(transposed)
            transposed = makers[transposed].input[0]
        # What pools both signs of a layer, and the layer's output.
        pooled = {}
        for layer in self.layers:
            signs = both_signs(layer, self._users)
            if signs and layer.name in self.integers:
                between |= {node.output[0] for node in signs[:-1]}
                pooled[signs[-1].output[0]] = layer.output[0]
        for node in self.fp32.graph.node:
            if between & {*node.output}:
                continue
            if output := pooled.get(name := node.output[0]):
                steps = _unsigned(self.steps[name])
                convert("QuantizeLinear", output, *steps, f"{output}.steps")
                nodes += pool_both_signs(f"{output}.steps", node, f"{name}.steps")
                convert("DequantizeLinear", f"{name}.steps", *steps, f"{name}.rounded")
                continue
            copy = copied(node)
            copy.input[:] = map(self._floats, node.input)
            if node.name in self.integers:
                weights, scales, biases = self.integers[node.name]
                scale = self.steps[node.input[0]].scale * scales
                copy.input[1:] = [
                    dequantise_each(f"{node.name}.weights", weights, scales),
                    dequantise_each(f"{node.name}.biases", np.rint(biases / scale).astype(np.int32), scale),
                ]
            nodes.append(copy)
            if transposed in node.output:
                convert("DequantizeLinear", transposed, *_unsigned(self.steps[self.pixels]), self.pixels)
            for name in set(node.output) & self.steps.keys():
                convert("QuantizeLinear", name, *_unsigned(self.steps[name]), f"{name}.steps")
                convert("DequantizeLinear", f"{name}.steps", *_unsigned(self.steps[name]), f"{name}.rounded")
        return with_nodes(self.fp32, nodes, numbers)


def fitted(weights: np.ndarray, seen: np.ndarray, wanted: np.ndarray) -> Integers:
    """Fit the integers of a layer that turn what it sees (n, inputs, K) best into what is wanted (n, outputs).

    K is the size of the kernel. `weights` (outputs, inputs, ...) are those in fp32. With one input to each
    weight, and as many outputs as inputs, the convolution is depthwise.
    """
    outputs, inputs = weights.shape[:2]
    groups = outputs if inputs == 1 and seen.shape[1] == outputs else 1
    x = seen.reshape(len(seen), groups, -1).transpose(1, 0, 2)
    y = wanted.reshape(len(seen), groups, -1).transpose(1, 0, 2)
    x_mean, y_mean = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    x, y = x - x_mean, y - y_mean
    squares = (x.transpose(0, 2, 1) @ x).astype(float)
    size = squares.shape[-1]
    damping = DAMPING * np.trace(squares, axis1=1, axis2=2) / size + 1e-9
    squares += damping[:, None, None] * np.eye(size)
    start = weights.reshape(groups, -1, size)
    pull = y.transpose(0, 2, 1) @ x + damping[:, None, None] * start
    best = np.linalg.solve(squares, pull.transpose(0, 2, 1)).transpose(0, 2, 1).astype(np.float32)
    integers, scales = _rounded(best, squares)
    biases = y_mean[:, 0] - ((integers * scales[..., None]) @ x_mean.transpose(0, 2, 1))[..., 0]
    return Integers(integers.reshape(weights.shape).astype(np.int8), scales.ravel(), biases.ravel())


def _rounded(weights: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round weights (groups, outputs, K), whose inputs have these squares (groups, K, K): integers and scales."""
    widest = np.abs(weights).max(-1)
    # Outputs without weights are biases only, and have a scale too.
    widest = np.maximum(widest, 1e-4 * widest.max()) / LARGEST
    importance = np.diagonal(squares, axis1=1, axis2=2)[:, None]

    def error(scale: np.ndarray) -> np.ndarray:
        return ((_nearest(weights, scale[..., None]) * scale[..., None] - weights) ** 2 * importance).sum(-1)

    candidates = np.stack([share * widest for share in np.linspace(0.6, 1, 21)])
    choice = np.stack([error(scale) for scale in candidates]).argmin(0)
    scales = np.take_along_axis(candidates, choice[None], 0)[0]
    # Of the inverse of the squares: how much each weight that is left changes with the error of this one.
    follow = np.linalg.cholesky(np.linalg.inv(squares)).transpose(0, 2, 1).astype(np.float32)
    weights, integers = weights.copy(), np.empty_like(weights)
    for k in range(weights.shape[-1]):
        integers[..., k] = _nearest(weights[..., k], scales)
        missed = (weights[..., k] - integers[..., k] * scales) / follow[:, None, k, k]
        weights[..., k + 1 :] -= missed[..., None] * follow[:, None, k, k + 1 :]
    return integers, scales


def _nearest(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(weights / scales), -LARGEST, LARGEST)


def steps_of(values: np.ndarray) -> Steps:
    """Choose the steps with the least mean square error for these values: rare large ones may be cut off."""
    low, high = min(0.0, float(values.min())), max(float(values.max()), 1e-6)
    bins = np.linspace(low, high, 4096)
    counts = np.bincount(((values.ravel() - low) * (4095 / (high - low))).astype(np.int32), minlength=4096)
    best, least = None, np.inf
    for share in np.linspace(0.25, 1, 31):
        scale = share * (high - low) / 255
        zero = int(np.rint(-share * low / scale))
        rounded = (np.clip(np.rint(bins / scale) + zero, 0, 255) - zero) * scale
        error = counts @ (rounded - bins) ** 2
        if error < least:
            best, least = Steps(scale, zero), error
    return best


def _equalised(model: ModelProto, batches: Sequence[np.ndarray]) -> ModelProto:
    """Give channels similar ranges between a convolution and those that take its output; answers stay the same.

    A depthwise convolution has a scale for each channel, so its inputs may all have the same range. The inputs of
    others get ranges between that and the one that makes their weights similar.
    """
    weights, users, pairs = weights_of(model), users_of(model), []
    for layer in layers(model):
        name = output_after(layer, users)
        following = users.get(name, [])
        if following and all(one.op_type == "Conv" for one in following):
            pairs.append((layer, name, following))
    tops = [
        [np.quantile(values.swapaxes(0, 1).reshape(values.shape[1], -1), 0.9999, axis=1) for values in maps]
        for maps in _answers(model, batches, [name for _, name, _ in pairs])
    ]
    for (layer, _, following), parts in zip(pairs, zip(*tops, strict=True), strict=True):
        top = np.max(parts, axis=0)
        top = np.maximum(top, NARROWEST * top.max())
        dense = [weights[one.input[1]] for one in following if weights[one.input[1]].shape[1] > 1]
        factors = top.max() / top
        if dense:
            largest = np.max([np.abs(one).max((0, 2, 3)) for one in dense], axis=0)
            factors = np.sqrt(np.maximum(largest, NARROWEST * largest.max()) / top)
        factors = factors.astype(np.float32)
        weights[layer.input[1]] = weights[layer.input[1]] * factors[:, None, None, None]
        weights[layer.input[2]] = weights[layer.input[2]] * factors
        for one in following:
            shape = (1, -1, 1, 1) if weights[one.input[1]].shape[1] > 1 else (-1, 1, 1, 1)
            weights[one.input[1]] = weights[one.input[1]] / factors.reshape(shape)
    return with_nodes(model, model.graph.node, weights)


def _patches(maps: np.ndarray, layer: NodeProto, places: np.ndarray) -> np.ndarray:
    """Cut what a layer sees (n, inputs, K) of maps (B, inputs, H, W) or (B, inputs) at places of its output."""
    if maps.ndim == 2:
        return maps[places, :, None]
    given = attributes(layer)
    top, left, bottom, right = given["pads"]
    maps = np.pad(maps, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(maps, given["kernel_shape"], axis=(2, 3))
    down, across = given["strides"]
    windows = windows[:, :, ::down, ::across]
    image, row, column = np.unravel_index(places, (len(maps), *windows.shape[2:4]))
    return windows[image, :, row, column].reshape(len(places), maps.shape[1], -1)


def _answers(
    model: ModelProto, batches: Sequence[np.ndarray], outputs: Sequence[str]
) -> Iterator[list[np.ndarray]]:
    """Yield the values of those tensors for each batch."""
    asked = ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    asked.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        asked.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for batch in batches:
        yield session.run(None, {"pictures": batch})


def _unsigned(steps: Steps) -> tuple[float, np.uint8]:
    return steps.scale, np.uint8(steps.zero)
