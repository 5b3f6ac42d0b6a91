"""Reads UFDD, a set of faces in bad conditions, and sets with the same layout."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.camera import crop_from_box
from m4kit.conditions import CONDITIONS
from m4kit.datasets.files import Files, is_image, label_text, open_files, open_label_file, picture_names
from m4kit.datasets.sample import DISTRACTOR, DatasetError, Sample, checked_box, collect, distinct, numbers

_SPELLINGS = {"distractors": DISTRACTOR}


def read_ufdd(path: str | Path, *, member: str | None = None) -> tuple[Sample, ...]:
    """Read the faces of UFDD (Nada et al., BTAS 2018), or of a set with its layout, in the list's order.

    `path` is a folder or a `.zip` that holds both the pictures, in folders named by their condition
    (`UFDD_val/images/haze/...`), and the list of boxes (`UFDD_val_bbx_gt.txt`); or the list itself, with the pictures
    below its folder. `member` selects one of several lists. The list has the format of WIDER FACE: a picture's name,
    the number of boxes, and one line `x y w h` per box, in whole pixels. Further numbers are ignored, except the
    eighth, which marks an invalid face. A picture without a face has the number 0, and may have a line of zeros.

    Samples have the `box` (4,), whose sides lie half a pixel outside the pixels that it covers, and its crop
    (`camera.crop_from_box`). A picture without a face is one sample without a box. All faces are labelled, except in
    pictures with a box that is left out or invalid.

    Pictures that are missing or in no condition's folder, and boxes without area, are left out. See `m4kit.datasets`
    for warnings and errors.
    """
    files, listing = _find_list(path, member)
    by_last = defaultdict(list)
    for name in filter(is_image, files.names()):
        by_last[PurePosixPath(name).name].append(name)
    pictures = _parse_list(label_text(files, listing), f"{files.path}/{listing}")
    named = picture_names(listed for listed, _ in pictures)
    samples, left_out = [], []
    for listed, lines in pictures:
        name = named[listed]
        try:
            condition = _folder_condition(listed)
            picture = _picture(by_last[PurePosixPath(listed).name], listed)
            boxes, complete, broken = _read_boxes(lines)
        except DatasetError as error:
            left_out.append(f"{name} ({error})")
            continue
        left_out += [f"{name} ({reason})" for reason in broken]
        shared = {"image": files.image(picture), "condition": condition, "all_labelled": complete}
        samples += [
            (name, shared | ({} if box is None else {"box": box, "crop": crop_from_box(box)}))
            for box in boxes or [None]
        ]
    names = distinct(name for name, _ in samples)
    return collect(
        path,
        [(name, name, fields) for name, (_, fields) in zip(names, samples, strict=True)],
        lambda name, fields: Sample(name, **fields),
        expected=f"{listing} to name pictures below it with boxes",
        left_out=left_out,
    )


def _find_list(path: str | Path, member: str | None) -> tuple[Files, str]:
    expected = "pictures with a list of boxes (..._bbx_gt.txt)"
    if Path(path).suffix.lower() == ".txt" and Path(path).is_file():
        return Files(Path(path).parent), Path(path).name
    # Other texts may lie beside the list of boxes.
    names = open_files(path, expected=expected).names()
    ending = "bbx_gt.txt" if any(name.lower().endswith("bbx_gt.txt") for name in names) else ".txt"
    return open_label_file(path, ending=ending, member=member, expected=expected)


def _parse_list(text: str, place: str) -> list[tuple[str, list[list[str]]]]:
    """The pictures' names, and the words of the lines that follow each, the count first."""
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
    """Boxes (4,) in photo pixels, whether they are all faces of the picture, and the errors of broken boxes."""
    if not lines:
        raise DatasetError("expected a count of boxes, found none")
    (count,), rows = numbers(lines[0][:1], int), [numbers(row) for row in lines[1:]]
    if count == 0 and not any(row.any() for row in rows):
        return [], True, []
    if len(rows) != count or any(len(row) < 4 for row in rows):
        raise DatasetError(f"expected {count} lines of x y w h, got {len(rows)} lines")
    boxes, broken, complete = [], [], True
    for left, top, width, height, *marks in (row.tolist() for row in rows):
        try:
            box = checked_box(left, top, left + width, top + height) - 0.5
        except DatasetError as error:
            broken.append(str(error))
            continue
        if len(marks) > 3 and marks[3] == 1:
            complete = False
        else:
            boxes.append(box)
    return boxes, complete and not broken, broken


def _folder_condition(listed: str) -> str:
    parts = [_SPELLINGS.get(part.lower(), part.lower()) for part in PurePosixPath(listed).parts[:-1]]
    for part in reversed(parts):
        if part in CONDITIONS or part == DISTRACTOR:
            return part
    raise DatasetError(f"expected a folder out of {', '.join(CONDITIONS)}, {DISTRACTOR}")


def _picture(files: list[str], listed: str) -> str:
    """The only one of the files that ends like the listed name."""
    found = [file for file in files if f"/{file}".endswith(f"/{listed}")]
    if len(found) != 1:
        raise DatasetError(f"{len(found)} pictures of that name" if found else "no picture")
    return found[0]
