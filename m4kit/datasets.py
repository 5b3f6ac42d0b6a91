"""Readers of published data sets, which the user has: m4kit ships and downloads none.

AFLW2000-3D (Zhu et al., CVPR 2016): 2,000 photos of 450 x 450 pixels, each with the 68 landmarks of one face
in 3D and its head pose. The set counts pixels from 1, m4kit from 0: landmarks and boxes are moved by 1. (Matched
against the photos, the published crops' content begins 1.0 pixel before their boxes' left edge counted from 0.)
"""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io

from m4kit.camera import CROP_SIZE, Crop, HeadPose, crop_from_landmarks
from m4kit.images import ImageError, load_image

_NAMED_IN_WARNINGS = 5


class DatasetError(ValueError):
    """A data set that cannot be read: the message says what was expected where, and what came."""


class PublishedBox(NamedTuple):
    """The box (left, top, right, bottom) in photo pixels that a published 120x120 crop shows.

    The set's own convention, without half pixels: x_photo = crop_x * (right - left) / 120 + left, and y
    alike. A box that the photo's edge clipped is not square.
    """

    left: float
    top: float
    right: float
    bottom: float

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2 or 3) from the crop frame (y up, origin at the centre) to photo pixels (y down).

        The crop frame's (-60, 60) is crop pixel (0, 0). A third coordinate is scaled like x.
        """
        points = np.asarray(points, dtype=float)
        scale_x, scale_y = (self.right - self.left) / CROP_SIZE, (self.bottom - self.top) / CROP_SIZE
        photo = points * scale_x
        photo[..., 0] = (points[..., 0] + CROP_SIZE / 2) * scale_x + self.left
        photo[..., 1] = (CROP_SIZE / 2 - points[..., 1]) * scale_y + self.top
        return photo


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled face.

    `landmarks` (68, 3) are the true ones in photo pixels (x right, y down), `pose` the true angles in
    degrees, and `crop` the square around the landmarks that an ideal detector would give. `image()` reads the
    photo, (H, W, 3) uint8 RGB. Where the set comes with crops of its own, `published_crop()` reads this
    face's, (120, 120, 3) uint8 RGB, and `published_box` says what it shows; otherwise both are None. Both
    readers raise `ImageError` for a broken picture.
    """

    name: str
    landmarks: np.ndarray = field(repr=False)
    pose: HeadPose
    crop: Crop
    image: Callable[[], np.ndarray] = field(repr=False)
    published_crop: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    published_box: PublishedBox | None = None


def read_aflw2000_3d(path: str | Path, *, published_boxes: str | Path | None = None) -> tuple[Sample, ...]:
    """The samples of AFLW2000-3D in its published layout, sorted by name.

    `path` is a folder or a `.zip`, read in place, that holds somewhere in it a folder of `NAME.jpg` and
    `NAME.mat` (`pt3d_68`, `Pose_Para`). The `roi` in the `.mat` files belongs to other photos' pixels and is
    not read; the crop is the rule's, `camera.crop_from_landmarks`, and may reach beyond the photo.

    Published crops are taken where they are: `NAME.jpg` in a folder `crop`, and an `.npz` with `names` (n,)
    and `roi` (n, 4), by default the one beside `path` of the same name.

    Faces whose files are missing or broken are left out, with one warning that counts and names them. Raises
    `FileNotFoundError` if there is no `path`, and `DatasetError` if it holds no face.
    """
    path = Path(path)
    files = _open(path)
    photos, labels = _pairs(files, path)
    boxes = _read_boxes(path, published_boxes)
    crops = {Path(name).stem: name for name in files if _is_crop(name)}
    samples, left_out = [], []
    for name in sorted(photos.keys() | labels.keys()):
        if name not in photos or name not in labels:
            left_out.append(f"{name} (no {'.jpg' if name in labels else '.mat'})")
            continue
        try:
            landmarks, pose = _read_labels(files[labels[name]])
        except DatasetError as error:
            left_out.append(f"{name} ({error})")
            continue
        crop_image = crop_box = None
        if name in boxes and name in crops:
            crop_image, crop_box = partial(_load, files[crops[name]], f"{path}/{crops[name]}"), boxes[name]
        samples.append(
            Sample(
                name=name,
                landmarks=landmarks,
                pose=pose,
                crop=crop_from_landmarks(landmarks),
                image=partial(_load, files[photos[name]], f"{path}/{photos[name]}"),
                published_crop=crop_image,
                published_box=crop_box,
            )
        )
    warn_left_out(path, left_out)
    if not samples:
        raise DatasetError(
            f"{path}: expected faces of AFLW2000-3D, got {len(left_out)} files that are all broken"
        )
    return tuple(samples)


