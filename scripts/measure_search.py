"""Compares the detector's default search with a search at one scale, on held-out faces.

    python scripts/measure_search.py SHARED [--scenes 200]

`SHARED` is the folder of the detector's training. Scenes of 1920x1080 pixels, half of them mosaics and half collages,
show faces of 12 to 500 pixels that the training did not see. `min_face=0.012` searches all of a scene as finely as
the default does around signs of small faces. Close-ups are held-out crops, enlarged to sides of 600 and 1000
pixels, which a face nearly fills; `min_face=20` searches them at that size. Recall is at IoU 0.5 and a score
threshold of 0.5.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from m4kit.detector import Detector
from m4kit.evaluate.detection import DetectorEvaluation, PhotoResult
from m4kit.training.detector_loop import OFFICIAL
from m4kit.training.detector_material import Photo, read_material
from m4kit.training.detector_scenes import collage, mosaic

WIDTH, HEIGHT = 1920, 1080
SEARCHES = {"by default": {}, "fine everywhere": {"min_face": 0.012}}
CLOSE_UPS = {"by default": {}, "at its own size": {"min_face": 20}}
SIDES = (600, 1000)


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the folder of the detector's training")
    parser.add_argument("--scenes", type=int, default=200, help="default: 200")
    options = parser.parse_args()
    material = read_material(options.shared, Detector(options.shared / OFFICIAL))[1]
    detector = Detector()
    scenes = (
        scene((collage if number % 2 else mosaic)(material, WIDTH, np.random.default_rng(number)))
        for number in range(options.scenes)
    )
    compare(f"{options.scenes} scenes", scenes, SEARCHES, detector)
    chosen = np.random.default_rng(0).permutation(len(material.crops))[: options.scenes]
    for side in SIDES:
        crops = (enlarged(material.crops[number], side) for number in chosen)
        compare(f"{options.scenes} close-ups of {side} pixels", crops, CLOSE_UPS, detector)


def compare(
    what: str, photos: Iterable[tuple[np.ndarray, np.ndarray]], searches: dict[str, dict], detector: Detector
) -> None:
    """Print a table of searches of photos, each with its faces (n, 5): box, and 1 if the face must be found."""
    results, times = {name: [] for name in searches}, {name: [] for name in searches}
    for picture, faces in photos:
        for name, arguments in searches.items():
            start = time.thread_time()
            found = detector(picture, **arguments)
            times[name].append(1000 * (time.thread_time() - start))
            results[name].append(PhotoResult(found, faces[:, :4], faces[:, 4] == 1))
    evaluations = {name: DetectorEvaluation(tuple(one)) for name, one in results.items()}
    print(f"{what}, {evaluations['by default'].faces} faces")
    print("| search | recall | by size | false alarms in a photo | ms of CPU |\n|---|--:|---|--:|--:|")
    for name, one in evaluations.items():
        sizes = ", ".join(
            f"{low:g} to {high:g}: {100 * recall:.1f} % of {count}"
            for (low, high), recall, count in one.recall_by_size()
        )
        print(
            f"| {name} | {100 * one.recall():.1f} % | {sizes} | {one.false_positives():.2f} "
            f"| {np.median(times[name]):.0f} |"
        )


def enlarged(photo: Photo, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A crop as a photo of this longer side, and its faces in pixels of this photo."""
    image = photo.image()
    zoom = side / max(image.shape[:2])
    faces = photo.faces * [zoom, zoom, zoom, zoom, 1] - [0.5, 0.5, 0.5, 0.5, 0]
    return cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC), faces


def scene(square: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Cut the upper part of a square scene. A face that its lower edge cuts is optional."""
    picture, faces = square[0][:HEIGHT], square[1][square[1][:, 1] < HEIGHT]
    faces[faces[:, 3] > HEIGHT, 4] = 0
    # A scene's boxes count from the picture's corner, a detector's from the first pixel's centre.
    return picture, faces - [0.5, 0.5, 0.5, 0.5, 0]


if __name__ == "__main__":
    main()
