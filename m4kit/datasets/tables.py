"""Reads a CSV with the 68 points of one face per row."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.camera import crop_from_landmarks
from m4kit.checks import check_number
from m4kit.datasets.files import Files, label_text, open_label_file, picture_names
from m4kit.datasets.sample import DatasetError, Sample, checked_landmarks, collect, distinct, numbers

_PICTURE = (
    *("image", "image_path", "image_name", "image_file", "img", "path"),
    *("file", "file_path", "file_name", "filepath", "filename", "name"),
)
_PERSON = ("person", "identity", "subject")
_SPELLINGS = (
    r"(?P<axis>[xy])_?(?P<number>[0-9]{1,3})",
    r"(?P<axis>[XY])_?(?P<number>[0-9]{1,3})",
    r"(?:.*[^0-9])?(?P<number>[0-9]{1,3})_?(?P<axis>[xyXY])",
)


def read_csv(
    path: str | Path, *, member: str | None = None, images: str | None = None, first_pixel: float = 0.0
) -> tuple[Sample, ...]:
    """Read the faces of a CSV with 68 points, one per row, in the table's order.

    `path` is the CSV, or a folder or `.zip` that holds it; `member` selects one of several. The header names the
    columns, in any order:

    - the picture: `image`, `path`, `file`, `name` or similar, or a first column without a title. Names are relative
      to the CSV's folder, or to the folder `images` below `path`.
    - the points: `x1, y1, ..., x68, y68`, also from 0, as `x_1` or `landmark_1_x`; or `0` to `135`, x and y in turn,
      as in tables of YouTube Faces.
    - optionally the person: `person`, `identity` or `subject`.

    Columns are separated by commas, semicolons or tabs. `first_pixel` is the coordinate that the table gives to the
    centre of the first pixel: 0, 1, or 0.5 if it counts from the picture's edge.

    Samples have `landmarks` (68, 2) and their crop (`camera.crop_from_landmarks`). See `m4kit.datasets` for warnings
    and errors.
    """
    first_pixel = check_number(first_pixel, "first_pixel")
    files, table = open_label_file(path, ending=".csv", member=member, expected="a CSV of 68 points")
    header, rows = read_rows(files, table)
    try:
        picture, points, person = _columns(header)
    except DatasetError as error:
        raise DatasetError(f"{files.path}/{table}: {error}") from error
    folder = PurePosixPath(table).parent if images is None else images
    listed = [row[picture].strip() if picture < len(row) else "" for row in rows]
    named = picture_names(listed)
    names = distinct(named[file] for file in listed)

    def read_face(name: str, file: str, row: list[str]) -> Sample:
        image = files.picture(f"{folder}/{file}")
        if len(row) < len(header):
            raise DatasetError(f"expected {len(header)} columns, got {len(row)}")
        xy = numbers(row[column] for column in points.ravel())
        landmarks = checked_landmarks(xy.reshape(68, 2)) - first_pixel
        crop = crop_from_landmarks(landmarks)
        return Sample(
            name, image, landmarks, crop=crop, person=None if person is None else row[person].strip()
        )

    faces = [
        (name or f"row {number}", name, *face)
        for number, (name, *face) in enumerate(zip(names, listed, rows, strict=True), start=1)
    ]
    return collect(path, faces, read_face, expected=f"{table} to name pictures with 68 points", unit="rows")


def read_rows(files: Files, table: str) -> tuple[list[str], list[list[str]]]:
    """Read a CSV: its titles, none if it is empty, and its rows. The most frequent separator of the header counts.

    Raises `DatasetError`, which names the file, if it is not UTF-8 or no CSV.
    """
    text = label_text(files, table)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise DatasetError(
            f"{files.path}/{table}: expected a CSV, got a broken file ({error}); check its quotes"
        ) from error
    return [title.strip() for title in rows[0]] if rows else [], rows[1:]


def _columns(header: list[str]) -> tuple[int, np.ndarray, int | None]:
    """The columns of the picture, of x and y of the points (68, 2), and of the person."""
    if not header:
        raise DatasetError("expected a header that names the columns, got an empty file")
    titles = [title.lower() for title in header]
    pictures = [titles.index(title) for title in _PICTURE if title in titles]
    if not pictures and titles[0]:
        raise DatasetError(f"expected a column with the picture's name ({', '.join(_PICTURE)}), found none")
    points = _point_columns(header)
    if points is None:
        raise DatasetError(
            "expected the 68 points in columns x1, y1, ..., x68, y68 (or from 0, or as x_1, landmark_1_x) or 0 to "
            f"135, got {len(header)} columns {', '.join(header[:6])}, ..."
        )
    persons = [titles.index(title) for title in _PERSON if title in titles]
    return pictures[0] if pictures else 0, points, persons[0] if persons else None


def _point_columns(header: list[str]) -> np.ndarray | None:
    for spelling in _SPELLINGS:
        places = {"x": {}, "y": {}}
        for column, title in enumerate(header):
            match = re.fullmatch(spelling, title)
            if match:
                places[match["axis"].lower()][int(match["number"])] = column
        found = sorted(places["x"])
        if found == sorted(places["y"]) and found in ([*range(68)], [*range(1, 69)]):
            return np.array([[places[axis][number] for axis in "xy"] for number in found])
    in_turn = {title: column for column, title in enumerate(header)}
    if all(str(number) in in_turn for number in range(136)):
        return np.array([in_turn[str(number)] for number in range(136)]).reshape(68, 2)
    return None
