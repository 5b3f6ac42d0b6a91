"""The tables of a scene report: their columns with types and meanings, in one place, and how they are kept.

A table is a mapping of column names to arrays (n,) of one length. `save_table` and `load_table` are the only
functions that know of the file's format.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m4kit.files import whole_file

if TYPE_CHECKING:
    import pandas

Table = dict[str, np.ndarray]
"""Column names and arrays (n,) of one length: of str, int64, float64 or bool."""

SUFFIX = ".parquet"

KINDS = {"text": str, "whole": np.int64, "number": np.float64, "flag": bool}
"""What a column may hold. What is not known is the empty text, -1, NaN or False."""

# Text comes back as objects; numbers must be of the kind that they were.
_CASTING = {"text": "unsafe", "whole": "same_kind", "number": "same_kind", "flag": "same_kind"}

_UNKNOWN = {"text": "", "whole": -1, "number": np.nan, "flag": False}


class TableError(ValueError):
    """A table that cannot be read, or has other columns than expected."""


class Column(NamedTuple):
    """A column's name, its kind, one of `KINDS`, and what it says."""

    name: str
    kind: str
    meaning: str


_SCENE = (
    Column("photo", "text", "the photo's name"),
    Column("condition", "text", "one of the seven, `distractor`, or empty: clean or not known"),
    Column("severity", "number", "0 to 5, of a photo made worse"),
    Column("seed", "whole", "what `degrade` was given, else -1"),
    Column("clean", "text", "the clean photo of the same scene"),
)

PHOTO_COLUMNS = (
    *_SCENE,
    Column("read", "flag", "whether the photo could be read"),
    Column("error", "text", "why it, or its clean photo, could not"),
    Column("width", "whole", "photo pixels"),
    Column("height", "whole", "photo pixels"),
    Column(
        "reference", "text", "what says where faces are: `truth`, `clean` (what is found there), or empty"
    ),
    Column("all_labelled", "flag", "whether the truth names every face of the photo"),
    Column("faces", "whole", "faces by the reference; -1 without one"),
    Column("found", "whole", "detections"),
    Column("hits", "whole", "faces of the reference that a detection hits; -1 without one"),
    Column("missed", "whole", "faces of the reference that none hits; -1 without one"),
    Column("false_alarms", "whole", "detections that hit no face; -1 if not all faces are labelled"),
    Column("recall", "number", "hits / faces, from 0 to 1"),
    Column("precision", "number", "hits / found, from 0 to 1, if all faces are labelled"),
    Column("sharpness", "number", "`signs.sharpness` of the photo"),
    Column("contrast", "number", "`signs.contrast` of the photo"),
    Column("exposure", "number", "`signs.exposure` of the photo"),
    Column("clipped", "number", "`signs.clipped` of the photo"),
    Column("seconds", "number", "time that detection and landmarks took"),
)

FACE_COLUMNS = (
    *_SCENE,
    Column(
        "face", "whole", "the detection's number in the photo, largest first, from 0; -1 for a missed face"
    ),
    Column("truth", "whole", "the number of the reference's face that it hits, from 0; -1 for none"),
    Column("failures", "text", "by the rules of `taxonomy`, worst first, with `; ` between; empty for none"),
    Column("left", "number", "the detection's box, photo pixels"),
    Column("top", "number", "photo pixels"),
    Column("right", "number", "photo pixels"),
    Column("bottom", "number", "photo pixels"),
    Column("score", "number", "the detector's, from 0 to 1"),
    Column("true_left", "number", "the reference's box, photo pixels"),
    Column("true_top", "number", "photo pixels"),
    Column("true_right", "number", "photo pixels"),
    Column("true_bottom", "number", "photo pixels"),
    Column(
        "iou", "number", "overlap of the two boxes; without a hit, the largest with a missed face's; 0 to 1"
    ),
    Column("crop_left", "number", "the crop that the network saw, photo pixels"),
    Column("crop_top", "number", "photo pixels"),
    Column("crop_size", "number", "its side, photo pixels"),
    Column("parameters", "text", "the network's answer: 62 float32, `packed`; `SceneReport.face` reads it"),
    Column(
        "reference_points",
        "text",
        "landmarks of the `landmark_reference` in the thumbnail's pixels, (68, 2) float32, `packed`",
    ),
    Column("yaw", "number", "what the system says, degrees"),
    Column("pitch", "number", "degrees"),
    Column("roll", "number", "degrees"),
    Column("pose_reference", "text", "what the angles are compared with: `truth`, `clean` or empty"),
    Column("reference_yaw", "number", "the reference's, degrees"),
    Column("reference_pitch", "number", "degrees"),
    Column("reference_roll", "number", "degrees"),
    Column("pose_error", "number", "mean absolute error of the true angles that are known, degrees"),
    Column("pose_drift", "number", "mean absolute difference of the angles to the clean photo's, degrees"),
    Column(
        "landmark_reference",
        "text",
        "what `error_...` and `crop_...` compare with: `truth`, `clean` or empty",
    ),
    Column("nme", "number", "`metrics.nme` against the true landmarks, percent"),
    Column("landmark_drift", "number", "the same against the clean photo's landmarks, percent"),
    Column("mesh_drift", "number", "mean distance of the vertices to the clean photo's, in 3D, percent"),
    Column("shape_drift", "number", "the same of the shape without pose, mm"),
    Column(
        "error_jaw",
        "number",
        "mean distance of the jaw's landmarks to the reference's, percent of the face's size",
    ),
    Column("error_brows", "number", "the same of the brows"),
    Column("error_nose", "number", "the same of the nose"),
    Column("error_eyes", "number", "the same of the eyes"),
    Column("error_lips", "number", "the same of the lips"),
    Column("crop_scale", "number", "side of the crop used by that of the reference's"),
    Column("crop_shift", "number", "distance of their centres by the side of the reference's"),
    Column("head_spread", "number", "`signs.head_spread`, percent"),
    Column("flip_consistency", "number", "`signs.flip_consistency`, percent; 0 is best"),
    Column("jitter_consistency", "number", "`signs.jitter_consistency`, percent; 0 is best"),
    Column("identity_distance", "number", "`signs.mahalanobis` of the identity; 1 is usual"),
    Column("expression_distance", "number", "`signs.mahalanobis` of the expression; 1 is usual"),
    Column("edge_agreement", "number", "`signs.edge_agreement`; 1 is no better than beside the edges"),
    Column("box_misfit", "number", "`signs.box_misfit`; 0 is best"),
    Column("crop_misfit", "number", "`signs.crop_misfit`; 0 is best"),
    Column("turn", "number", "`signs.turn`, degrees"),
    Column("size", "number", "`signs.size`, photo pixels"),
    Column("outside", "number", "`signs.outside`, from 0 to 1"),
    Column("sharpness", "number", "`signs.sharpness` of the face in its crop"),
    Column("contrast", "number", "`signs.contrast` of the face in its crop"),
    Column("exposure", "number", "`signs.exposure` of the face in its crop"),
    Column("clipped", "number", "`signs.clipped` of the face in its crop"),
    Column(
        "failure_probability",
        "number",
        "`Face.failure_probability`: that the NME is above 8 %, from 0 to 1, by all of the signs above",
    ),
    Column("reasons", "text", "`Face.reasons`, by the rules of `reasons`, with `; ` between; empty for none"),
    Column("thumbnail", "text", "the file of its crop in the report's folder `thumbnails`"),
)


