"""The table of faces that `tabulate` writes: its columns, the rows of a prediction, and faces made of rows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow
from pyarrow import compute, parquet

from m4kit.camera import Crop
from m4kit.checks import shown
from m4kit.face_model import LANDMARKS, FaceModel, check_model, packaged_model
from m4kit.files import reason_of, text_of
from m4kit.many import Result, UnreadPhoto
from m4kit.parameters import PARAMETERS
from m4kit.prediction import Face, FaceBox

if TYPE_CHECKING:
    import pandas

VERSION = 1
"""Version of the columns; tables of another version are refused."""

ABOUT = b"m4kit"
"""Where the metadata of a table's files hold its version and settings, as JSON."""

_BOX, _CROP = ("left", "top", "right", "bottom", "score"), ("crop_left", "crop_top", "crop_size")
_ANGLES = ("yaw", "pitch", "roll")

SCHEMA = pyarrow.schema(
    [
        ("photo", pyarrow.string()),
        ("width", pyarrow.int32()),
        ("height", pyarrow.int32()),
        ("face", pyarrow.int32()),
        *[(name, pyarrow.float64()) for name in (*_BOX, *_CROP)],
        *[(name, pyarrow.float32()) for name in _ANGLES],
        ("parameters", pyarrow.list_(pyarrow.float32(), PARAMETERS)),
        ("landmarks", pyarrow.list_(pyarrow.float32(), 3 * LANDMARKS)),
        ("failure_probability", pyarrow.float32()),
        ("reasons", pyarrow.list_(pyarrow.string())),
        ("seconds", pyarrow.float32()),
        ("error", pyarrow.string()),
        ("network", pyarrow.string()),
        ("face_model", pyarrow.string()),
    ]
)
"""The columns and their types. What they mean is in `docs/table.md`."""

SHORT = [
    field.name for field in SCHEMA if field.name not in ("parameters", "landmarks", "network", "face_model")
]
"""The columns without the long ones and those that are the same in all rows."""


class TableError(ValueError):
    """A table of faces cannot be written, continued or read: the message says why and what to do."""


def rows_of(result: Result, face_model: str) -> list[dict[str, object]]:
    """Make the rows of a photo: one for each face, or a single one for a photo without a face or a prediction.

    `face_model` is the fingerprint of the faces' model, which takes 10 ms to compute.
    """
    prediction, seconds = result
    row = {"photo": text_of(prediction.source), "seconds": seconds}
    if isinstance(prediction, UnreadPhoto):
        return [row | {"error": text_of(prediction.reason)}]
    row["height"], row["width"] = prediction.image.shape[:2]
    rows = [row | _face_row(number, face) for number, face in enumerate(prediction, start=1)]
    return [one | {"face_model": face_model} for one in rows] or [row]


def table_of(rows: Sequence[dict[str, object]]) -> pyarrow.Table:
    """Make a table of rows, with the columns of `SCHEMA`; what a row lacks is null."""
    return pyarrow.Table.from_pylist(list(rows), schema=SCHEMA)


def faces_from(
    table: pandas.DataFrame | pyarrow.Table | str | PathLike, *, model: FaceModel | None = None
) -> list[Face]:
    """Make the faces of a table that `tabulate` wrote, one for each row that has a face, in the order of the rows.

    `table` is its folder, or rows of it that pandas or pyarrow read:

        >>> table = pandas.read_parquet("faces")  # doctest: +SKIP
        >>> faces = m4kit.faces_from(table[table.yaw > 30])  # doctest: +SKIP

    Vertices, landmarks and everything else follow from a row's parameters and crop. A face has one head, the weighted
    sum of the network's heads, and no photo: its `failure_probability` is in the table alone. `model` is the face
    model of the parameters, by default the packaged one.

    Raises `TableError` for a table of another version or face model, and for one that lacks columns.
    """
    model = packaged_model() if model is None else check_model(model)
    if isinstance(table, str | PathLike):
        table = _read(Path(os.fsdecode(table)))
    columns = getattr(table, "column_names", getattr(table, "columns", None))
    if columns is None:
        raise TypeError(
            f"faces_from: expected a table or its folder, got {shown(table)}; tabulate writes one"
        )
    needed = (*_BOX, *_CROP, "face", "parameters", "face_model")
    if lacking := [name for name in needed if name not in columns]:
        raise TableError(
            f"faces_from: expected the columns of a table that tabulate wrote, got none named {', '.join(lacking)}; "
            "keep them when you choose columns"
        )
    if not isinstance(table, pyarrow.Table):
        table = pyarrow.Table.from_pandas(table[list(needed)], preserve_index=False)
    table = table.select(list(needed)).filter(compute.is_valid(table["face"]))
    for known in table["face_model"].unique().to_pylist():
        if known != model.fingerprint:
            raise TableError(
                f"faces_from: the table was made with the face model {known}, not {model.fingerprint}; give that one "
                "as model="
            )
    parameters = np.array(table["parameters"].to_pylist(), np.float32).reshape(-1, PARAMETERS)
    places = np.array([table[name].to_pylist() for name in (*_BOX, *_CROP)], float).T
    weight = np.ones(1, np.float32)
    return [
        Face(FaceBox(*place[:5]), Crop(*place[5:]), heads[None], weight, model)
        for place, heads in zip(places.tolist(), parameters, strict=True)
    ]


def about(part: Path) -> dict[str, object]:
    """Read the version and settings of a part of a table. Raises `TableError` for another version or another file."""
    try:
        schema = parquet.read_schema(part)
    except (OSError, pyarrow.ArrowException) as error:
        raise TableError(
            f"{part}: expected a part of a table that tabulate wrote, got {reason_of(error)}"
        ) from error
    return about_schema(schema, part)


def about_schema(schema: pyarrow.Schema, path: Path) -> dict[str, object]:
    """Read the version and settings of a schema; see `about`."""
    try:
        found = json.loads((schema.metadata or {})[ABOUT])
        version = found["version"]
    except (KeyError, ValueError, TypeError) as error:
        raise TableError(
            f"{path}: expected a table that tabulate wrote, got another one; give another folder"
        ) from error
    if version != VERSION:
        raise TableError(
            f"{path}: expected a table of version {VERSION}, got version {version}; read it with the m4kit that "
            "wrote it, or tabulate the photos again in another folder"
        )
    return found


def _face_row(number: int, face: Face) -> dict[str, object]:
    origin = face.origin
    return {
        "face": number,
        **dict(zip(_BOX, np.asarray(face.box, float).tolist(), strict=True)),
        **dict(zip(_CROP, map(float, face.crop), strict=True)),
        **face.pose._asdict(),
        "parameters": face.parameters,
        "landmarks": face.landmarks.ravel(),
        "failure_probability": face.failure_probability,
        "reasons": list(face.reasons),
        "network": "" if origin is None else origin.network,
    }


def _read(path: Path) -> pyarrow.Table:
    parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not parts:
        raise TableError(f"{path}: expected the folder of a table, found no part in it; tabulate writes one")
    for part in parts:
        about(part)
    try:
        return pyarrow.concat_tables(parquet.read_table(part) for part in parts)
    except (OSError, pyarrow.ArrowException) as error:
        raise TableError(f"{path}: expected a table that tabulate wrote, got {reason_of(error)}") from error
