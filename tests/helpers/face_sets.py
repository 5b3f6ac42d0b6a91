"""Pieces of tiny data sets: pictures of one grey, and a face of 68 points whose box is known."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image


def face(left: float = 30, top: float = 40, width: float = 80, height: float = 60) -> np.ndarray:
    """Points (68, 2) from 0 at pixel centres, in a box of that place and size."""
    points = np.random.default_rng(7).uniform(0, 1, (68, 2))
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    return points * [width, height] + [left, top]


FACE_CROP = (70 - 40 * 2**0.5, 70 - 40 * 2**0.5, 80 * 2**0.5)
"""The crop of `face()` by the sets' rule: around the centre of its box, of sqrt(2) times its longer side."""


def picture(path: Path, *, grey: int = 100, size: tuple[int, int] = (160, 150)) -> Path:
    """A picture of one grey and of a size (width, height), with the folders that it needs; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey,) * 3).save(path)
    return path


def zipped(folder: Path) -> Path:
    """The folder as a zip beside it, instead of it."""
    archive = Path(shutil.make_archive(str(folder), "zip", folder))
    shutil.rmtree(folder)
    return archive