def table_of(rows: Iterable[Mapping[str, object]], columns: Iterable[Column]) -> Table:
    """Rows as a table of those columns. What a row lacks is not known; a row with another column is a
    `TableError`."""
    rows, columns = list(rows), list(columns)
    others = {name for row in rows for name in row} - {column.name for column in columns}
    if others:
        raise TableError(f"expected rows of the columns of the table, got also {', '.join(sorted(others))}")
    return {
        column.name: np.array(
            [row.get(column.name, _UNKNOWN[column.kind]) for row in rows], dtype=KINDS[column.kind]
        )
        for column in columns
    }


def packed(values: np.ndarray) -> str:
    """Numbers of any shape as text that a table can hold: little-endian float32 in base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def unpacked(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 numbers of that shape that `packed` wrote; `TableError` if the text holds no such."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").reshape(shape).copy()
    except ValueError as error:
        raise TableError(f"expected {shape} packed numbers, got {text[:20]!r} ({error})") from error


def kinds_of(table: Table) -> dict[str, str]:
    """Each column's kind, by its array; `TableError` for an array of another type, or lengths that differ."""
    by_type = {"U": "text", "i": "whole", "f": "number", "b": "flag"}
    for name, values in table.items():
        if values.ndim != 1 or values.dtype.kind not in by_type:
            raise TableError(
                f"column {name!r}: expected an array (n,) of str, int, float or bool, "
                f"got {values.dtype} {values.shape}; convert it with astype"
            )
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise TableError(f"expected columns of one length, got {lengths}")
    return {name: by_type[values.dtype.kind] for name, values in table.items()}


def save_table(table: Table, path: Path) -> None:
    """Write a table; the file is there as a whole or not at all."""
    kinds_of(table)
    with whole_file(path) as part:
        frame_of(table).to_parquet(part, index=False)


def load_table(path: Path, kinds: Mapping[str, str]) -> Table:
    """Read a table back, bit for bit, whose columns are of those kinds.

    Raises `FileNotFoundError` if there is none, and `TableError` if it has other columns or holds something
    else.
    """
    import pandas

    content = path.read_bytes()
    try:
        frame = pandas.read_parquet(io.BytesIO(content))
    # Arrow's errors for a broken file are values and system errors alike.
    except (ValueError, OSError) as error:
        raise TableError(f"{path}: expected a table, got a broken file ({error})") from error
    check_columns(frame.columns, kinds, place=str(path))
    table = {}
    for name in frame.columns:
        try:
            table[name] = frame[name].to_numpy().astype(KINDS[kinds[name]], casting=_CASTING[kinds[name]])
        except (TypeError, ValueError) as error:
            raise TableError(f"{path}: column {name!r}: expected {kinds[name]}s ({error})") from error
    return table


def frame_of(table: Table) -> pandas.DataFrame:
    """A table as a pandas frame."""
    import pandas

    return pandas.DataFrame(table)


def check_columns(names: Iterable[str], expected: Iterable[str], *, place: str) -> None:
    """`TableError`, which names them, if there are other columns than expected."""
    names, expected = list(names), list(expected)
    lacking = [name for name in expected if name not in names]
    others = [name for name in names if name not in expected]
    if lacking or others:
        raise TableError(
            f"{place}: expected the same columns; lacking: {', '.join(lacking) or 'none'}; "
            f"others: {', '.join(others) or 'none'}"
        )
