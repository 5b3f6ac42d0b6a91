"""Reads the data sets of the training, `aflw_train` and `youtube_faces`, with annotated points in the crop frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m4kit.camera import CROP_SIZE
from m4kit.datasets import HELD_OUT_PEOPLE, held_out
from m4kit.training.data import read_crops

SOURCES = ("youtube_faces", "aflw_train")
"""The sets by name, the one that names people first."""


@dataclass(frozen=True)
class Source:
    """The n faces of a data set: names, annotated points in the crop frame, and which faces are held out.

    `points21` (n, 21, 2) and `points68` (n, 68, 2) are NaN where there is none. `people` (n,) names the person in
    each photo, if the set does.
    """

    name: str
    archive: Path
    names: list[str]
    points21: np.ndarray
    points68: np.ndarray
    validation: np.ndarray
    people: np.ndarray | None = None

    def crops(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Read the crops (n, 120, 120, 3) uint8 RGB of all faces or the chosen ones."""
        return read_crops(self.archive, np.array(self.names)[chosen].tolist())


def read_source(data: Path, name: str) -> Source:
    """Read one of `SOURCES` from a folder.

    Both sets map a photo's coordinate x into a crop of `size` photo pixels by (x - left) * 120 / size, counted from
    the crop's left edge, where the crop frame has x = -60.
    """
    file = np.load(data / f"{name}.npz", allow_pickle=False)
    names = file["names"].tolist()
    n = len(names)
    points21, points68 = np.full((n, 21, 2), np.nan, np.float32), np.full((n, 68, 2), np.nan, np.float32)
    people = None
    if name == "aflw_train":
        left_top, size = file["roi"][:, :2], file["roi"][:, 2:] - file["roi"][:, :2]
        points = file["pts21"].transpose(0, 2, 1)
        seen = (points != -1).all(-1)
        crop = (points - left_top[:, None]) * (CROP_SIZE / size[:, None])
        points21[:] = np.where(seen[..., None], crop, np.nan)
        validation = held_out(names, 0.05)
    else:
        points68[:] = file["pts68"] * (CROP_SIZE / 128)
        people = file["identity"]
        validation = held_out(people.tolist(), HELD_OUT_PEOPLE)
    for points in (points21, points68):
        points[..., 0] -= CROP_SIZE / 2
        points[..., 1] = CROP_SIZE / 2 - points[..., 1]
    return Source(name, data / f"{name}.zip", names, points21, points68, validation, people)
