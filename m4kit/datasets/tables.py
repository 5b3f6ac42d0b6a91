"""A CSV with a face's 68 points a row."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np

from m4kit.camera import crop_from_landmarks
from m4kit.datasets.files import Files, label_text, open_label_file, picture_names
from m4kit.datasets.sample import DatasetError, Sample, checked_landmarks, collected, distinct

_PICTURE = (
    *("image", "image_path", "image_name", "image_file", "img", "path"),
    *("file", "file_path", "file_name", "filepath", "filename", "name"),
)
_PERSON = ("person", "identity", "subject")
_SPELLINGS = (
    r"(?P<axis>[xy])_?(?P<number>\d+)",
    r"(?P<axis>[XY])_?(?P<number>\d+)",
    r".*?(?P<number>\d+)_?(?P<axis>[xyXY])",
)


def read_csv(
    path: str | Path, *, member: str | None = None, images: str | None = None, first_pixel: float = 0.0
) -> tuple[Sample, ...]:
    """The faces of a CSV with 68 points, one a row, in the table's order.

    `path` is the CSV, or a folder or `.zip`, read in place, that holds it; `member` picks one of several.

    The header names the columns, in any order:

    - the picture: `image`, `path`, `file`, `name` or the like, or a first column without a title. Its names are
      relative to the CSV's folder, or to the folder `images` below `path` (beside a CSV given itself).
    - the points: `x1, y1, ..., x68, y68`, also from 0, as `x_1` or `landmark_1_x`; or `0` to `135`, x and y
      by turns, as tables of YouTube Faces' points have them.
    - if it is there, `person`, `identity` or `subject`.

    Columns are separated by commas, semicolons or tabs. `first_pixel` is the coordinate that the table gives to
    the centre of the first pixel: 0, 1, or 0.5 where it counts from the picture's edge.

    Samples have `landmarks` (68, 2) and the rule's crop, `camera.crop_from_landmarks`. Rows that are broken or
    whose picture is missing are left out, with one warning that counts and names them. Raises
    `FileNotFoundError` if there is no `path`, and `DatasetError` if it is no such table or holds no face.
    """
    files, table = open_label_file(path, ending=".csv", member=member, expected="a CSV of 68 points")
    header, rows = read_rows(files, table)
    try:
        picture, points, person = _columns(header)
    except DatasetError as error:
        raise DatasetError(f"{files.path}/{table}: {error}") from error
    folder = (table.rpartition("/")[0] or ".") if images is None else images
    listed = [row[picture].strip() if picture < len(row) else "" for row in rows]
    samples, left_out = [], []
    named = picture_names(listed)
    faces = distinct([named[file] for file in listed])
    for number, (file, face, row) in enumerate(zip(listed, faces, rows, strict=True), start=1):
        try:
            found = files.find(f"{folder}/{file}") if file else None
            if found is None:
                raise DatasetError("no picture")
            landmarks = _read_landmarks(row, len(header), points) - first_pixel
        except DatasetError as error:
            left_out.append(f"{face if file else f'row {number}'} ({error})")
            continue
        samples.append(
            Sample(
                face,
                files.image(found),
                landmarks,
                crop=crop_from_landmarks(landmarks),
                person=None if person is None else row[person].strip(),
            )
        )
    return collected(
        path, samples, left_out, expected=f"{table} to name pictures with 68 points", unit="rows"
    )


def read_rows(files: Files, table: str) -> tuple[list[str], list[list[str]]]:
    """A CSV's titles, none if it is empty, and its rows; the separator is whichever the header has most of.

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
    """Which columns hold the picture, x and y of the points (68, 2), and the person."""
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
        numbers = sorted(places["x"])
        if numbers == sorted(places["y"]) and numbers in ([*range(68)], [*range(1, 69)]):
            return np.array([[places[axis][number] for axis in "xy"] for number in numbers])
    by_turns = {title: column for column, title in enumerate(header)}
    if all(str(number) in by_turns for number in range(136)):
        return np.array([by_turns[str(number)] for number in range(136)]).reshape(68, 2)
    return None


def _read_landmarks(row: list[str], width: int, points: np.ndarray) -> np.ndarray:
    if len(row) < width:
        raise DatasetError(f"expected {width} columns, got {len(row)}")
    try:
        return checked_landmarks([[float(row[column]) for column in point] for point in points])
    except ValueError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"expected numbers, got something else ({error})") from error
