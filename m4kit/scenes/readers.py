"""Readers of hard scenes: UFDD, folders named by condition, and tables.

A reader gives a tuple of `SceneSample`, one a face, as those of `m4kit.datasets` do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.camera import crop_from_box
from m4kit.datasets import DatasetError, read
from m4kit.datasets.files import Files, is_image, label_text, open_files, open_label_file, picture_names
from m4kit.datasets.sample import collected, distinct, picture_of
from m4kit.datasets.tables import read_rows
from m4kit.scenes.conditions import CONDITIONS, HARDEST
from m4kit.scenes.data import (
    DISTRACTOR,
    SceneSample,
    check_condition,
    check_severity,
    scene_sample,
)

CLEAN = "clean"
"""What the folder of the clean photos is called."""

_SPELLINGS = {"distractors": DISTRACTOR}
_BOX = ("left", "top", "right", "bottom")
_PATH = ("path", "image", "file", "name")


def read_ufdd(path: str | Path, *, member: str | None = None) -> tuple[SceneSample, ...]:
    """The faces of UFDD (Nada et al., BTAS 2018), or of another set laid out like it, in the list's order.

    `path` is a folder or a `.zip`, read in place, that holds both the pictures, in folders named by their
    condition (`UFDD_val/images/haze/...`), and the list of boxes (`UFDD_val_bbx_gt.txt`); or the list itself,
    with the pictures below its folder. `member` picks one of several lists. The list is WIDER FACE's: a
    picture's name, how many boxes follow, and a line `x y w h` a box, in whole pixels; what stands behind is
    passed over, but for WIDER's mark of an invalid face, the eighth number. A picture without a face has 0, and
    may have a line of zeros.

    Samples have the `box` (4,), whose sides lie half a pixel around the pixels it covers, and its crop,
    `camera.crop_from_box`; a picture without a face is one sample without a box. All faces are labelled, except
    in pictures with a box that is left out. Pictures that are missing or in no condition's folder, and boxes of
    zero size, are left out, with one warning that counts and names them. Raises `FileNotFoundError` if there is
    no `path`, and `DatasetError` if it holds no such list or none of its pictures.
    """
    files, listing = _find_list(path, member)
    by_last = defaultdict(list)
    for name in filter(is_image, files.names()):
        by_last[PurePosixPath(name).name].append(name)
    left_out, kept = [], []
    pictures = _parse_list(label_text(files, listing), f"{files.path}/{listing}")
    named = picture_names(listed for listed, _ in pictures)
    for listed, rows in pictures:
        face = named[listed]
        try:
            condition = _folder_condition(listed)
            picture = _only([name for name in by_last[PurePosixPath(listed).name] if _ends(name, listed)])
            boxes, complete, broken = _read_boxes(rows)
        except DatasetError as error:
            left_out.append(f"{face} ({error})")
            continue
        left_out += [f"{face} ({reason})" for reason in broken]
        image = files.image(picture)
        kept += [(face, image, box, condition, complete) for box in boxes or [None]]
    samples = [
        SceneSample(
            name,
            image,
            box=box,
            crop=None if box is None else crop_from_box(box),
            condition=condition,
            all_labelled=complete,
        )
        for name, (_, image, box, condition, complete) in zip(
            distinct([face for face, *_ in kept]), kept, strict=True
        )
    ]
    return collected(path, samples, left_out, expected=f"{listing} to name pictures below it with boxes")


def read_condition_folders(
    path: str | Path, *, layout: str = "folder", all_labelled: bool = False, **options
) -> tuple[SceneSample, ...]:
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
            scene_sample(
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
) -> tuple[SceneSample, ...]:
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
            SceneSample(
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


def _find_list(path: str | Path, member: str | None) -> tuple[Files, str]:
    expected = "pictures with a list of boxes (..._bbx_gt.txt)"
    if Path(path).suffix.lower() == ".txt" and Path(path).is_file():
        return Files(Path(path).parent), Path(path).name
    # Beside the list of boxes lie lists of files and texts to read.
    lists = [
        name for name in open_files(path, expected=expected).names() if name.lower().endswith("bbx_gt.txt")
    ]
    return open_label_file(
        path,
        ending="bbx_gt.txt" if lists else ".txt",
        member=member,
        expected=expected,
    )


def _parse_list(text: str, place: str) -> list[tuple[str, list[list[str]]]]:
    """The pictures' names and the words of their lines, the count's line first."""
    pictures: list[tuple[str, list[list[str]]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if is_image(line):
            pictures.append((line.replace("\\", "/").lstrip("/"), []))
        elif pictures:
            pictures[-1][1].append(line.split())
        else:
            raise DatasetError(f"{place}: expected a picture's name in the first line, got {line[:40]!r}")
    if not pictures:
        raise DatasetError(f"{place}: expected pictures' names, each with a count and boxes, found none")
    return pictures


def _read_boxes(lines: list[list[str]]) -> tuple[list[np.ndarray], bool, list[str]]:
    """Boxes (4,) in photo pixels, whether they are all the picture's faces, and what is wrong with the
    others."""
    try:
        (count, *_), *rows = lines
        rows = [[float(word) for word in row] for row in rows]
        count = int(count)
    except ValueError as error:
        raise DatasetError(f"expected a count and numbers, got something else ({error})") from error
    if count == 0 and all(not any(row) for row in rows):
        return [], True, []
    if len(rows) != count or any(len(row) < 4 for row in rows):
        raise DatasetError(f"expected {count} lines of x y w h, got {len(rows)} lines")
    boxes, broken, complete = [], [], True
    for left, top, width, height, *marks in rows:
        if not np.isfinite([left, top, width, height]).all() or width <= 0 or height <= 0:
            broken.append(f"a box of {width:g} x {height:g}")
            complete = False
        elif len(marks) > 3 and marks[3] == 1:
            complete = False
        else:
            boxes.append(np.array([left, top, left + width, top + height]) - 0.5)
    return boxes, complete, broken


def _folder_condition(listed: str) -> str:
    parts = [_SPELLINGS.get(part.lower(), part.lower()) for part in PurePosixPath(listed).parts[:-1]]
    for part in reversed(parts):
        if part in CONDITIONS or part == DISTRACTOR:
            return part
    raise DatasetError(f"expected a folder out of {', '.join(CONDITIONS)}, {DISTRACTOR}")


def _ends(name: str, listed: str) -> bool:
    return name == listed or name.endswith(f"/{listed}")


def _only(names: list[str]) -> str:
    if len(names) != 1:
        raise DatasetError(f"{len(names)} pictures of that name" if names else "no picture")
    return names[0]


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
