"""Readers of photos taken in bad conditions: folders named by condition, and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.camera import crop_from_box
from m4kit.conditions import CONDITIONS, HARDEST
from m4kit.datasets.files import Files, open_label_file, picture_names
from m4kit.datasets.readers import read
from m4kit.datasets.sample import DatasetError, Sample, collected, distinct, picture_of
from m4kit.datasets.tables import read_rows


def check_condition(condition: str, place: str) -> None:
    """`DatasetError`, which names the seven, if it is none of `CONDITIONS`."""
    if condition not in CONDITIONS:
        raise DatasetError(f"{place}: expected a condition out of {', '.join(CONDITIONS)}, got {condition!r}")


def check_severity(severity: float, place: str) -> None:
    """`DatasetError` if it is not from 0 to 5."""
    if not 0 <= severity <= HARDEST:
        raise DatasetError(f"{place}: expected a severity from 0 to {HARDEST:g}, got {severity}")


CLEAN = "clean"
"""What the folder of the clean photos is called."""

_BOX = ("left", "top", "right", "bottom")
_PATH = ("path", "image", "file", "name")


def read_condition_folders(
    path: str | Path, *, layout: str = "folder", all_labelled: bool = False, **options
) -> tuple[Sample, ...]:
    """Photos in folders that are named by their condition, one of `CONDITIONS`, at any depth: `haze/a.jpg`.

    `path` is a folder or a `.zip`. `layout` says how their truth lies beside them, one of `datasets.READERS`,
    with that reader's options: "pts" or "txt" for points beside each picture, "csv" or "dlib-xml" for a table
    at the top; by default there is none. A folder `clean` may hold the clean photos of the same scenes under
    the same names: `clean/a.jpg` of `haze/a.jpg`; they are samples too, without a condition. `all_labelled`
    says that the truth names every face of a photo.

    Photos in other folders are left out, with one warning that counts and names them. Raises what the reader
    raises, and `DatasetError` if no folder is named by a condition.
    """
    samples, left_out, clean = [], [], {}
    for sample in read(path, layout, **options):
        parts = [part.lower() for part in PurePosixPath(sample.name).parts[:-1]]
        named = [part for part in parts if part in CONDITIONS or part == "clean"]
        if not named:
            left_out.append(f"{sample.name} (no condition's folder)")
            continue
        if named[-1] == "clean":
            clean[_beside(sample.name)] = sample
        samples.append((sample, None if named[-1] == "clean" else named[-1]))
    made = []
    for sample, condition in samples:
        pair = clean.get(_beside(sample.name)) if condition else None
        made.append(
            replace(
                sample,
                condition=condition,
                clean=None if pair is None else picture_of(pair.name),
                clean_image=None if pair is None else pair.image,
                all_labelled=all_labelled,
            )
        )
    return collected(path, made, left_out, expected=f"photos in folders named {', '.join(CONDITIONS)}")


def read_scene_table(
    path: str | Path, *, member: str | None = None, all_labelled: bool = False
) -> tuple[Sample, ...]:
    """The photos, or faces, that a CSV lists, one a row, in the table's order.

    `path` is the CSV, or a folder or `.zip` that holds it; `member` picks one of several. The header names the
    columns, in any order: `path` (or `image`, `file`, `name`), relative to the CSV's folder, and `condition`,
    one of `CONDITIONS` or empty; and if they are there, `severity` (0 to 5), `seed`, `clean` (the clean photo's
    path), and a face's box, `left`, `top`, `right`, `bottom`, in photo pixels. A photo with several faces has
    several rows. `all_labelled` says that the boxes name every face of a photo. Columns are separated by
    commas, semicolons or tabs.

    Rows whose picture is missing or whose box has no area are left out, with one warning that counts and names
    them. Raises `FileNotFoundError` if there is no `path`, and `DatasetError` for a table without these
    columns, an unknown condition or a severity out of range.
    """
    files, table = open_label_file(
        path, ending=".csv", member=member, expected="a CSV of photos and conditions"
    )
    header, rows = read_rows(files, table)
    titles = [title.lower() for title in header]
    picture = next((title for title in _PATH if title in titles), None)
    if picture is None or "condition" not in titles:
        raise DatasetError(
            f"{files.path}/{table}: expected columns path and condition, got {', '.join(titles) or 'an empty file'}"
        )
    folder = table.rpartition("/")[0] or "."
    samples, left_out = [], []
    records = [dict(zip(titles, map(str.strip, row), strict=False)) for row in rows if any(row)]
    named = picture_names(record.get(title, "") for record in records for title in (picture, "clean"))
    names = distinct([named[record.get(picture, "")] for record in records])
    for number, (name, record) in enumerate(zip(names, records, strict=True), start=2):
        place = f"{files.path}/{table}, row {number}"
        condition = _table_condition(record.get("condition", ""), place)
        severity = _table_severity(record.get("severity", ""), place)
        try:
            image = _find_picture(files, folder, record.get(picture, ""), word="picture")
            clean = record.get("clean", "")
            clean_image = _find_picture(files, folder, clean, word="clean picture") if clean else None
            box = _table_box([record.get(side, "") for side in _BOX])
            seed = int(record["seed"]) if record.get("seed") else None
        except ValueError as error:
            left_out.append(f"{name or f'row {number}'} ({error})")
            continue
        samples.append(
            Sample(
                name,
                image,
                box=box,
                crop=None if box is None else crop_from_box(box),
                condition=condition,
                severity=severity,
                seed=seed,
                clean=named[clean] if clean else None,
                clean_image=clean_image,
                all_labelled=all_labelled,
            )
        )
    return collected(path, samples, left_out, expected=f"{table} to name photos", unit="rows")


def _beside(name: str) -> str:
    """What a photo is called in its condition's folder, whatever the folder."""
    parts = PurePosixPath(picture_of(name)).parts
    last = max(i for i, part in enumerate(parts[:-1]) if part.lower() in (*CONDITIONS, "clean"))
    return "/".join((*parts[:last], *parts[last + 1 :]))


def _find_picture(files: Files, folder: str, name: str, *, word: str) -> Callable[[], np.ndarray]:
    found = files.find(f"{folder}/{name}") if name else None
    if found is None:
        raise DatasetError(f"no {word}")
    return files.image(found)


def _table_condition(word: str, place: str) -> str | None:
    if not word or word.lower() == "clean":
        return None
    check_condition(word.lower(), place)
    return word.lower()


def _table_severity(word: str, place: str) -> float | None:
    if not word:
        return None
    try:
        severity = float(word)
    except ValueError as error:
        raise DatasetError(f"{place}: expected a severity from 0 to {HARDEST:g}, got {word!r}") from error
    check_severity(severity, place)
    return severity


def _table_box(words: list[str]) -> np.ndarray | None:
    if not any(words):
        return None
    try:
        box = np.array([float(word) for word in words])
    except ValueError as error:
        raise DatasetError(f"expected left, top, right, bottom as numbers, got {', '.join(words)}") from error
    if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
        raise DatasetError(f"expected left < right and top < bottom, got {', '.join(words)}")
    return box
