"""Export the packaged weights, or a file of weights, as models for ONNX Runtime (`.onnx`).

    python scripts/export_engines.py --calibration DATA    # after register_weights.py: all packaged weights
    python scripts/export_engines.py m4net-base --calibration DATA
    python scripts/export_engines.py my.safetensors        # M4Net's weights of your own: my.onnx, beside them

A model holds the layers of the network. Its numbers stay in the file of weights, in their precision: the model names
the place of each in that file, and the file's SHA-256. So both files must stay together, and weights that change
must be exported again.

`DATA` is the folder of `aflw_train.zip`. With it, a second model (`_int8.onnx`) has layers of 8-bit integers
(`quantisation.py`), calibrated on faces of the training; for the detector, on mosaics of them and on the sample
photos. Weights that extend others get none: it would be another copy of the same integers.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from quantisation import Steps, quantised
from torch import nn

from m4kit.engine import EXPORTED, model_path
from m4kit.faceboxes import MEAN_BGR, PACKAGED_WEIGHTS, FaceBoxes, load_network
from m4kit.files import sha256_of, write_whole
from m4kit.folding import folded
from m4kit.images import load_image
from m4kit.network import HEAD_STAGES, M4Net
from m4kit.parameters import PARAMETERS
from m4kit.training.sources import read_source
from m4kit.weights import read_tensors, registry, resolve

ROOT = Path(__file__).parents[1]
ASSETS, SAMPLES = ROOT / "m4kit" / "assets", ROOT / "sample_images"
OPSET = 18
"""ONNX Runtime 1.14 and later know it."""


def main(arguments: list[str] | None = None) -> None:
    """Export the weights named on the command line, or all packaged ones."""
    packaged = sorted(name for name, source in registry().items() if source.url is None)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "weights", nargs="?", help="a packaged name, or a .safetensors file that M4Net.save wrote"
    )
    parser.add_argument("--calibration", type=Path, metavar="DATA", help="folder with aflw_train.zip")
    options = parser.parse_args(arguments)
    names = packaged if options.weights is None else [options.weights]
    if options.calibration is None and set(names) & set(packaged):
        parser.error("--calibration: packaged weights need the folder with aflw_train.zip")
    crops = None if options.calibration is None else calibration_crops(options.calibration)
    exported = {name: export(name, crops) for name in names}
    index = ASSETS / EXPORTED
    hashes = {name: known for name, known in json.loads(index.read_text()).items() if name in packaged}
    for name in set(names) & set(packaged):
        hashes[name] = {engine: sha256_of(path) for engine, path in exported[name].items()}
    write_whole(index, (json.dumps(hashes, indent=2, sort_keys=True) + "\n").encode())


def export(weights: str, crops: np.ndarray | None = None) -> dict[str, Path]:
    """Write the models of weights, by their registered name or path, beside their file; gives their paths by engine.

    Without calibration `crops` (n, 120, 120, 3) there is none for the engine "int8".
    """
    path = resolve(weights)
    network = load_network(weights) if weights == PACKAGED_WEIGHTS else M4Net.load(weights)
    models, files = {"onnx": traced(network, _Answers(network))}, [path]
    if extended := read_tensors(path)[1].get("extends"):
        files.append(resolve(extended))
    elif crops is not None:
        models["int8"] = in_integers(network, crops)
    hashes = json.dumps({file.name: sha256_of(file) for file in files})
    targets = {engine: model_path(path, engine) for engine in models}
    for engine, model in models.items():
        take_numbers_from(model, files)
        helper.set_model_props(model, network.facts() | {"weights": hashes, "engine": engine})
        write_whole(targets[engine], model.SerializeToString())
    return targets


def calibration_crops(data: Path) -> np.ndarray:
    """Read 128 faces (128, 120, 120, 3) of AFLW that are not held out of the training."""
    source = read_source(data, "aflw_train")
    training = np.flatnonzero(~source.validation)
    return source.crops(np.random.default_rng(0).choice(training, 128, replace=False))


def in_integers(network: FaceBoxes | M4Net, crops: np.ndarray) -> onnx.ModelProto:
    """Export the network's `answers` with integer layers, calibrated on crops (n, 120, 120, 3)."""
    if isinstance(network, M4Net):
        plain, side = _PlainM4Net(network), network.crop_size
        pictures = np.stack([resize(crop, side, side) for crop in crops])
    else:
        plain, pictures = _PlainFaceBoxes(network), scenes(crops)
    batches = np.array_split(pictures, len(crops) // 16)
    return quantised(traced(network, plain), batches, plain.pixels)


def scenes(crops: np.ndarray) -> np.ndarray:
    """Make pictures (n, 480, 640, 3) to calibrate the detector on: sample photos, and mosaics of many faces."""
    photos = [load_image(path) for path in sorted(SAMPLES.glob("*.jpg"))]
    pictures = [resize(photo, 480, 640) for photo in photos]
    for rows in (2, 3, 4, 6, 8, 12):
        side, columns = 480 // rows, rows * 4 // 3
        chosen = np.random.default_rng(rows).choice(len(crops), (rows, columns))
        tiles = [[resize(crops[one], side, side) for one in row] for row in chosen]
        mosaic = np.concatenate([np.concatenate(row, axis=1) for row in tiles])
        pictures.append(resize(mosaic, 480, 640))
    return np.stack(pictures)


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a picture, with area averaging where it shrinks."""
    shrinks = height * width < picture.shape[0] * picture.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, (width, height), interpolation=way)


def traced(network: nn.Module, answers: nn.Module) -> onnx.ModelProto:
    """Trace the network's answers, which the module `answers` computes, as a model for any number of pictures."""
    side = getattr(network, "crop_size", 96)
    dynamic = {0: "n"} if isinstance(network, M4Net) else {0: "n", 1: "height", 2: "width"}
    outputs = ["heads", "weights"] if isinstance(network, M4Net) else ["moves", "logits"]
    target = io.BytesIO()
    with warnings.catch_warnings():
        # It notes each check of a shape, and that PyTorch has a newer exporter, which needs another package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            answers.eval(),
            (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
            target,
            dynamo=False,
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["pictures"],
            output_names=outputs,
            dynamic_axes={"pictures": dynamic} | {name: {0: "n"} for name in outputs},
        )
    return onnx.load_from_string(target.getvalue())


class _Answers(nn.Module):
    def __init__(self, network: FaceBoxes | M4Net):
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.network.answers(pictures)


class _PlainM4Net(nn.Module):
    """M4Net as `quantised` takes it: batch norms are folded, and weights of the heads are always computed."""

    pixels = Steps(1 / 128, 128)

    def __init__(self, network: M4Net):
        super().__init__()
        if network.activation != "relu":
            raise ValueError(
                f"int8: expected a network with relu, got {network.activation}; leave out --calibration"
            )
        if network.crop_size % 4:
            raise ValueError(
                f"int8: expected a crop size that 4 divides, got {network.crop_size}; leave out --calibration"
            )
        self.network = network = folded(network)
        std, mean = network.parameter_std, network.parameter_mean
        side = -(-network.crop_size // 16)
        self.places = (-(-side // 2)) ** 2
        # A map is read place by place, with its channels beside each other.
        self.heads = nn.ModuleList()
        for head in network.spatial_heads:
            weight = head.linear.weight.reshape(PARAMETERS, -1, side, side).permute(0, 2, 3, 1).flatten(1)
            self.heads.append(_linear(std[:, None] * weight, std * head.linear.bias + mean))
        last = network.last_head
        weight, bias = [std[:, None] * last.weight], [std * last.bias + mean]
        if network.fusion == "dynamic":
            weight.append(network.head_scores.weight)
            bias.append(network.head_scores.bias)
        else:
            # Zeros for each face, to which the weights are added: ONNX has no shorter way to repeat them.
            weight.append(torch.zeros(len(HEAD_STAGES), last.in_features))
            bias.append(torch.zeros(len(HEAD_STAGES)))
            self.weights = network.head_logits.softmax(0)
        self.last = _linear(torch.cat(weight), torch.cat(bias))
        # The network's zero lies between two integers.
        first = network.backbone.conv1
        first.bias += first.weight.sum((1, 2, 3)) * (0.5 / 128)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        *early, last = self.network.backbone((pictures.permute(0, 3, 1, 2).float() - 128) / 128)
        answers = []
        for head, linear, stage in zip(self.network.spatial_heads, self.heads, early, strict=True):
            reduced = head.activation(head.reduce(stage)).permute(0, 2, 3, 1)
            answers.append(linear(reduced.reshape(-1, linear.in_features)))
        # The mean of the places' answers is that of their mean.
        each = self.last(last.permute(0, 2, 3, 1).reshape(-1, self.last.in_features))
        each = each.reshape(-1, self.places, self.last.out_features)
        answer, scores = each.mean(1).split((PARAMETERS, len(HEAD_STAGES)), 1)
        heads = torch.cat([*answers, answer], 1).reshape(-1, len(HEAD_STAGES), PARAMETERS)
        return heads, scores.softmax(1) if self.network.fusion == "dynamic" else scores + self.weights


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight, linear.bias = (nn.Parameter(one, requires_grad=False) for one in (weight, bias))
    return linear


class _PlainFaceBoxes(nn.Module):
    """FaceBoxes as `quantised` takes it: without batch norms, for RGB, with one score for each prior.

    The first layer has an output for each sign: 8 bits for both would be too few.
    """

    pixels = Steps(1.0, round(sum(MEAN_BGR) / 3))

    def __init__(self, network: FaceBoxes):
        super().__init__()
        self.network = network = folded(network)
        first = network.digest1.conv
        first.weight = nn.Parameter(torch.cat([first.weight, -first.weight]), requires_grad=False)
        first.bias = nn.Parameter(torch.cat([first.bias, -first.bias]), requires_grad=False)
        first.out_channels, network.digest1.both_signs = 2 * first.out_channels, False
        weight = first.weight.flip(1)
        shift = self.pixels.zero - network.mean.flip(0)
        first.bias += (weight * shift).sum((1, 2, 3))
        first.weight = nn.Parameter(weight, requires_grad=False)
        for head in network.scores:
            head.weight.data = head.weight[1::2] - head.weight[::2]
            head.bias.data = head.bias[1::2] - head.bias[::2]
            head.out_channels //= 2

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        network = self.network
        levels = network.levels(pictures.permute(0, 3, 1, 2).float() - self.pixels.zero)
        moves, logits = (
            torch.cat(
                [
                    head(level).permute(0, 2, 3, 1).flatten(1)
                    for head, level in zip(heads, levels, strict=True)
                ],
                1,
            )
            for heads in (network.moves, network.scores)
        )
        return moves.reshape(moves.shape[0], -1, 4), logits


def take_numbers_from(model: onnx.ModelProto, files: list[Path]) -> None:
    """Replace the model's copies of weights by their places in `.safetensors` files, the first that has each."""
    kinds = {"F16": TensorProto.FLOAT16, "F32": TensorProto.FLOAT}
    places = {}
    for file in reversed(files):
        content = file.read_bytes()
        # The format: the length of a header, the header, then the numbers of all tensors.
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        places |= {name: (file.name, 8 + length, tensor) for name, tensor in header.items()}
    casts = []
    for value in model.graph.initializer:
        name = value.name.removeprefix("network.")
        if name not in places:
            continue
        file, start, tensor = places[name]
        first, last = tensor["data_offsets"]
        kept = TensorProto(
            name=value.name,
            dims=value.dims,
            data_type=kinds[tensor["dtype"]],
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": file, "offset": start + first, "length": last - first}
        for key, number in place.items():
            kept.external_data.add(key=key, value=str(number))
        if kept.data_type == TensorProto.FLOAT16:
            kept.name += ".half"
            casts.append(helper.make_node("Cast", [kept.name], [value.name], to=TensorProto.FLOAT))
        value.CopyFrom(kept)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


if __name__ == "__main__":
    main()
