"""Saves and loads the data of a scene report: its two tables, its settings and its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from m4kit.camera import CROP_SIZE, Crop
from m4kit.face_model import FaceModel, packaged_model
from m4kit.files import whole_file, write_whole
from m4kit.images import load_image
from m4kit.prediction import Face, FaceBox
from m4kit.scenes.columns import FACE_COLUMNS, PHOTO_COLUMNS
from m4kit.scenes.taxonomy import failure_flags

VERSION = 4
"""Version of the report's files; files of another version are refused."""

THUMBNAILS = "thumbnails"

_INFO = "report.json"

FILES = ("faces.parquet", "photos.parquet", _INFO, THUMBNAILS)
"""The files of a report, and the folder of its thumbnails."""

_FORMAT = "m4kit scene report"


class ReportError(ValueError):
    """A report that cannot be read, or that lacks what was asked for."""


@dataclass(frozen=True, eq=False)
class ReportData:
    """The tables, settings and pictures of a report; `SceneReport` explains them, and adds its summaries."""

    faces: pd.DataFrame = field(repr=False)
    photos: pd.DataFrame = field(repr=False)
    settings: Mapping[str, object]
    folder: Path | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.photos)

    @cached_property
    def failures(self) -> dict[str, int]:
        """Number of faces for each label of `taxonomy.RULES`; a face can count for several."""
        return failure_flags(self.faces["failures"]).sum().to_dict()

    def thumbnail(self, row: int) -> np.ndarray:
        """The crop of a face, or the crop around a missed face's box, (120, 120, 3) uint8 RGB."""
        return load_image(self.thumbnail_jpeg(row))

    def thumbnail_jpeg(self, row: int) -> bytes:
        """The JPEG file of `thumbnail`."""
        return self._jpeg(self.faces["thumbnail"].iloc[row])

    def face(self, row: int, *, model: FaceModel | None = None) -> Face:
        """The predicted face of a row, in its thumbnail's pixels. No network runs.

        `model` is by default the packaged face model. Raises `ReportError` for a missed face, or for a face model
        other than the one that the photos were analysed with.
        """
        of = self.faces.iloc[row]
        if pd.isna(of["face"]):
            raise ReportError(f"face {row}: expected one that was found, got a missed one; see its thumbnail")
        wanted = self.settings.get("face_model", "")
        model = packaged_model() if model is None else model
        if model.fingerprint != wanted:
            raise ReportError(
                f"face {row}: expected the face model {wanted}, got {model.fingerprint}; give model="
            )
        corners = of[["left", "top", "right", "bottom"]].to_numpy(float)
        corner = of[["crop_left", "crop_top"]].to_numpy(float)
        box = (corners - [*corner, *corner]) * CROP_SIZE / of["crop_size"] - 0.5
        crop, heads = Crop(-0.5, -0.5, CROP_SIZE), np.reshape(of["parameters"], (1, 62))
        return Face(FaceBox(*box.tolist(), of["score"]), crop, heads, np.ones(1, np.float32), model)

    def reference_landmarks(self, row: int) -> np.ndarray | None:
        """The landmarks that a face is compared with, (68, 2) in its thumbnail's pixels; None if there are none."""
        points = self.faces["reference_points"].iloc[row]
        return None if points is None else np.reshape(points, (68, 2))

    def save(self, folder: str | Path) -> Path:
        """Write tables and thumbnails into a folder for `load`; returns the folder."""
        folder = Path(folder)
        (folder / THUMBNAILS).mkdir(parents=True, exist_ok=True)
        for name in self.faces["thumbnail"].dropna():
            place = folder / THUMBNAILS / name
            if not place.exists():
                write_whole(place, self._jpeg(name))
        for name, table in (("faces", self.faces), ("photos", self.photos)):
            with whole_file(folder / f"{name}.parquet") as part:
                table.to_parquet(part, index=False)
        info = {"format": _FORMAT, "version": VERSION, "settings": dict(self.settings)}
        write_whole(folder / _INFO, json.dumps(info, indent=1).encode())
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load the report that `save` or `analyse` left in a folder.

        Raises `FileNotFoundError` if there is none, and `ReportError` if it is broken, lacks columns, or is of
        another version.
        """
        folder = Path(folder)
        if not (folder / _INFO).is_file():
            raise FileNotFoundError(
                f"{folder}: expected a scene report ({_INFO}), found none; check the path, or call analyse with this "
                "folder again if it was interrupted"
            )
        settings = _settings_in(folder / _INFO)
        tables = [
            _read_table(folder / f"{name}.parquet", columns)
            for name, columns in (("faces", FACE_COLUMNS), ("photos", PHOTO_COLUMNS))
        ]
        return cls(*tables, settings, folder=folder)

    def _jpeg(self, name: str) -> bytes:
        if name in self.pictures:
            return self.pictures[name]
        place = None if self.folder is None else self.folder / THUMBNAILS / name
        if place is None or not place.is_file():
            raise ReportError(
                f"thumbnail {name!r}: expected its picture in {place}, found none; analyse the photos again"
            )
        return place.read_bytes()


def _settings_in(path: Path) -> dict:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version = info["version"] if info["format"] == _FORMAT else None
        settings = info["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(
            f"{path}: expected a scene report, got another or a broken file ({error})"
        ) from error
    if version != VERSION:
        raise ReportError(
            f"{path}: expected a scene report of version {VERSION}, got {version}; analyse the photos again, or read "
            "it with the m4kit that wrote it"
        )
    return settings


def _read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
        return table.astype(dict(columns))
    # Arrow raises ValueError or OSError for a broken file; a missing column is a KeyError.
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReportError(
            f"{path}: expected a table of a scene report, got {error}; analyse the photos again"
        ) from error
