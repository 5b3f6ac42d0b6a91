"""The command `m4kit train`: train M4Net, or continue a stopped training."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from m4kit.commands import CONTINUES, add_quiet, folder_argument, say, shows_progress
from m4kit.face_model import FaceModel
from m4kit.files import OutputFolder
from m4kit.network import ACTIVATIONS, FUSIONS, SIZES, M4Net
from m4kit.peers.tddfa_v2 import WHITENING, read_whitening
from m4kit.training import TrainingError
from m4kit.training.data import Labels, decoded_crops
from m4kit.training.loop import FILES, Config, Trainer, available_device, config_from_dict
from m4kit.training.transfer import (
    LICENCE,
    mapped,
    read_map,
    read_peer,
    set_whitening,
    transfer,
    whitening_of,
)
from m4kit.weights import check_fits

START = "start.safetensors"
TRANSFER_CROPS = 2500
FROM_NOTHING = {"size": "base", "activation": "relu", "fusion": "static"}
"""The network of a training without a start, unless options give another one."""

_OPTIONS = {
    "steps": int,
    "minutes": float,
    "batch": int,
    "learning_rate": float,
    "precision": str,
    "device": str,
    "workers": int,
    "parallel": int,
    "seed": int,
    "frozen": str,
    "validate_every": int,
    "validation_faces": int,
    "checkpoint_minutes": float,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `m4kit train`."""
    parser.description = "Train M4Net on labelled crops. The same command continues a stopped run."
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the archives that the labels name"
    )
    parser.add_argument("--labels", type=Path, required=True, help="labels file (.npz)")
    parser.add_argument("--out", type=folder_argument, required=True, help="folder for all files of the run")
    parser.add_argument("--cache", type=Path, help="folder for the decoded crops (default: OUT)")
    parser.add_argument("--model", type=Path, help="face model (.npz; default: the packaged one)")
    parser.add_argument(
        "--start",
        type=Path,
        help="weights to start from: M4Net's (.safetensors), or 3DDFA-V2's mb1 (.onnx) or mb05 (.pth) beside its "
        f"{WHITENING}; default: random weights",
    )
    parser.add_argument(
        "--map",
        type=Path,
        help="map from 3DDFA-V2's parameters to ours (.npz); needed for a start from 3DDFA-V2",
    )
    for name, choices in (("size", SIZES), ("activation", ACTIVATIONS), ("fusion", FUSIONS)):
        parser.add_argument(
            f"--{name}",
            choices=choices,
            help=f"of the network (default: {FROM_NOTHING[name]}, or that of --start)",
        )
    parser.add_argument(
        "--fusion-only",
        action="store_true",
        help="train only the layer that weighs the heads; needs --fusion dynamic and --start with M4Net weights",
    )
    parser.add_argument("--licence", default="", help="licence to store with the weights")
    add_config_options(parser)
    add_quiet(parser)
    parser.set_defaults(run=run, when_stopped=CONTINUES)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and the options that change single values; `config_of` reads them."""
    parser.add_argument(
        "--config", type=Path, help="config.json of an earlier run; the options below override it"
    )
    for name, kind in _OPTIONS.items():
        default = getattr(Config, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"default: {default}")


def run(args: argparse.Namespace) -> int:
    """Run `m4kit train`; returns 0."""
    shown = {"progress": shows_progress(args)}
    config = config_of(args)
    config = dataclasses.replace(config, fusion_only=config.fusion_only or args.fusion_only)
    output = OutputFolder(args.out, (*FILES, START), inputs=filter(None, (args.labels, args.start)))
    labels, model = Labels.load(args.labels), FaceModel.load(args.model)
    # Before the crops are decoded, which takes minutes.
    labels.check_fits(model)
    with output:
        decoded = partial(decoded_crops, labels, data=args.data, cache=args.cache or args.out, **shown)
        network = _started(args, labels, model, decoded, seed=config.seed)
        if args.licence:
            network.notes["licence"] = "; ".join(filter(None, (args.licence, network.notes.get("licence"))))
        crops = decoded(crop_size=network.crop_size)
        trainer = Trainer(network, model, labels, crops, config, out=args.out, **shown)
        say(json.dumps(config.to_dict(), indent=2))
        say(f"{len(trainer.train_indices)} faces to train on, {len(trainer.held_out)} to validate on")
        say(trainer.run())
    return 0


def config_of(args: argparse.Namespace) -> Config:
    """Build the config from the options of `add_config_options`.

    Raises `TrainingError` if the file holds no config, a value is out of range, or the device does not exist.
    """
    config = Config()
    if args.config is not None:
        try:
            config = config_from_dict(json.loads(args.config.read_text()))
        # A ValueError if it is not JSON, or not a config.
        except (OSError, ValueError) as error:
            raise TrainingError(f"{args.config}: expected the config.json of a run: {error}") from error
    given = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    config = dataclasses.replace(config, **given)
    available_device(config.device)
    return config


def _started(
    args: argparse.Namespace, labels: Labels, model: FaceModel, decoded: Callable[..., Path], *, seed: int
) -> M4Net:
    """Make the network to start from, and store it in the run's folder, so that the run can be resumed.

    `decoded` decodes the labels' crops at a `crop_size` into a file. Only some starts need them.
    """
    kept, about = args.out / START, f"start: {args.start or 'none'}, map: {args.map or 'none'}"
    asked = {name: getattr(args, name) for name in FROM_NOTHING if getattr(args, name) is not None}
    if args.start is None:
        asked = FROM_NOTHING | asked
    if kept.is_file() and (args.out / "checkpoint.pt").is_file():
        network = M4Net.load(kept)
        if network.notes["run"] != about:
            raise TrainingError(
                f"{args.out}: it holds a run with another start ({network.notes['run']}); give the "
                "same start to continue it, or another --out to begin a new run"
            )
        check_fits(
            network,
            model,
            remedy="give the same --model and --labels to continue its run, or another --out to begin a new one",
        )
        _check(network, asked, args.out)
        return network
    args.out.mkdir(parents=True, exist_ok=True)
    training, _ = labels.split()
    whitening = whitening_of(labels.parameters[training])
    if args.start is None:
        # The trainer sets the seed too, but after these weights are drawn.
        torch.manual_seed(seed)
        network = M4Net(**asked)
        set_whitening(network, whitening)
        network.notes["face_model"] = model.fingerprint
    elif args.start.suffix == ".safetensors":
        network = M4Net.load(args.start)
        if network.notes["face_model"] not in ("", model.fingerprint):
            crops = np.load(decoded(crop_size=network.crop_size), mmap_mode="r")
            network = mapped(network, labels, crops, _of_transfer(training))
            say(f"{args.start}: weights for another face model; their answers are mapped to this one")
        if args.fusion == "dynamic" and network.fusion == "static":
            network = network.with_dynamic_fusion()
    else:
        if args.map is None:
            raise TrainingError(
                f"{args.start}: a start from 3DDFA-V2 needs a map to our face model; give --map"
            )
        if args.activation not in (None, "relu"):
            raise TrainingError(
                f"{args.start}: expected relu for 3DDFA-V2's weights, got {args.activation}; leave out --activation"
            )
        to_ours = read_map(args.map)
        if to_ours.face_model != model.fingerprint:
            raise TrainingError(
                f"{args.map}: it maps to the face model {to_ours.face_model}, got the face model "
                f"{model.fingerprint}; give the map that was written with labels of this model"
            )
        crops, chosen = np.load(decoded(), mmap_mode="r"), _of_transfer(training)
        # Sorted indices read the file in order; the second shuffle makes the held-out last fifth random.
        few = crops[chosen][np.random.default_rng(1).permutation(len(chosen))]
        network = transfer(
            read_peer(args.start, few[:600]),
            few,
            peer_whitening=read_whitening(args.start.with_name(WHITENING)),
            to_ours=to_ours,
            whitening=whitening,
            fusion=args.fusion or "static",
            report=say,
        )
        network.notes["licence"] = LICENCE
    _check(network, asked, args.start)
    network.save(kept, run=about)
    return network


def _of_transfer(training: np.ndarray) -> np.ndarray:
    """Choose the indices of the faces that a start from other weights is fitted to."""
    return np.sort(np.random.default_rng(0).permutation(training)[:TRANSFER_CROPS])


def _check(network: M4Net, asked: Mapping[str, str], source: Path | None) -> None:
    """Raise `TrainingError` if size, activation or fusion of the network differ from the options."""
    other = [f"{name} {getattr(network, name)}" for name in asked if getattr(network, name) != asked[name]]
    if other:
        raise TrainingError(
            f"{source}: expected a network of {', '.join(' '.join(one) for one in asked.items())}, got one of "
            f"{', '.join(other)}; give its own options, or another --start or --out"
        )
