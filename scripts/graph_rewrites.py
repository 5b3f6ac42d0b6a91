"""Rewrites ONNX networks so that ONNX Runtime runs them faster in integers. Their answers stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

FEWEST = 16
"""ONNX Runtime's fast kernel for convolutions needs so many outputs, and a multiple of four."""
APART = 32
"""Zeros that are further apart do not share their steps: values would be cut off."""
FEW = 16
"""A depthwise convolution of so few channels is slow: ONNX Runtime computes 64 channels of a place at once."""


def rewritten(model: ModelProto) -> ModelProto:
    """Rewrite the first convolution and the averages of a model in fp32, before its layers are quantised."""
    return averages_as_convolutions(in_fours(model))


def in_fours(model: ModelProto) -> ModelProto:
    """Let the first convolution see four pixels of a row as one of twelve channels: with three, it is slow.

    It sees the transposed `pictures` (n, H, W, 3), where 4 divides W. Its stride is 4, or 2. Then it gives two pixels
    of a row as one of twice the channels.
    """
    first, users, numbers = layers(model)[0], users_of(model), weights_of(model)
    given = attributes(first)
    (down, across), (top, left, bottom, _) = given["strides"], given["pads"]
    narrow, bias = (numbers[name] for name in first.input[1:])
    outputs, _, height, width = narrow.shape
    # The picture's column for each output pixel and column of the kernel.
    columns = across * np.arange(4 // across)[:, None] + np.arange(width) - left
    start, last = columns.min() // 4, columns.max() // 4
    wide = np.zeros((len(columns), outputs, 12, height, last - start + 1), narrow.dtype)
    for (pixel, column), place in np.ndenumerate(columns - 4 * start):
        four, part = divmod(place, 4)
        wide[pixel, :, 3 * part : 3 * part + 3, :, four] = narrow[..., column]
    numbers |= {
        first.input[1]: wide.reshape(-1, *wide.shape[2:]),
        first.input[2]: np.tile(bias, len(columns)),
        "fours.shape": np.array([0, 0, -1, 12]),
        "apart.shape": np.array([0, 0, -1, outputs]),
    }
    after, nodes = output_after(first, users), []
    for node in map(copied, model.graph.node):
        if "pictures" in node.input:
            nodes.append(helper.make_node("Reshape", ["pictures", "fours.shape"], ["fours"]))
            node.input[:] = ["fours"]
        if node.name == first.name:
            pads = (top, -start, bottom, last)
            set_attributes(node, kernel_shape=wide.shape[-2:], strides=(down, 1), pads=pads)
        nodes.append(node)
        if len(columns) > 1 and after in node.output:
            node.output[:] = ["beside"]
            nodes += [
                helper.make_node("Transpose", ["beside"], ["beside.last"], perm=(0, 2, 3, 1)),
                helper.make_node("Reshape", ["beside.last", "apart.shape"], ["apart.last"]),
                helper.make_node("Transpose", ["apart.last"], [after], perm=(0, 3, 1, 2)),
            ]
    return with_nodes(model, nodes, numbers)


def averages_as_convolutions(model: ModelProto) -> ModelProto:
    """Turn averages over windows, padding included, into depthwise convolutions."""
    numbers, shapes, nodes = weights_of(model), shapes_of(model), []
    for node in map(copied, model.graph.node):
        nodes.append(node)
        if node.op_type == "AveragePool":
            given = attributes(node)
            channels, kernel = shapes[node.output[0]][1], given["kernel_shape"]
            shares, nothing = f"{node.name}.shares", f"{node.name}.nothing"
            numbers[shares] = np.full((channels, 1, *kernel), 1 / np.prod(kernel), np.float32)
            numbers[nothing] = np.zeros(channels, np.float32)
            kept = {name: given[name] for name in ("kernel_shape", "pads", "strides")}
            inputs = [node.input[0], shares, nothing]
            nodes[-1] = helper.make_node("Conv", inputs, node.output, node.name, group=channels, **kept)
    return with_nodes(model, nodes, numbers)


def heads_together(model: ModelProto) -> ModelProto:
    """In a quantised model, convolutions without a ReLU that see the same become one, with enough outputs.

    Its steps are those of the first, and the scales of the others' weights make up for that. So the answers are the
    same, but where those steps end earlier or later. Outputs with weights of 0 fill the number up.
    """
    users, together = users_of(model), {}
    for layer in layers(model):
        alone = attributes(layer).get("group", 1) == 1 and layer.op_type == "Conv"
        if alone and _two_after(layer, users) == ["QuantizeLinear", "DequantizeLinear"]:
            head = _head(model, layer)
            heads = together.setdefault(layer.input[0], [[]])
            if heads[-1] and abs(int(head.zero) - int(heads[-1][0].zero)) > APART:
                heads.append([])
            heads[-1].append(head)
    for heads in together.values():
        for some in heads:
            model = _one_of(model, some)
    return model


def _two_after(layer: NodeProto, users: dict[str, list[NodeProto]]) -> list[str]:
    following = users[layer.output[0]][0]
    return [following.op_type, *(node.op_type for node in users.get(following.output[0], ())[:1])]


class _Head(NamedTuple):
    """A convolution, its integers, its output's steps, and the last conversion of its transposed output."""

    layer: NodeProto
    weights: np.ndarray
    scales: np.ndarray
    biases: np.ndarray
    scale: np.float32
    zero: np.uint8
    seen: np.float32
    last: NodeProto


def _head(model: ModelProto, layer: NodeProto) -> _Head:
    numbers, users = weights_of(model), users_of(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    seen, weights, biases = (makers[name] for name in layer.input)
    (quantise,) = users[layer.output[0]]
    last = quantise
    for kind in ("DequantizeLinear", "Transpose", "QuantizeLinear", "DequantizeLinear"):
        (last,) = users[last.output[0]]
        if last.op_type != kind:
            raise ValueError(f"{layer.name}: expected {kind} after it, got {last.op_type}")
    names = *weights.input[:2], biases.input[0], *quantise.input[1:], seen.input[1]
    return _Head(layer, *(numbers[name] for name in names), last)


def _one_of(model: ModelProto, heads: Sequence[_Head]) -> ModelProto:
    first, numbers = heads[0], weights_of(model)
    counts = [len(head.weights) for head in heads]
    fill = max(FEWEST, -(-sum(counts) // 4) * 4) - sum(counts)
    scales = np.concatenate([head.scales * (first.scale / head.scale) for head in heads])
    biases = np.concatenate([head.biases for head in heads])
    weights = np.concatenate([head.weights for head in heads])
    weights = np.pad(weights, ((0, fill), (0, 0), (0, 0), (0, 0)))
    scales, biases = np.pad(scales, (0, fill), constant_values=scales[0]), np.pad(biases, (0, fill))
    makers = {output: node for node in model.graph.node for output in node.output}
    values = (
        (weights, scales, np.zeros(len(scales), np.int8)),
        (biases, first.seen * scales, np.zeros(len(scales))),
    )
    for name, (integers, scale, zeros) in zip(first.layer.input[1:], values, strict=True):
        kind = numbers[makers[name].input[0]].dtype
        kept = integers.astype(kind), scale.astype(np.float32), zeros.astype(kind)
        numbers |= dict(zip(makers[name].input, kept, strict=True))
    parts = [f"{first.layer.name}.parts.{number}" for number in range(len(heads) + (fill > 0))]
    numbers[f"{first.layer.name}.counts"] = np.array([*counts, *([fill] if fill else [])])
    dropped = {head.layer.output[0] for head in heads[1:]}
    lasts = {head.last.output[0]: part for head, part in zip(heads, parts, strict=False)}
    nodes = []
    for node in map(copied, model.graph.node):
        if dropped & {*node.input, *node.output} and node.output[0] not in lasts:
            dropped |= {*node.output}
            continue
        if node.output[0] in lasts:
            if node.output[0] == first.last.output[0]:
                sizes = f"{first.layer.name}.counts"
                nodes.append(helper.make_node("Split", [node.input[0], sizes], parts, axis=3))
            numbers[node.input[2]] = first.zero
            node.input[0] = lasts[node.output[0]]
        nodes.append(node)
    return with_nodes(model, nodes, numbers)


def both_signs(layer: NodeProto, users: dict[str, list[NodeProto]]) -> list[NodeProto]:
    """List what follows a layer whose both signs are pooled: Neg, Concat, Relu, MaxPool. Empty after others."""
    following = users.get(layer.output[0], ())
    if [node.op_type for node in following] != ["Neg", "Concat"]:
        return []
    (rectify,) = users[following[1].output[0]]
    (pool,) = users[rectify.output[0]]
    return [*following, rectify, pool]


def pool_both_signs(steps: str, pool: NodeProto, output: str) -> list[NodeProto]:
    """Make the nodes that pool the integers `steps` (n, C, H, W) of both signs into 2 C channels.

    The integers of the other sign have all bits turned: 255 - q. `{steps}.zero`, 128, is the least integer that
    counts as positive. Bits are turned with the channels last, as ONNX Runtime keeps them.
    """
    turned = [f"{steps}.{name}" for name in ("last", "turned", "other", "pooled", "other.pooled", "both")]
    pooled = [
        helper.make_node("MaxPool", [one], [result])
        for one, result in zip((steps, turned[2]), turned[3:5], strict=True)
    ]
    for node in pooled:
        set_attributes(node, **attributes(pool))
    return [
        helper.make_node("Transpose", [steps], [turned[0]], perm=(0, 2, 3, 1)),
        helper.make_node("BitwiseNot", [turned[0]], [turned[1]]),
        helper.make_node("Transpose", [turned[1]], [turned[2]], perm=(0, 3, 1, 2)),
        *pooled,
        helper.make_node("Concat", turned[3:5], [turned[5]], axis=1),
        helper.make_node("Clip", [turned[5], f"{steps}.zero"], [output]),
    ]


def rows_as_channels(model: ModelProto) -> ModelProto:
    """Let depthwise convolutions of few channels see a row as one place of many channels, in a quantised model.

    They see each row three times: moved to the right by a pixel, as it is, and moved to the left. What leaves the row
    comes in at its other end, where the weights are 0. The answers are the same, bit by bit.
    """
    for layer in layers(model):
        given = attributes(layer)
        few = 1 < given.get("group", 1) <= FEW
        if few and given["strides"] == [1, 1] and given["pads"] == [1, 1, 1, 1]:
            model = _row_as_channels(model, layer)
    return model


def _row_as_channels(model: ModelProto, layer: NodeProto) -> ModelProto:
    numbers, name = weights_of(model), layer.name
    makers = {output: node for node in model.graph.node for output in node.output}
    (quantise,) = users_of(model)[output_after(layer, users_of(model))]
    seen, weights, biases = (makers[one] for one in layer.input)
    channels, (height, width) = attributes(layer)["group"], shapes_of(model)[layer.output[0]][2:]
    row = width * channels
    wide = np.repeat(numbers[weights.input[0]][None], width, axis=0)
    wide[0, ..., 0] = wide[-1, ..., 2] = 0
    numbers[weights.input[0]] = wide.reshape(row, 1, 3, 3)
    for one in (*weights.input[1:], *biases.input):
        numbers[one] = np.tile(numbers[one], width)
    shapes = {
        "row": (0, height, row),
        "parts": (channels, row - 2 * channels, channels),
        "three": (0, height, 3, row),
        "apart": (0, height, width, channels),
    }
    numbers |= {f"{name}.{one}": np.array(shape) for one, shape in shapes.items()}
    left, middle, right = parts = [f"{name}.{part}" for part in ("left", "middle", "right")]
    three = (right, left, middle, left, middle, right, middle, right, left)
    steps = [f"{name}.steps.{number}" for number in range(8)]
    nodes = []
    for node in map(copied, model.graph.node):
        if node.output == seen.output:
            nodes += [
                helper.make_node("Transpose", [node.input[0]], [steps[0]], perm=(0, 2, 3, 1)),
                helper.make_node("Reshape", [steps[0], f"{name}.row"], [steps[1]]),
                helper.make_node("Split", [steps[1], f"{name}.parts"], parts, axis=2),
                helper.make_node("Concat", three, [steps[2]], axis=2),
                helper.make_node("Reshape", [steps[2], f"{name}.three"], [steps[3]]),
                helper.make_node("Transpose", [steps[3]], [steps[4]], perm=(0, 3, 1, 2)),
            ]
            node.input[0] = steps[4]
        if node.name == name:
            set_attributes(node, group=row, pads=(1, 0, 1, 0))
        nodes.append(node)
        if node.output == quantise.output:
            node.output[:] = [steps[5]]
            nodes += [
                helper.make_node("Transpose", [steps[5]], [steps[6]], perm=(0, 2, 3, 1)),
                helper.make_node("Reshape", [steps[6], f"{name}.apart"], [steps[7]]),
                helper.make_node("Transpose", [steps[7]], quantise.output, perm=(0, 3, 1, 2)),
            ]
    return with_nodes(model, nodes, numbers)


def layers(model: ModelProto) -> list[NodeProto]:
    """List the layers with weights, from the first to the last."""
    return [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]


def output_after(layer: NodeProto, users: dict[str, list[NodeProto]]) -> str:
    """Return the output of a layer, or of the ReLU after it."""
    following = users.get(layer.output[0], ())
    return next((user.output[0] for user in following if user.op_type == "Relu"), layer.output[0])


def weights_of(model: ModelProto) -> dict[str, np.ndarray]:
    """Return the model's numbers by name."""
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def users_of(model: ModelProto) -> dict[str, list[NodeProto]]:
    """List the nodes that take each tensor."""
    users = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def attributes(node: NodeProto) -> dict:
    """Return a node's attributes by name."""
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def set_attributes(node: NodeProto, **values) -> None:
    """Change some attributes of a node."""
    kept = attributes(node) | values
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(*one) for one in kept.items())


def shapes_of(model: ModelProto) -> dict[str, list[int]]:
    """Infer the tensors' shapes by name; 0 is a length that differs from call to call."""
    known = shape_inference.infer_shapes(model).graph.value_info
    return {one.name: [side.dim_value for side in one.type.tensor_type.shape.dim] for one in known}


def copied(node: NodeProto) -> NodeProto:
    """Copy a node."""
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def with_nodes(model: ModelProto, nodes: Sequence[NodeProto], numbers: dict[str, np.ndarray]) -> ModelProto:
    """Make a model with other nodes, and those of the numbers that they take."""
    used = {name for node in nodes for name in node.input}
    kept = [numpy_helper.from_array(value, name) for name, value in numbers.items() if name in used]
    graph = helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, kept)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
