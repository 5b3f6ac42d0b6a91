"""Reads pictures with a file of 68 points beside each, and pictures without labels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.camera import crop_from_landmarks
from m4kit.checks import check_number
from m4kit.datasets.files import Files, is_image, open_files, picture_names, stem
from m4kit.datasets.sample import DatasetError, Sample, checked_landmarks, collect, numbers


def read_pts(path: str | Path, *, first_pixel: float = 1.0) -> tuple[Sample, ...]:
    """Read pictures with a `.pts` file of 68 points each, sorted by name: 300W.

    300W is Sagonas et al., ICCV Workshops 2013. A file contains `version: 1`, `n_points: 68`, and between braces one
    line `x y` per point.

    `NAME.pts` belongs to the picture NAME in its folder or, if there is none, to the only picture of that name below
    `path`. `first_pixel` is the coordinate that the files give to the centre of the first pixel: 1 by convention;
    other sets have 0, or 0.5 if they count from the picture's edge.

    Samples have `landmarks` (68, 2) and their crop (`camera.crop_from_landmarks`). A file that fits two pictures
    (NAME.jpg and NAME.png) counts as broken. See `m4kit.datasets` for warnings and errors.
    """
    files = open_files(path, expected="pictures with .pts files")
    expected = "pictures with a .pts of 68 points each"
    return collect(path, *_beside(files, ".pts", _parse_pts, first_pixel), expected=expected, unit="files")


def read_artistic_faces(path: str | Path, *, first_pixel: float = 1.0) -> tuple[Sample, ...]:
    """Read works of art with a `.pts` file of 68 points each, as `read_pts` does, and their `artist`.

    This is the layout of Artistic-Faces (Yaniv et al., SIGGRAPH 2019). Artist or style is the picture's folder
    (`picasso/3.png`) if the pictures are in several folders, else its name without the number at its end
    (`van_gogh_12.png`). It is None where that leaves nothing.
    """
    files = open_files(path, expected="works of art with .pts files")
    faces, read_face = _beside(files, ".pts", _parse_pts, first_pixel)
    expected = "works of art with a .pts of 68 points each"
    samples = collect(path, faces, read_face, expected=expected, unit="files")
    folders = {PurePosixPath(sample.name).parent for sample in samples}
    return tuple(replace(sample, artist=_artist(sample.name, len(folders) > 1)) for sample in samples)


def read_txt(path: str | Path, *, first_pixel: float = 0.0) -> tuple[Sample, ...]:
    """Read pictures with a `.txt` file of 68 lines `x y` each, sorted by name, as in sets of caricatures.

    All else is as for `read_pts`, except that pixels count from 0 by default.
    """
    files = open_files(path, expected="pictures with .txt files of points")
    expected = "pictures with a .txt of 68 points each"
    return collect(path, *_beside(files, ".txt", _parse_points, first_pixel), expected=expected, unit="files")


def read_folder(path: str | Path) -> tuple[Sample, ...]:
    """List all pictures below a folder or in a `.zip`, sorted by name, without labels.

    Pictures are recognised by their ending, one of `images.IMAGE_SUFFIXES`. A broken picture raises `ImageError` when
    it is read. See `m4kit.datasets` for other errors.
    """
    files = open_files(path, expected="pictures")
    named = picture_names(filter(is_image, files.names()))
    faces = [(name, name, files.image(picture)) for picture, name in named.items()]
    return collect(path, faces, Sample, expected="pictures")


def _beside(
    files: Files, ending: str, parse: Callable[[str], np.ndarray], first_pixel: float
) -> tuple[list[tuple[str, str]], Callable[[str], Sample]]:
    """The faces that have a picture or a label file, and the function that reads one, for `collect`."""
    first_pixel = check_number(first_pixel, "first_pixel")
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

    def read_face(face: str) -> Sample:
        if face not in pictures or face not in labels:
            raise DatasetError("no picture" if face in labels else f"no {ending}")
        if len(pictures[face]) > 1:
            raise DatasetError(f"{len(pictures[face])} pictures of that name")
        (picture,) = pictures[face]
        landmarks = checked_landmarks(parse(files.text(labels[face]))) - first_pixel
        return Sample(named[picture], files.image(picture), landmarks, crop=crop_from_landmarks(landmarks))

    return [(face, face) for face in sorted(pictures.keys() | labels.keys())], read_face


def _artist(name: str, by_folder: bool) -> str | None:
    """The artist of a picture, from its folder or from its own name.

    >>> _artist("portraits/van_gogh_12", False), _artist("picasso/3", True)
    ('van_gogh', 'picasso')
    """
    path = PurePosixPath(name)
    return (path.parent.name if by_folder else re.sub(r"[\W_]*\d*$", "", path.name)) or None


def _parse_pts(text: str) -> np.ndarray:
    content = re.fullmatch(r"([^{}]*)\{([^{}]*)\}\s*", text)
    if content is None:
        raise DatasetError("expected points between braces, found none")
    points = _parse_points(content[2])
    declared = re.search(r"n_points:\s*([0-9]{1,9})", content[1])
    if declared and int(declared[1]) != len(points):
        raise DatasetError(f"expected the {declared[1]} points that it declares, got {len(points)}")
    return points


def _parse_points(text: str) -> np.ndarray:
    points = [numbers(line.split()) for line in text.split("\n") if line.strip()]
    if any(len(point) != 2 for point in points):
        raise DatasetError("expected two numbers per line")
    return np.array(points).reshape(-1, 2)
