"""Pictures with a file of 68 points beside each, and pictures with nothing beside them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.camera import crop_from_landmarks
from m4kit.datasets.files import Files, is_image, open_files, picture_names, stem
from m4kit.datasets.sample import DatasetError, Sample, checked_landmarks, collected


def read_pts(path: str | Path, *, first_pixel: float = 1.0) -> tuple[Sample, ...]:
    """Pictures with a `.pts` of 68 points each, sorted by name: 300W, Artistic-Faces.

    300W is Sagonas et al., ICCV Workshops 2013; Artistic-Faces is Yaniv et al., SIGGRAPH 2019. A file reads
    `version: 1`, `n_points: 68`, and a point `x y` a line between braces.

    `path` is a folder or a `.zip`, read in place. Every `NAME.pts` below it belongs to the picture NAME in its
    folder or, if there is none, to the only one of that name below `path`. `first_pixel` is the coordinate that
    the files give to the centre of the first pixel: 1 by their convention; 0 or 0.5 (counted from the edge)
    elsewhere.

    Samples have `landmarks` (68, 2) and the rule's crop, `camera.crop_from_landmarks`. Faces whose files are
    missing or broken, have another number of points, or belong to two pictures (NAME.jpg and NAME.png) are left
    out, with one warning that counts and names them. Raises `FileNotFoundError` if there is no `path`, and
    `DatasetError` if it holds no face.
    """
    files = open_files(path, expected="pictures with .pts files")
    samples, left_out = _read_beside(files, ".pts", _parse_pts, first_pixel)
    return collected(path, samples, left_out, expected="pictures with a .pts of 68 points each", unit="files")


def read_txt(path: str | Path, *, first_pixel: float = 0.0) -> tuple[Sample, ...]:
    """Pictures with a `.txt` of 68 lines `x y` each, sorted by name, as sets of caricatures have them.

    All else is as with `read_pts`, but that pixels are taken to be counted from 0, which such files do not say.
    """
    files = open_files(path, expected="pictures with .txt files of points")
    samples, left_out = _read_beside(files, ".txt", _parse_numbers, first_pixel)
    return collected(path, samples, left_out, expected="pictures with a .txt of 68 points each", unit="files")


def read_folder(path: str | Path) -> tuple[Sample, ...]:
    """All pictures below a folder or in a `.zip`, sorted by name, without any truth.

    Pictures are known by their ending, `images.IMAGE_SUFFIXES`; whether one is broken shows when it is read.
    Raises `FileNotFoundError` if there is no `path`, and `DatasetError` if it holds no picture.
    """
    files = open_files(path, expected="pictures")
    named = picture_names(filter(is_image, files.names()))
    samples = [Sample(name, files.image(picture)) for picture, name in named.items()]
    return collected(path, samples, [], expected="pictures")


def _read_beside(
    files: Files, ending: str, parse: Callable[[str], np.ndarray], first_pixel: float
) -> tuple[list[Sample], list[str]]:
    """Samples of all pictures and label files, by name, and what is left out."""
    names = files.names()
    named = picture_names(filter(is_image, names))
    pictures, by_last_name = defaultdict(list), defaultdict(list)
    for picture in named:
        pictures[stem(picture)].append(picture)
    for face in pictures:
        by_last_name[PurePosixPath(face).name].append(face)
    labels = {}
    for name in names:
        if name.lower().endswith(ending):
            elsewhere = by_last_name[PurePosixPath(stem(name)).name]
            is_elsewhere = stem(name) not in pictures and len(elsewhere) == 1
            labels[elsewhere[0] if is_elsewhere else stem(name)] = name
    samples, left_out = [], []
    for face in sorted(pictures.keys() | labels.keys()):
        try:
            if face not in pictures or face not in labels:
                raise DatasetError("no picture" if face in labels else f"no {ending}")
            if len(pictures[face]) > 1:
                raise DatasetError(f"{len(pictures[face])} pictures of that name")
            (picture,) = pictures[face]
            landmarks = checked_landmarks(parse(files.text(labels[face]))) - first_pixel
        except DatasetError as error:
            left_out.append(f"{face} ({error})")
            continue
        samples.append(
            Sample(named[picture], files.image(picture), landmarks, crop=crop_from_landmarks(landmarks))
        )
    return samples, left_out


def _parse_pts(text: str) -> np.ndarray:
    content = re.fullmatch(r"([^{}]*)\{([^{}]*)\}\s*", text)
    if content is None:
        raise DatasetError("expected points between braces, found none")
    points = _parse_numbers(content[2])
    declared = re.search(r"n_points:\s*(\d+)", content[1])
    if declared and int(declared[1]) != len(points):
        raise DatasetError(f"expected the {declared[1]} points that it declares, got {len(points)}")
    return points


def _parse_numbers(text: str) -> np.ndarray:
    try:
        points = [[float(word) for word in line.split()] for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise DatasetError(f"expected numbers, got something else ({error})") from error
    if any(len(point) != 2 for point in points):
        raise DatasetError("expected two numbers a line")
    return np.array(points).reshape(-1, 2)
