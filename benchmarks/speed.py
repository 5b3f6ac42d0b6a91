"""Measures the time of each part of a prediction, and of the peers' networks in the same run.

    python benchmarks/speed.py [--threads 1] [--rounds 15] [--peer-files DIR]

prints medians in milliseconds. All parts run once per round, so that other load on the machine slows all of them
equally. Ratios are medians of the rounds' ratios. First, a prediction on one thread is compared with one on torch's
own number of threads. `--peer-files` is a folder with 3DDFA-V2's files, and adds its mb1.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch

import m4kit
from m4kit import conditions
from m4kit.ablation import judge
from m4kit.camera import Crop, HeadPose, crop_from_box, cut_crop
from m4kit.datasets import Sample
from m4kit.evaluate import HeadAnswers
from m4kit.evaluate.peers import measure_times
from m4kit.explore import HeadWeightExplorer
from m4kit.explore.photo_in_depth import PhotoInDepth
from m4kit.folding import folded
from m4kit.images import load_image
from m4kit.network import to_input
from m4kit.peers import TddfaV2
from m4kit.peers.tddfa_v2 import NETWORKS, read_network, whitened
from m4kit.visualize import overview
from m4kit.weights import registry

PROJECT = Path(__file__).resolve().parent.parent
PHOTO_SIZE = 640, 480
NETWORK = "network, one crop: {}"
PEER = "3DDFA-V2 mb1"


def parts(photo: np.ndarray, peer_files: Path | None) -> dict[str, Callable[[], object]]:
    """The functions to measure, by name."""
    detector, predictor = m4kit.Detector(), m4kit.Predictor()
    box = detector(photo)[0]
    crop = crop_from_box(box)
    crops = cut_crop(photo, crop)[None]
    prediction = predictor(photo)
    timed = {
        f"detector, {photo.shape[1]}x{photo.shape[0]}": lambda: detector(photo),
        "cutting a crop": lambda: cut_crop(photo, crop),
    }
    for name in registry():
        if name.startswith("m4net"):
            timed[NETWORK.format(name)] = _network(m4kit.M4Net.load(name), crops)
    if peer_files is not None:
        timed |= _peer(crops, peer_files)
    timed |= {
        "predict, one face, two passes": lambda: predictor(photo),
        "dense mesh of a face": lambda: dataclasses.replace(prediction[0]).vertices,
        "overview of a face, four pictures of 480 pixels": lambda: overview(prediction),
        "explorer, a change of a head's weight": _weight_move(prediction),
        "explorer, a step of a scene's severity": _severity_step(predictor, photo),
        "1,000 head weights over 500 faces": _thousand_weights(predictor.model),
    }
    for condition in conditions.CONDITIONS:
        timed[f"conditions.degrade, {condition}, severity 3"] = lambda condition=condition: (
            conditions.degrade(photo, condition, 3, seed=0)
        )
    return timed


def _network(network: torch.nn.Module, crops: np.ndarray) -> Callable[[], object]:
    network = folded(network)

    def run():
        with torch.inference_mode():
            return network(to_input(crops))

    return run


def _weight_move(prediction: m4kit.Prediction) -> Callable[[], object]:
    explorer = HeadWeightExplorer(prediction)
    explorer.colour.value = "spread"
    slider = explorer.sliders.sliders[2]

    def move():
        slider.value = 0.3 if slider.value > 0.4 else 0.5

    return move


def _thousand_weights(model: m4kit.FaceModel) -> Callable[[], object]:
    random = np.random.default_rng(0)
    heads = random.normal(size=(500, 4, 62)).astype(np.float32)
    heads[..., :12] = [0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0.5, 0]
    sample = Sample(
        "face",
        lambda: None,
        landmarks=model.landmarks().numpy(),
        pose=HeadPose(0.0, 0.0, 0.0),
        crop=Crop(0, 0, 120),
    )
    answers = HeadAnswers((sample,) * 500, heads, np.full((500, 4), 0.25), model, published_crops=False)
    weights = random.dirichlet(np.ones(4), 1000)
    return lambda: judge(answers, weights)


def _severity_step(predictor: m4kit.Predictor, photo: np.ndarray) -> Callable[[], object]:
    explorer = PhotoInDepth(predictor)
    explorer.show(photo, condition="haze")

    def step():
        explorer.severity.value = 2.0 if explorer.severity.value == 3.0 else 3.0

    return step


def _peer(crops: np.ndarray, folder: Path) -> dict[str, Callable[[], object]]:
    network, peer = folded(read_network(folder / NETWORKS["mb1"])), TddfaV2(folder)
    return {
        NETWORK.format(PEER): lambda: whitened(network, crops),
        NETWORK.format(f"{PEER}, with its landmarks"): lambda: peer.predict_crops(crops),
    }


def compare_threads(rounds: int) -> None:
    """Print the time of a prediction on one thread, as m4kit runs it, and on as many as torch uses by itself."""
    predictor, photo = m4kit.Predictor(), load_image(PROJECT / "sample_images" / "group.jpg")

    def on_torchs_threads():
        with mock.patch("m4kit.inference.one_thread", contextlib.nullcontext):
            predictor(photo)

    own = f"predict, group.jpg, torch's {torch.get_num_threads()} thread(s)"
    one = "predict, group.jpg, one thread, as m4kit runs it"
    times = measure_times({one: lambda: predictor(photo), own: on_torchs_threads}, rounds=rounds)
    for name, values in times.items():
        print(f"{np.median(values):8.1f} ms  {name}, longest {values.max():.1f}")
    print(f"{np.median(times[own] / times[one]):8.2f} times as long on torch's threads")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peer-files", type=Path, help="folder with 3DDFA-V2's files")
    parser.add_argument("--photo", type=Path, default=PROJECT / "sample_images" / "grace_hopper.jpg")
    options = parser.parse_args()
    compare_threads(options.rounds)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    photo = cv2.resize(load_image(options.photo), PHOTO_SIZE, interpolation=cv2.INTER_AREA)
    times = measure_times(parts(photo, options.peer_files), rounds=options.rounds)
    print(f"{options.threads} thread(s), medians of {options.rounds} rounds")
    for name, values in times.items():
        print(f"{np.median(values):8.1f} ms  {name}")
    peer = times.get(NETWORK.format(PEER))
    if peer is not None:
        for name, values in times.items():
            if name.startswith("network") and PEER not in name:
                print(f"{np.median(values / peer):8.2f} times {PEER}'s time: {name}")


if __name__ == "__main__":
    main()
