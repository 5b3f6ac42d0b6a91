"""UFDD, a set of faces in bad conditions, and sets laid out like it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.camera import crop_from_box
from m4kit.conditions import CONDITIONS
from m4kit.datasets.files import Files, is_image, label_text, open_files, open_label_file, picture_names
from m4kit.datasets.sample import DISTRACTOR, DatasetError, Sample, collected, distinct

_SPELLINGS = {"distractors": DISTRACTOR}


def read_ufdd(path: str | Path, *, member: str | None = None) -> tuple[Sample, ...]:
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
        Sample(
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
