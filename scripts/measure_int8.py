"""Measures how much accuracy 8-bit integers cost, and m4net-small on the first crop, on held-out faces.

    python scripts/measure_int8.py DATA [--faces 300]

`DATA` is the folder of `aflw_train.zip`. The error of a face is the mean distance of the network's points from the
annotated ones, in percent of the face's size, without the network's habits (see `m4kit.training.failure`). Errors are
compared face by face. Photos are crops with a margin of their blurred rim, some of them shrunk or cut off.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m4kit import metrics
from m4kit.engine import make_engine
from m4kit.face_model import packaged_model
from m4kit.landmarks import face_size
from m4kit.network import M4Net
from m4kit.parameters import fuse, landmarks_in_crop
from m4kit.predictor import Predictor
from m4kit.training.failure import face_at, make_photo
from m4kit.training.refinement import annotation, annotation_offsets, place_annotated
from m4kit.training.sources import read_source
from m4kit.views import regress
from m4kit.weights import resolve


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with aflw_train.zip")
    parser.add_argument("--faces", type=int, help="use only so many random faces")
    options = parser.parse_args()
    source = read_source(options.data, "aflw_train")
    chosen = np.flatnonzero(source.validation)
    if options.faces:
        chosen = np.random.default_rng(0).permutation(chosen)[: options.faces]
    crops = source.crops(chosen)
    points, trust = annotation(source.points21[chosen], source.points68[chosen])
    compare("m4net-small", crops, points, trust)
    landmarks = compare("m4net-base", crops, points, trust)
    compare_photos(crops, landmarks, points, trust)


def compare(name: str, crops: np.ndarray, points: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Print how a network in integers differs from it in fp32 on crops; gives the landmarks (n, 68, 2) in fp32."""
    model = packaged_model()
    answers = [
        fuse(*regress(make_engine(name, M4Net.load, engine=engine), model, crops))
        for engine in ("onnx", "int8")
    ]
    landmarks, others = (landmarks_in_crop(model, one)[..., :2] for one in answers)
    moved = metrics.nme(others, landmarks)
    errors = [error_of(one, points, trust, face_size(landmarks)) for one in answers]
    print(
        f"{name}, {len(crops)} crops: in integers, landmarks move by {moved.mean():.2f} % of the face's size, on 95 "
        f"of 100 faces by less than {np.quantile(moved, 0.95):.2f} %; {difference(*errors)}"
    )
    return landmarks


def compare_photos(crops: np.ndarray, landmarks: np.ndarray, points: np.ndarray, trust: np.ndarray) -> None:
    """Print the same for photos, from the detector to the second crop."""
    base = resolve("m4net-base")
    predictors = {
        "both crops by m4net-base in fp32": Predictor(network=base, engine="onnx"),
        "both crops by m4net-base in integers": Predictor(network=base, engine="int8"),
        "m4kit, the first crop by m4net-small": Predictor(),
    }
    photos = [
        make_photo(crop, *places, np.random.default_rng(number))
        for number, (crop, *places) in enumerate(zip(crops, landmarks, points, strict=True))
    ]
    found = {
        words: [face_at(predictor(photo.image), photo.landmarks) for photo in photos]
        for words, predictor in predictors.items()
    }
    everywhere = [
        number for number, faces in enumerate(zip(*found.values(), strict=True)) if None not in faces
    ]
    size = face_size(np.array([photos[number].landmarks for number in everywhere]))
    first = None
    for words, faces in found.items():
        missed = sum(face is None for face in faces)
        own = [faces[number] for number in everywhere]
        seen = np.array(
            [
                face.crop.from_photo(photos[number].points)
                for face, number in zip(own, everywhere, strict=True)
            ]
        )
        scale = np.array([face.crop.scale for face in own])
        errors = error_of(np.array([face.parameters for face in own]), seen, trust[everywhere], size / scale)
        first = errors if first is None else first
        print(f"{len(photos)} photos, {words}: {missed} faces missed; {difference(first, errors)}")


def error_of(parameters: np.ndarray, points: np.ndarray, trust: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Compute errors (n,) of raw parameters (n, 62) against annotated points (n, 89, 2), all in the crop frame."""
    model = packaged_model()
    habits = annotation_offsets(model, parameters, points, trust)
    apart = np.linalg.norm(place_annotated(model, parameters, habits) - points, axis=-1)
    return 100 * (apart * trust).sum(1) / trust.sum(1) / size


def difference(before: Sequence[float], after: Sequence[float]) -> str:
    """Describe the mean errors of the same faces, and the mean of their difference with its 95 % interval."""
    apart = np.subtract(after, before)
    half = 1.96 * apart.std() / len(apart) ** 0.5
    low, high = apart.mean() - half, apart.mean() + half
    return (
        f"error {np.mean(before):.3f} -> {np.mean(after):.3f} %, difference {apart.mean():+.3f} "
        f"({low:+.3f} to {high:+.3f})"
    )


if __name__ == "__main__":
    main()
