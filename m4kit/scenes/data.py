"""Collects photos of hard scenes from samples or paths, and degrades clean photos (`benchmark`)."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np

from m4kit.camera import crop_from_landmarks
from m4kit.conditions import (
    CONDITIONS,
    check_condition,
    check_severity,
    degrade,
    landmark_depth,
    scene_depth,
)
from m4kit.datasets import DatasetError, Sample, read
from m4kit.datasets.files import picture_names
from m4kit.datasets.photos import Photo, photos_of
from m4kit.images import ImageSource, list_images, load_image
from m4kit.prediction import Face, Prediction


def scene_photos(
    source: str | PathLike | Iterable[Sample] | Iterable[str | PathLike],
) -> tuple[Photo, ...]:
    """Collect the photos of samples (`photos_of`), of a folder, of a `.zip`, or of image files, in their order.

    Raises `DatasetError` if there is no photo, and `ImageError` for a path without an image.
    """
    photos = photos_of(_samples(source))
    if not photos:
        raise DatasetError("expected at least one photo, got none; give a folder, picture files or samples")
    return photos


def benchmark(
    images: str | PathLike | Iterable[Sample] | Iterable[ImageSource],
    truth: Sequence[Prediction | Sequence[Sample]] | None = None,
    conditions: Sequence[str] = CONDITIONS,
    severities: Sequence[float] = (1, 3, 5),
    seeds: Sequence[int] = (0,),
    *,
    all_labelled: bool = False,
) -> tuple[Sample, ...]:
    """Degrade clean photos: every photo with every condition, severity and seed, in this order.

    - `images`: a folder, paths, arrays or whatever `load_image` takes, or samples of a data set with their truth.
    - `truth`: for each image a `Prediction` or samples. It holds for every version, since no condition moves a face.
    - `all_labelled`: whether the truth names every face.

    The true faces stand in front of haze, and take side light (`scene_depth`): those of a `Prediction`, or the face
    model fitted to the landmarks of samples. A photo without true landmarks counts as flat ground.

    Images are read and degraded when a sample's `image()` is called; nothing is kept. Versions are named
    `<photo>/<condition>-<severity>-<seed>`. Each photo gets its own `Sample.seed`, from its name and the given
    seed; `degrade` makes the same picture with it.

    Raises `ValueError` for an unknown condition, a severity outside 0 to 5, a repeated value, or a truth for another
    number of images, and `DatasetError` or `ImageError` if there is no image.
    """
    _check_versions(conditions, severities, seeds)
    photos = _clean_photos(images, truth)
    versions = [(c, float(s), int(k)) for c in conditions for s in severities for k in seeds]
    samples = []
    for photo, before in photos:
        for condition, severity, seed in versions:
            own = zlib.crc32(f"{photo.name}\n{seed}".encode())
            name = f"{photo.name}/{condition}-{severity:g}-{seed}"
            faces = photo.faces or (Sample(photo.name, photo.image),)
            samples += [
                replace(
                    face,
                    name=f"{name}#{number}" if len(faces) > 1 else name,
                    image=partial(_degraded, photo, condition, severity, own, before),
                    condition=condition,
                    severity=severity,
                    seed=own,
                    clean=photo.name,
                    clean_image=photo.image,
                    all_labelled=all_labelled,
                )
                for number, face in enumerate(faces, start=1)
            ]
    return tuple(samples)


def _samples(source) -> Iterable[Sample]:
    if isinstance(source, str | PathLike):
        path = Path(source)
        return read(path, "folder") if path.is_dir() or path.suffix.lower() == ".zip" else _of_files(path)
    source = list(source)
    if all(isinstance(one, Sample) for one in source):
        return source
    if all(isinstance(one, str | PathLike) for one in source):
        return _of_files(source)
    kinds = ", ".join(sorted({type(one).__name__ for one in source}))
    raise DatasetError(f"expected a folder, picture files or samples, got a sequence of {kinds}")


def _of_files(paths) -> list[Sample]:
    files = list_images(paths)
    return [Sample(name, partial(load_image, file)) for name, file in zip(_names(files), files, strict=True)]


def _names(files: Sequence[Path]) -> list[str]:
    """Names for the samples of files (`picture_names`), with folders where two files have the same name."""
    often = Counter(file.name for file in files)
    named = picture_names(often)
    return [named[file.name] if often[file.name] == 1 else file.as_posix() for file in files]


def _clean_photos(images, truth) -> list[tuple[Photo, tuple[Face, ...]]]:
    """The clean photos with their truth, and the faces of a `Prediction`."""
    if isinstance(images, np.ndarray | bytes):
        raise DatasetError(f"benchmark: expected images, got one {type(images).__name__}; put it in a list")
    if not isinstance(images, str | PathLike):
        images = list(images)
        if not all(isinstance(one, Sample | str | PathLike) for one in images):
            images = [
                one if isinstance(one, Sample) else Sample(f"photo{number}", partial(load_image, one))
                for number, one in enumerate(images, start=1)
            ]
    photos = scene_photos(images)
    if truth is None:
        return [(photo, ()) for photo in photos]
    if len(truth) != len(photos):
        raise ValueError(
            f"benchmark: expected a truth for each of {len(photos)} images, got {len(truth)}; "
            "give a Prediction or samples for each, in the images' order"
        )
    result = []
    for photo, known in zip(photos, truth, strict=True):
        before = known.faces if isinstance(known, Prediction) else ()
        samples = [known] if isinstance(known, Sample) else known
        faces = tuple(_known(photo, face) for face in before) if before else tuple(samples)
        result.append((Photo(photo.name, photo.image, faces), before))
    return result


def _known(photo: Photo, face: Face) -> Sample:
    return Sample(
        photo.name,
        photo.image,
        landmarks=face.landmarks,
        pose=face.pose,
        crop=crop_from_landmarks(face.landmarks),
        box=np.asarray(face.box)[:4],
    )


def _degraded(photo: Photo, condition: str, severity: float, seed: int, before: Sequence[Face]) -> np.ndarray:
    image = photo.image()
    depth = scene_depth(image.shape, before) if before else landmark_depth(image.shape, photo.landmarks)
    return degrade(image, condition, severity, seed=seed, depth=depth)


def _check_versions(conditions, severities, seeds) -> None:
    if isinstance(conditions, str):
        raise ValueError(
            f"benchmark: expected a sequence of conditions, got {conditions!r}; put it in a list"
        )
    for condition in conditions:
        check_condition(condition, "benchmark")
    for severity in severities:
        check_severity(severity, "benchmark")
    for word, values in (("conditions", conditions), ("severities", severities), ("seeds", seeds)):
        if not len(values) or len(set(values)) < len(values):
            raise ValueError(f"benchmark: expected {word} without repeats, got {list(values)}")
