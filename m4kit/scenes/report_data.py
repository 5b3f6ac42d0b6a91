"""The data of a scene report: its two tables, its settings and its pictures, and how they are saved."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from m4kit.camera import CROP_SIZE, Crop
from m4kit.face_model import FaceModel
from m4kit.files import write_whole
from m4kit.images import load_image
from m4kit.prediction import Face, FaceBox
from m4kit.scenes.tables import (
    FACE_COLUMNS,
    PHOTO_COLUMNS,
    SUFFIX,
    Table,
    TableError,
    check_columns,
    frame_of,
    kinds_of,
    load_table,
    save_table,
    unpacked,
)
from m4kit.scenes.taxonomy import RULES, label_of
from m4kit.weights import fingerprint

if TYPE_CHECKING:
    import pandas

VERSION = 2
"""Of the report's files; another one is not read."""
_INFO = "report.json"
_FORMAT = "m4kit scene report"
THUMBNAILS = "thumbnails"


class ReportError(ValueError):
    """A report that cannot be read."""


@dataclass(frozen=True, eq=False)
class ReportData:
    """What `analyse` found; `SceneReport` adds the summaries.

    `face_frame` and `photo_frame` are what a user looks at with pandas.

    `faces` and `photos` are tables, mappings of column names to arrays: those of `tables.FACE_COLUMNS` and
    `tables.PHOTO_COLUMNS`, which say what each holds, and whatever columns are added to them. A row of `faces`
    is a detection, or a face that was missed. `settings` says what was analysed with. `thumbnail` gives the
    faces' pictures.
    """

    faces: Table = field(repr=False)
    photos: Table = field(repr=False)
    settings: Mapping[str, object]
    folder: Path | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.photos["photo"])

    @property
    def face_frame(self) -> pandas.DataFrame:
        """`faces` as a pandas frame."""
        return frame_of(self.faces)

    @property
    def photo_frame(self) -> pandas.DataFrame:
        """`photos` as a pandas frame."""
        return frame_of(self.photos)

    def thumbnail(self, row: int) -> np.ndarray:
        """The picture (120, 120, 3) uint8 RGB of a row of `faces`: its crop, or that around a missed face's
        box."""
        return load_image(self._jpeg(str(self.faces["thumbnail"][row])))

    def face(self, row: int, *, model: FaceModel | None = None) -> Face:
        """The face of a row over its thumbnail, in the thumbnail's pixels: what the network said, without running it.

        `model` is by default the packaged face model. Raises `ReportError` for a missed face, or a face model other
        than the one that the photos were analysed with.
        """
        if self.faces["face"][row] < 0:
            raise ReportError(f"face {row}: expected one that was found, got a missed one; see its thumbnail")
        model = packaged_model() if model is None else model
        own, wanted = fingerprint(model), self.settings.get("face_model", "")
        if own != wanted:
            raise ReportError(f"face {row}: expected the face model {wanted}, got {own}; give model=")
        parameters = unpacked(str(self.faces["parameters"][row]), (1, 62))
        left, top, side = (float(self.faces[name][row]) for name in ("crop_left", "crop_top", "crop_size"))
        corners = np.array([self.faces[name][row] for name in ("left", "top", "right", "bottom")])
        box = (corners - [left, top, left, top]) * CROP_SIZE / side - 0.5
        crop = Crop(-0.5, -0.5, CROP_SIZE)
        score = float(self.faces["score"][row])
        return Face(FaceBox(*box.tolist(), score), crop, parameters, np.ones(1, np.float32), model)

    def reference_landmarks(self, row: int) -> np.ndarray | None:
        """What the face of a row is compared with, (68, 2) in its thumbnail's pixels; None if with nothing."""
        packed_points = str(self.faces["reference_points"][row])
        return unpacked(packed_points, (68, 2)) if packed_points else None

    def save(self, folder: str | Path) -> Path:
        """Write the tables and the thumbnails into a folder, which `load` reads; gives the folder."""
        folder = Path(folder)
        (folder / THUMBNAILS).mkdir(parents=True, exist_ok=True)
        for name in filter(None, self.faces["thumbnail"].tolist()):
            place = folder / THUMBNAILS / name
            if not place.exists():
                write_whole(place, self._jpeg(name))
        columns = {}
        for name, table in (("faces", self.faces), ("photos", self.photos)):
            columns[name] = kinds_of(table)
            save_table(table, folder / f"{name}{SUFFIX}")
        info = {"format": _FORMAT, "version": VERSION, "settings": dict(self.settings), "columns": columns}
        write_whole(folder / _INFO, json.dumps(info, indent=1).encode())
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The report that `save` or `analyse` left in a folder.

        Raises `FileNotFoundError` if there is none, and `ReportError` for one of another version, with other
        columns, or that is broken.
        """
        folder = Path(folder)
        if not (folder / _INFO).is_file():
            raise FileNotFoundError(
                f"{folder}: expected a scene report ({_INFO}), found none; check the path, or call analyse with this "
                "folder again if it was interrupted"
            )
        info = read_info(folder / _INFO)
        tables = {}
        for name, columns in (("faces", FACE_COLUMNS), ("photos", PHOTO_COLUMNS)):
            own = {column.name: column.kind for column in columns}
            try:
                kinds = dict(info["columns"][name])
                check_columns([one for one in kinds if one in own], own, place=f"{folder}/{name}{SUFFIX}")
                tables[name] = load_table(folder / f"{name}{SUFFIX}", kinds)
            except (TableError, FileNotFoundError, KeyError, TypeError, ValueError) as error:
                raise ReportError(
                    f"{folder}: expected a whole scene report, got {error}; analyse the photos anew"
                ) from error
        return cls(tables["faces"], tables["photos"], info["settings"], folder=folder)

    @cached_property
    def failures(self) -> dict[str, int]:
        """How many faces each rule of `taxonomy.RULES` speaks of; a face may count for several."""
        return failure_counts(self.faces["failures"])

    def _jpeg(self, name: str) -> bytes:
        if name in self.pictures:
            return self.pictures[name]
        place = None if self.folder is None else self.folder / THUMBNAILS / name
        if place is None or not place.is_file():
            raise ReportError(
                f"thumbnail {name!r}: expected its picture in {place}, found none; analyse anew"
            )
        return place.read_bytes()


@cache
def packaged_model() -> FaceModel:
    """The packaged face model, loaded once for all faces of reports."""
    return FaceModel.load()


def read_info(path: Path) -> dict:
    """What `report.json` says; `ReportError` if it is of another version or no such file."""
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version = info["version"] if info["format"] == _FORMAT else None
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(
            f"{path}: expected a scene report, got another or a broken file ({error})"
        ) from error
    if version != VERSION:
        raise ReportError(
            f"{path}: expected a scene report of version {VERSION}, got {version}; analyse the photos anew, or read "
            "it with the m4kit that wrote it"
        )
    return info


def failure_counts(texts: np.ndarray) -> dict[str, int]:
    counted = Counter(label_of(one) for text in texts.tolist() for one in text.split("; ") if one)
    return {label: counted[label] for label in RULES}
