"""Measures the time of each part of a prediction, and of the peers' networks in the same run.

    python benchmarks/speed.py [--threads 1] [--rounds 15]

prints medians in milliseconds. All parts run once per round, so that other load on the machine slows all of them
equally. Ratios are medians of the rounds' ratios. First, a prediction on one thread is compared with one on torch's
own number of threads. Peers are measured if their files are there (see `peers.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from peers import PROJECT, shared_folder, tddfa_v2

import m4kit
from m4kit import conditions
from m4kit.ablation import judge
from m4kit.camera import Crop, HeadPose, crop_from_box, cut_crop
from m4kit.datasets import Sample
from m4kit.evaluate import HeadAnswers
from m4kit.explore import HeadWeightExplorer
from m4kit.explore.photo_in_depth import PhotoInDepth
from m4kit.folding import folded
from m4kit.images import load_image
from m4kit.network import to_input
from m4kit.training.transfer import read_peer
from m4kit.visualize import overview
from m4kit.weights import registry

PHOTO_SIZE = 640, 480
NETWORK = "network, one crop: {}"
PEER = "3DDFA-V2 mb1"


def parts(photo: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
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
    timed |= _peers(crops, threads)
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


def _peers(crops: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
    folder = shared_folder() / "peers/3ddfa_v2"
    if not folder.is_dir():
        return {}
    peer = folded(read_peer(folder / "mb1_120x120.onnx", crops))
    pixels = (torch.from_numpy(crops[..., ::-1].transpose(0, 3, 1, 2).copy()).float() - 127.5) / 128

    def run():
        with torch.inference_mode():
            return peer(pixels)

    timed = {NETWORK.format(f"{PEER}, PyTorch"): run}
    try:
        predict = tddfa_v2(folder, threads=threads)
    except ImportError:
        return timed
    return timed | {NETWORK.format(f"{PEER}, ONNX Runtime, with its landmarks"): lambda: predict(crops)}


def measure(timed: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds (rounds,) of each part, after one warm-up round."""
    times = {name: np.empty(rounds + 1) for name in timed}
    for turn in range(rounds + 1):
        for name, run in timed.items():
            start = time.perf_counter()
            run()
            times[name][turn] = 1000 * (time.perf_counter() - start)
    return {name: values[1:] for name, values in times.items()}


def compare_threads(rounds: int) -> None:
    """Print the time of a prediction on one thread, as m4kit runs it, and on as many as torch uses by itself."""
    predictor, photo = m4kit.Predictor(), load_image(PROJECT / "sample_images" / "group.jpg")

    def on_torchs_threads():
        with mock.patch("m4kit.inference.one_thread", contextlib.nullcontext):
            predictor(photo)

    own = f"predict, group.jpg, torch's {torch.get_num_threads()} thread(s)"
    one = "predict, group.jpg, one thread, as m4kit runs it"
    times = measure({one: lambda: predictor(photo), own: on_torchs_threads}, rounds)
    for name, values in times.items():
        print(f"{np.median(values):8.1f} ms  {name}, longest {values.max():.1f}")
    print(f"{np.median(times[own] / times[one]):8.2f} times as long on torch's threads")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--photo", type=Path, default=PROJECT / "sample_images" / "grace_hopper.jpg")
    options = parser.parse_args()
    compare_threads(options.rounds)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    photo = cv2.resize(load_image(options.photo), PHOTO_SIZE, interpolation=cv2.INTER_AREA)
    times = measure(parts(photo, options.threads), options.rounds)
    print(f"{options.threads} thread(s), medians of {options.rounds} rounds")
    for name, values in times.items():
        print(f"{np.median(values):8.1f} ms  {name}")
    peer = times.get(NETWORK.format(f"{PEER}, PyTorch"))
    if peer is not None:
        for name, values in times.items():
            if name.startswith("network") and PEER not in name:
                print(f"{np.median(values / peer):8.2f} times {PEER}'s time in PyTorch: {name}")


if __name__ == "__main__":
    main()
