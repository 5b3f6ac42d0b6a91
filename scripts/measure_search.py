"""Compares the detector's default search of large photos with a fine search of the whole photo, on held-out faces.

    python scripts/measure_search.py SHARED [--scenes 200]

`SHARED` is the folder of the detector's training. Scenes of 1920x1080 pixels, half of them mosaics and half collages,
show faces of 12 to 500 pixels that the training did not see. `min_face=0.012` searches all of a scene as finely as
the default does around signs of small faces. Recall is at IoU 0.5 and a score threshold of 0.5.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from m4kit.detector import Detector
from m4kit.evaluate.detection import DetectorEvaluation, PhotoResult
from m4kit.training.detector_loop import OFFICIAL
from m4kit.training.detector_material import read_material
from m4kit.training.detector_scenes import collage, mosaic

WIDTH, HEIGHT = 1920, 1080
SEARCHES = {"by default": {}, "fine everywhere": {"min_face": 0.012}}


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the folder of the detector's training")
    parser.add_argument("--scenes", type=int, default=200, help="default: 200")
    options = parser.parse_args()
    material = read_material(options.shared, Detector(options.shared / OFFICIAL))[1]
    detector = Detector()
    results, times = {name: [] for name in SEARCHES}, {name: [] for name in SEARCHES}
    for number in range(options.scenes):
        make = collage if number % 2 else mosaic
        picture, faces = scene(make(material, WIDTH, np.random.default_rng(number)))
        for name, arguments in SEARCHES.items():
            start = time.thread_time()
            found = detector(picture, **arguments)
            times[name].append(1000 * (time.thread_time() - start))
            results[name].append(PhotoResult(found, faces[:, :4], faces[:, 4] == 1))
    evaluations = {name: DetectorEvaluation(tuple(one)) for name, one in results.items()}
    print(f"{options.scenes} scenes, {evaluations['by default'].faces} faces")
    print("| search | recall | by size | false alarms in a scene | ms of CPU |\n|---|--:|---|--:|--:|")
    for name, one in evaluations.items():
        sizes = ", ".join(
            f"{low:g} to {high:g}: {100 * recall:.1f} % of {count}"
            for (low, high), recall, count in one.recall_by_size()
        )
        print(
            f"| {name} | {100 * one.recall():.1f} % | {sizes} | {one.false_positives():.2f} "
            f"| {np.median(times[name]):.0f} |"
        )


def scene(square: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Cut the upper part of a square scene. A face that its lower edge cuts is optional."""
    picture, faces = square[0][:HEIGHT], square[1][square[1][:, 1] < HEIGHT]
    faces[faces[:, 3] > HEIGHT, 4] = 0
    # A scene's boxes count from the picture's corner, a detector's from the first pixel's centre.
    return picture, faces - [0.5, 0.5, 0.5, 0.5, 0]


if __name__ == "__main__":
    main()
