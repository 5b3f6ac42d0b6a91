"""Export the packaged weights, or a file of weights, as models for ONNX Runtime (`.onnx`).

    python scripts/export_engines.py                    # after register_weights.py: all packaged weights
    python scripts/export_engines.py my.safetensors     # M4Net's weights of your own: my.onnx, beside them

A model holds the layers of the network. Its numbers stay in the file of weights, in their precision: the model names
the place of each in that file, and the file's SHA-256. So both files must stay together, and weights that change
must be exported again.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import warnings
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from m4kit.engine import EXPORTED
from m4kit.faceboxes import PACKAGED_WEIGHTS, FaceBoxes, load_network
from m4kit.files import sha256_of, write_whole
from m4kit.network import M4Net
from m4kit.weights import read_tensors, registry, resolve

ASSETS = Path(__file__).parents[1] / "m4kit" / "assets"
OPSET = 17
"""ONNX Runtime 1.13 and later know it."""


def main(arguments: list[str] | None = None) -> None:
    """Export the weights named on the command line, or all packaged ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="?", help="a .safetensors file that M4Net.save wrote")
    given = parser.parse_args(arguments).weights
    if given:
        export(given)
        return
    names = [name for name, source in registry().items() if source.url is None]
    hashes = {name: sha256_of(export(name)) for name in sorted(names)}
    write_whole(ASSETS / EXPORTED, (json.dumps(hashes, indent=2) + "\n").encode())


def export(weights: str) -> Path:
    """Write the model of weights, by their registered name or path, beside their file; gives its path."""
    path = resolve(weights)
    network = load_network(weights) if weights == PACKAGED_WEIGHTS else M4Net.load(weights)
    model, files = traced(network), [path]
    if extended := read_tensors(path)[1].get("extends"):
        files.append(resolve(extended))
    take_numbers_from(model, files)
    hashes = {file.name: sha256_of(file) for file in files}
    helper.set_model_props(model, network.facts() | {"weights": json.dumps(hashes)})
    target = path.with_suffix(".onnx")
    write_whole(target, model.SerializeToString())
    return target


def traced(network: FaceBoxes | M4Net) -> onnx.ModelProto:
    """The network's `answers` as a model for any number of pictures, with batch norms, which ONNX Runtime folds."""
    side = getattr(network, "crop_size", 96)
    dynamic = {0: "n"} if isinstance(network, M4Net) else {0: "n", 1: "height", 2: "width"}
    outputs = ["heads", "weights"] if isinstance(network, M4Net) else ["moves", "logits"]
    target = io.BytesIO()
    with warnings.catch_warnings():
        # It notes each check of a shape, and that PyTorch has a newer exporter, which needs another package.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Answers(network).eval(),
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
