"""dlib's XML, as its imglab writes it: boxes, and named points in them, for pictures that may show many faces.

The parser is the standard library's. It loads nothing from outside, and expat from 2.4.1 on stops at entities
that expand without bounds.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from m4kit.camera import crop_from_box, crop_from_landmarks
from m4kit.datasets.files import open_label_file, picture_names
from m4kit.datasets.sample import DatasetError, Sample, checked_landmarks, collected, distinct


def read_dlib_xml(
    path: str | Path, *, member: str | None = None, first_pixel: float = 0.0
) -> tuple[Sample, ...]:
    """The faces of a dlib XML (King, JMLR 2009), one a `<box>`, in the file's order.

    `path` is the XML, or a folder or `.zip`, read in place, that holds it; `member` picks one of several.
    Pictures are named relative to the XML, and lie in its folder or below. `first_pixel` is the coordinate that
    the file gives to the centre of the first pixel, by dlib's convention 0.

    Samples have the `box` (4,), whose sides lie half a pixel around the pixels that the file says it covers.
    With parts named 0 to 67 they have `landmarks` (68, 2) and their crop, `camera.crop_from_landmarks`; with
    others, the box's, `camera.crop_from_box`. Boxes that are marked `ignore` are passed over.

    Faces whose picture is missing or whose labels are broken are left out, with one warning that counts and
    names them. Raises `FileNotFoundError` if there is no `path`, and `DatasetError` if it is no such XML or
    holds no face.
    """
    files, xml = open_label_file(path, ending=".xml", member=member, expected="dlib's XML")
    try:
        root = ElementTree.fromstring(files.read(xml))
    # An unknown encoding is a LookupError, one that is not of single bytes a ValueError.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DatasetError(f"{files.path}/{xml}: expected dlib's XML, got a broken file ({error})") from error
    faces = [
        (image.get("file", ""), box)
        for image in root.iter("image")
        for box in image.iter("box")
        if box.get("ignore", "0") == "0"
    ]
    samples, left_out = [], []
    folder = xml.rpartition("/")[0] or "."
    named = picture_names(file for file, _ in faces)
    for face, (listed, element) in zip(distinct([named[file] for file, _ in faces]), faces, strict=True):
        try:
            picture = files.find(f"{folder}/{listed}")
            if not listed or picture is None:
                raise DatasetError("no picture")
            box = _read_box(element) - first_pixel
            landmarks = _read_landmarks(element)
        except DatasetError as error:
            left_out.append(f"{face or 'a face'} ({error})")
            continue
        if landmarks is not None:
            landmarks -= first_pixel
        crop = crop_from_box(box) if landmarks is None else crop_from_landmarks(landmarks)
        samples.append(Sample(face, files.image(picture), landmarks, crop=crop, box=box))
    return collected(path, samples, left_out, expected="<image file=...> with <box top left width height>")


def _read_box(element: ElementTree.Element) -> np.ndarray:
    left, top, width, height = (_number(element, key) for key in ("left", "top", "width", "height"))
    if not (width > 0 and height > 0 and np.isfinite([left, top, width, height]).all()):
        raise DatasetError("expected a finite box with a width and a height")
    return np.array([left, top, left + width, top + height]) - 0.5


def _read_landmarks(element: ElementTree.Element) -> np.ndarray | None:
    """Points (68, 2) as the file counts them, or None if they are not the 68."""
    parts = {part.get("name", "").lstrip("0") or "0": part for part in element.iter("part")}
    if parts.keys() != {str(number) for number in range(68)}:
        return None
    return checked_landmarks(
        [[_number(parts[str(number)], key) for key in ("x", "y")] for number in range(68)]
    )


def _number(element: ElementTree.Element, key: str) -> float:
    try:
        return float(element.get(key, ""))
    except ValueError as error:
        raise DatasetError(f"expected a number as {key}, got {element.get(key)!r}") from error
