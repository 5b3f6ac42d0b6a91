"""Reads photos taken in bad conditions: folders named by condition, and tables."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from m4kit.camera import crop_from_box
from m4kit.conditions import CONDITIONS, check_condition, check_severity
from m4kit.datasets.files import open_label_file, picture_names
from m4kit.datasets.readers import read
from m4kit.datasets.sample import (
    DatasetError,
    Sample,
    checked_box,
    collect,
    distinct,
    numbers,
    picture_of,
)
from m4kit.datasets.tables import read_rows

CLEAN = "clean"
"""Name of the folder of the clean photos, and of "no condition" in a table."""

_PATH = ("path", "image", "file", "name")


def read_condition_folders(
    path: str | Path, *, layout: str = "folder", all_labelled: bool = False, **options
) -> tuple[Sample, ...]:
    """Read photos in folders named by their condition, one of `CONDITIONS`, at any depth: `haze/a.jpg`.

    `layout` is the layout of their labels, one of `datasets.READERS`, with that reader's options: "pts" or "txt" for
    points beside each picture, "csv" or "dlib-xml" for a table at the top. By default there are no labels. A folder
    `clean` may hold the clean photos of the same scenes under the same names: `clean/a.jpg` for `haze/a.jpg`. They
    are samples too, without a condition. `all_labelled` declares that every face of a photo is labelled.

    Photos in other folders are left out. See `m4kit.datasets` for warnings and errors.
    """
    samples, clean = read(path, layout, **options), {}
    for sample in samples:
        condition, name = _folder(sample)
        if condition == CLEAN:
            clean[name] = sample

    def with_condition(sample: Sample) -> Sample:
        condition, name = _folder(sample)
        if condition is None:
            raise DatasetError("no condition's folder")
        if condition == CLEAN:
            return replace(sample, all_labelled=all_labelled)
        pair = clean.get(name)
        return replace(
            sample,
            condition=condition,
            clean=None if pair is None else picture_of(pair.name),
            clean_image=None if pair is None else pair.image,
            all_labelled=all_labelled,
        )

    return collect(
        path,
        [(sample.name, sample) for sample in samples],
        with_condition,
        expected=f"photos in folders named {', '.join(CONDITIONS)}",
    )


def read_scene_table(
    path: str | Path, *, member: str | None = None, all_labelled: bool = False
) -> tuple[Sample, ...]:
    """Read the photos, or faces, that a CSV lists, one per row, in the table's order.

    `path` is the CSV, or a folder or `.zip` that holds it; `member` selects one of several. The header names the
    columns, in any order: `path` (or `image`, `file`, `name`), relative to the CSV's folder, and `condition`, one of
    `CONDITIONS` or empty. Optional columns are `severity` (0 to 5), `seed`, `clean` (path of the clean photo), and
    the box of a face, `left`, `top`, `right`, `bottom`, in photo pixels. A photo with several faces has several rows.
    `all_labelled` declares that the boxes are all faces of a photo. Columns are separated by commas, semicolons or
    tabs.

    A row is left out if its picture is missing or its box has no area. An unknown condition, or a severity out of
    range, is a `DatasetError`. See `m4kit.datasets` for warnings and other errors.
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
    records = [
        dict.fromkeys(("severity", "seed", "clean"), "")
        | dict(zip(titles, map(str.strip, row), strict=False))
        for row in rows
        if any(row)
    ]
    for number, record in enumerate(records, start=2):
        _check_record(record, f"{files.path}/{table}, row {number}")
    folder = PurePosixPath(table).parent
    named = picture_names(record.get(title, "") for record in records for title in (picture, "clean"))
    names = distinct(named[record.get(picture, "")] for record in records)

    def read_face(name: str, record: dict[str, object]) -> Sample:
        clean, sides = record["clean"], [record.get(side, "") for side in ("left", "top", "right", "bottom")]
        box = checked_box(*numbers(sides)) if any(sides) else None
        return Sample(
            name,
            files.picture(f"{folder}/{record.get(picture, '')}"),
            box=box,
            crop=None if box is None else crop_from_box(box),
            condition=record.get("condition") or None,
            severity=None if record["severity"] == "" else record["severity"],
            seed=numbers([record["seed"]], int).item() if record["seed"] else None,
            clean=named[clean] if clean else None,
            clean_image=files.picture(f"{folder}/{clean}", what="clean picture") if clean else None,
            all_labelled=all_labelled,
        )

    faces = [
        (name or f"row {number}", name, record)
        for number, (name, record) in enumerate(zip(names, records, strict=True), start=2)
    ]
    return collect(path, faces, read_face, expected=f"{table} to name photos", unit="rows")


def _folder(sample: Sample) -> tuple[str | None, str]:
    """The condition in the photo's path, `CLEAN` or None, and the path without that folder. The innermost counts."""
    parts = PurePosixPath(picture_of(sample.name)).parts
    for i in reversed(range(len(parts) - 1)):
        if parts[i].lower() in (*CONDITIONS, CLEAN):
            return parts[i].lower(), "/".join((*parts[:i], *parts[i + 1 :]))
    return None, sample.name


def _check_record(record: dict[str, object], place: str) -> None:
    """Check condition and severity of a row.

    A condition becomes lower case, and empty for a clean photo; a severity becomes a number.
    """
    condition = record.get("condition", "").lower()
    record["condition"] = "" if condition == CLEAN else condition
    with suppress(ValueError):
        record["severity"] = float(record["severity"])
    try:
        if record["condition"]:
            check_condition(record["condition"], place)
        if record["severity"] != "":
            check_severity(record["severity"], place)
    except ValueError as error:
        raise DatasetError(str(error)) from error