def warn_left_out(source: object, faces: list[str], *, stacklevel: int = 3) -> None:
    """One warning that counts and names the faces of a data set that are left out; none if there are none."""
    if faces:
        named = ", ".join(faces[:_NAMED_IN_WARNINGS]) + (", ..." if len(faces) > _NAMED_IN_WARNINGS else "")
        warnings.warn(
            f"{source}: {len(faces)} face{'s' * (len(faces) > 1)} left out: {named}", stacklevel=stacklevel
        )


def _open(path: Path) -> Mapping[str, Callable[[], bytes]]:
    """Readers of all files below a folder or in a zip, by their names with forward slashes."""
    if path.is_dir():
        return {file.relative_to(path).as_posix(): file.read_bytes for file in sorted(path.rglob("*"))}
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: expected a folder or a .zip of AFLW2000-3D, found nothing; check the path"
        )
    if not zipfile.is_zipfile(path):
        raise DatasetError(
            f"{path}: expected a folder or a .zip of AFLW2000-3D, got another file or a broken archive"
        )
    archive = zipfile.ZipFile(path)
    return {name: partial(archive.read, name) for name in archive.namelist()}


def _is_crop(name: str) -> bool:
    return Path(name).suffix == ".jpg" and Path(name).parent.name == "crop"


def _pairs(files: Iterable[str], path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Photos and labels by the face's name, in the folder that holds the most pairs of them."""
    folders: dict[Path, tuple[dict[str, str], dict[str, str]]] = {}
    for file in map(Path, files):
        if file.suffix in (".jpg", ".mat"):
            photos, labels = folders.setdefault(file.parent, ({}, {}))
            (photos if file.suffix == ".jpg" else labels)[file.stem] = file.as_posix()
    photos, labels = max(
        folders.values(), key=lambda pair: len(pair[0].keys() & pair[1].keys()), default=({}, {})
    )
    if not photos.keys() & labels.keys():
        raise DatasetError(
            f"{path}: expected AFLW2000-3D, a folder with NAME.jpg and NAME.mat side by side, found no such "
            "pair; unpack the published archive, or give the .zip itself"
        )
    return photos, labels


def _read_labels(read: Callable[[], bytes]) -> tuple[np.ndarray, HeadPose]:
    """Landmarks (68, 3) in photo pixels and pose of a `.mat` file."""
    try:
        labels = scipy.io.loadmat(io.BytesIO(read()), variable_names=["pt3d_68", "Pose_Para"])
    # What scipy and zipfile raise depends on which byte is wrong.
    except Exception as error:
        raise DatasetError(f"broken .mat: {error}") from error
    arrays = []
    for key, shape in (("pt3d_68", (3, 68)), ("Pose_Para", (1, 7))):
        array = np.asarray(labels.get(key, ()))
        if array.shape != shape or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise DatasetError(f"expected finite {key} {shape}, got {array.dtype} {array.shape}")
        arrays.append(array.astype(float))
    pitch, yaw, roll = np.degrees(arrays[1][0, :3])
    return arrays[0].T - [1, 1, 0], HeadPose(float(yaw), float(pitch), float(roll))


def _read_boxes(path: Path, published_boxes: str | Path | None) -> dict[str, PublishedBox]:
    """Boxes of the published crops by the face's name; none if no file was asked for and none lies there."""
    file = path.with_suffix(".npz") if published_boxes is None else Path(published_boxes)
    if published_boxes is None and not file.exists():
        return {}
    with np.load(file, allow_pickle=False) as arrays:
        missing = {"names", "roi"} - set(arrays)
        if missing or arrays["roi"].shape != (len(arrays["names"]), 4):
            raise DatasetError(f"{file}: expected names (n,) and roi (n, 4), got {', '.join(sorted(arrays))}")
        return {
            Path(str(name)).stem: PublishedBox(*(float(value) - 1 for value in roi))
            for name, roi in zip(arrays["names"], arrays["roi"], strict=True)
        }


def _load(read: Callable[[], bytes], name: str) -> np.ndarray:
    try:
        file = io.BytesIO(read())
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageError(
            f"{name}: expected a readable image, got {error}; copy or download it again"
        ) from error
    file.name = name
    return load_image(file)
