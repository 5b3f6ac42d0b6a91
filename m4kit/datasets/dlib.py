"""Reads dlib's XML, as written by its imglab: boxes with named points, for pictures with any number of faces."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

# Safe for untrusted files: it loads nothing else, and expat from 2.4.1 on limits the expansion of entities.
from xml.etree import ElementTree

import numpy as np

from m4kit.camera import crop_from_box, crop_from_landmarks
from m4kit.checks import check_number
from m4kit.datasets.files import open_label_file, picture_names
from m4kit.datasets.sample import (
    DatasetError,
    Sample,
    checked_box,
    checked_landmarks,
    collect,
    distinct,
    numbers,
)


def read_dlib_xml(
    path: str | Path, *, member: str | None = None, first_pixel: float = 0.0
) -> tuple[Sample, ...]:
    """Read the faces of a dlib XML (King, JMLR 2009), one per `<box>`, in the file's order.

    `path` is the XML, or a folder or `.zip` that holds it; `member` selects one of several. Picture names are
    relative to the XML's folder. `first_pixel` is the coordinate that the file gives to the centre of the first
    pixel, 0 by dlib's convention.

    Samples have the `box` (4,), whose sides lie half a pixel outside the pixels that it covers. If the box has parts
    named 0 to 67, they have `landmarks` (68, 2) and their crop (`camera.crop_from_landmarks`), else the box's crop
    (`camera.crop_from_box`). Boxes marked `ignore` are skipped.

    See `m4kit.datasets` for warnings and errors.
    """
    first_pixel = check_number(first_pixel, "first_pixel")
    files, xml = open_label_file(path, ending=".xml", member=member, expected="dlib's XML")
    try:
        root = ElementTree.fromstring(files.read(xml))
    # An unknown encoding is a LookupError, one of several bytes per character a ValueError.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DatasetError(f"{files.path}/{xml}: expected dlib's XML, got a broken file ({error})") from error
    faces = [
        (image.get("file", ""), box)
        for image in root.iter("image")
        for box in image.iter("box")
        if box.get("ignore", "0") == "0"
    ]
    folder = PurePosixPath(xml).parent
    named = picture_names(file for file, _ in faces)
    names = distinct(named[file] for file, _ in faces)

    def read_face(name: str, file: str, element: ElementTree.Element) -> Sample:
        image = files.picture(f"{folder}/{file}")
        left, top, width, height = numbers(
            element.get(key) for key in ("left", "top", "width", "height")
        ).tolist()
        box = checked_box(left, top, left + width, top + height) - 0.5 - first_pixel
        landmarks = _read_landmarks(element)
        if landmarks is None:
            return Sample(name, image, crop=crop_from_box(box), box=box)
        landmarks -= first_pixel
        return Sample(name, image, landmarks, crop=crop_from_landmarks(landmarks), box=box)

    return collect(
        path,
        [(name or "a face", name, *face) for name, face in zip(names, faces, strict=True)],
        read_face,
        expected="<image file=...> with <box top left width height>",
    )


def _read_landmarks(element: ElementTree.Element) -> np.ndarray | None:
    """Points (68, 2) as the file counts them, or None if they are not the 68."""
    parts = {part.get("name", "").lstrip("0") or "0": part for part in element.iter("part")}
    if parts.keys() != {str(number) for number in range(68)}:
        return None
    xy = numbers(parts[str(number)].get(key) for number in range(68) for key in ("x", "y"))
    return checked_landmarks(xy.reshape(68, 2))
