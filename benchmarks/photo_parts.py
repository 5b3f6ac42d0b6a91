"""Measures the time of each part of a prediction, and the highest speed of a core: two tables of `run.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from comparisons import Setting
from torch.utils.flop_counter import FlopCounterMode

import m4kit
from m4kit.ablation import judge
from m4kit.camera import Crop, HeadPose, crop_from_box, cut_crop
from m4kit.datasets import Sample
from m4kit.evaluate import HeadAnswers
from m4kit.evaluate.peers import measure_times
from m4kit.explore import HeadWeightExplorer
from m4kit.explore.photo_in_depth import PhotoInDepth
from m4kit.inference import inference
from m4kit.prediction import measure_together
from m4kit.visualize import overview

WHOLE = "photo to landmarks"
WITHIN = (
    "the detector",
    "the first crop to landmarks, by m4net-small",
    "the last crop to landmarks, by m4net-base",
    "of it: cutting the crop",
    "of it: the network",
    "of it: the face model's 68 points",
)
"""The parts of a prediction."""

TOGETHER = 16
"""Faces that are measured at once, as those of a batch of photos that go to a table."""

MATRIX = 1024
"""Side of the matrices whose product tells what a core can do."""


def parts_table(setting: Setting) -> str:
    """Measure each part of a prediction, and what follows only on request: a table of milliseconds in Markdown."""
    times = measure_times(_parts(setting), rounds=setting.rounds)
    whole = np.median(times[WHOLE])
    lines = ["| one face in 640x480 | ms | share of the prediction |", "|---|--:|--:|"]
    for name, values in times.items():
        share = f"{100 * np.median(values) / whole:.0f} %" if name in WITHIN else ""
        lines.append(f"| {name} | {np.median(values):.2f} | {share} |")
    return "\n".join(lines)


def _parts(setting: Setting) -> dict[str, Callable[[], object]]:
    photo, predictor = setting.photo, setting.predictor()
    prediction = predictor(photo)
    face = prediction[0]
    crop = crop_from_box(np.asarray(face.box))
    first, last = setting.predictor("small", passes=1), setting.predictor(passes=1)
    pictures = cut_crop(photo, crop)[None]
    within = (
        lambda: predictor(photo)[0].landmarks,
        lambda: predictor.detector(photo),
        lambda: first(photo, boxes=[face.box])[0].landmarks,
        lambda: last(photo, boxes=[face.box])[0].landmarks,
        lambda: cut_crop(photo, crop),
        lambda: predictor.engine(pictures),
        lambda: replace(face).landmarks,
    )
    return dict(zip((WHOLE, *WITHIN), within, strict=True)) | {
        "dense mesh of a face": lambda: replace(face).vertices,
        "failure probability of a face": lambda: replace(face).failure_probability,
        f"the same of {TOGETHER} faces at once": lambda: measure_together(
            [replace(face) for _ in range(TOGETHER)]
        ),
        "overview, four pictures of 480 pixels": lambda: overview(prediction),
        "explorer, a change of a head's weight": _weight_move(prediction),
        "explorer, a step of a scene's severity": _severity_step(predictor, photo),
        "1,000 head weights over 500 faces": _thousand_weights(predictor.model),
    }


def roofline_table(setting: Setting) -> str:
    """Measure a core in a product of large matrices, and beside it the networks on one picture: Markdown."""
    matrix = torch.ones(MATRIX, MATRIX)
    with inference():
        least = measure_times({"product": lambda: matrix @ matrix}, rounds=setting.rounds)["product"].min()
    speed = MATRIX**3 / (1e-3 * least)
    photo, runs = setting.photo[None], {}
    for engine in ("onnx", "int8"):
        base, small = (setting.predictor(size, engine=engine) for size in ("base", "small"))
        runs |= {
            ("m4net-base", engine): (base.network, base.engine, _crop(base)),
            ("m4net-small", engine): (small.network, small.engine, _crop(small)),
            ("faceboxes", engine): (base.detector.network, base.detector.engine, photo),
        }
    times = measure_times(
        {name: partial(engine, pictures) for name, (_, engine, pictures) in runs.items()},
        rounds=setting.rounds,
    )
    lines = [
        f"In fp32 a core does {speed / 1e9:.1f} thousand million multiply-adds a second, in the product of two "
        f"matrices of {MATRIX}x{MATRIX}.",
        "",
        "| network | multiply-adds (million) | weights (million) | at that speed (ms) | fp32 (ms) | share | int8 |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(name for name, _ in runs):
        network, _, pictures = runs[name, "onnx"]
        height, width = pictures.shape[1:3]
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(torch.zeros(1, 3, height, width))
        count = counter.get_total_flops() / 2
        measured, integers = (np.median(times[name, engine]) for engine in ("onnx", "int8"))
        weights = sum(tensor.numel() for tensor in network.parameters())
        least = 1e3 * count / speed
        lines.append(
            f"| {name}, {width}x{height} | {count / 1e6:.0f} | {weights / 1e6:.1f} | {least:.2f} | {measured:.2f} | "
            f"{100 * least / measured:.0f} % | {integers:.2f} |"
        )
    return "\n".join(lines)


def _crop(predictor: m4kit.Predictor) -> np.ndarray:
    side = predictor.network.crop_size
    return np.zeros((1, side, side, 3), np.uint8)


def _weight_move(prediction: m4kit.Prediction) -> Callable[[], object]:
    explorer = HeadWeightExplorer(prediction)
    explorer.colour.value = "spread"
    slider = explorer.sliders.sliders[2]

    def move():
        slider.value = 0.3 if slider.value > 0.4 else 0.5

    return move


def _severity_step(predictor: m4kit.Predictor, photo: np.ndarray) -> Callable[[], object]:
    explorer = PhotoInDepth(predictor)
    explorer.show(photo, condition="haze")

    def step():
        explorer.severity.value = 2.0 if explorer.severity.value == 3.0 else 3.0

    return step


def _thousand_weights(model: m4kit.FaceModel) -> Callable[[], object]:
    random = np.random.default_rng(0)
    heads = random.normal(size=(500, 4, 62)).astype(np.float32)
    heads[..., :12] = [0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0.5, 0]
    sample = Sample(
        "face",
        lambda: None,
        landmarks=model.landmarks(),
        pose=HeadPose(0.0, 0.0, 0.0),
        crop=Crop(0, 0, 120),
    )
    answers = HeadAnswers((sample,) * 500, heads, np.full((500, 4), 0.25), model, published_crops=False)
    weights = random.dirichlet(np.ones(4), 1000)
    return lambda: judge(answers, weights)
