"""Reads AFLW2000-3D and 300W-LP: a `.mat` beside each photo (Zhu et al., CVPR 2016).

Both sets count pixels from 1, m4kit from 0, so landmarks and boxes are moved by 1. (Matched with AFLW2000-3D's
photos, the published crops begin 1.0 pixel before their boxes' left edge counted from 0.)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.camera import HeadPose, crop_from_landmarks
from m4kit.datasets.files import Files, array_file, open_files, read_arrays, stem
from m4kit.datasets.mat_file import read_matrices
from m4kit.datasets.sample import DatasetError, PublishedBox, Sample, checked_landmarks, collect

# Folders of 300W-LP's archive with MATLAB code, and with the landmarks again, without photos.
_OTHER_FOLDERS = {"code", "landmarks"}

# The largest `.mat`: those of the sets have some 10 kB.
_MOST_BYTES = 1 << 24


def read_aflw2000_3d(
    path: str | Path, *, published_boxes: str | Path | None = None, reannotated: bool = False
) -> tuple[Sample, ...]:
    """Read AFLW2000-3D in its published layout, sorted by name.

    The set has 2,000 photos of 450 x 450 pixels, each with the 68 landmarks (68, 3), the head pose and AFLW's 21
    points of one face.

    `path` is a folder or a `.zip` that holds somewhere in it a folder of `NAME.jpg` and `NAME.mat` (`pt3d_68`,
    `Pose_Para`). The `roi` in the `.mat` files refers to other photos and is not read. The crop is
    `camera.crop_from_landmarks`; it may reach beyond the photo, while the published boxes are clipped.

    Published crops are read if they exist: `NAME.jpg` in a folder `crop`, and an `.npz` with `names` (n,) and `roi`
    (n, 4), by default the one of the same name beside `path`.

    `reannotated` selects the landmarks (68, 2) of Bulat and Tzimiropoulos (ICCV 2017), `pts68_reannotated`
    (n, 2, 68) in that file. Crops stay those of the original landmarks.

    See `m4kit.datasets` for warnings and errors.
    """
    files = open_files(path, expected="AFLW2000-3D")
    names = files.names()
    photos, labels = _photos_and_labels(names, path, "AFLW2000-3D")
    # The folder with the most pairs.
    pairs = Counter(PurePosixPath(name).parent for name in photos if name in labels)
    folder = pairs.most_common(1)[0][0]
    boxes_file = array_file(path) if published_boxes is None else Path(published_boxes)
    boxes = {}
    if published_boxes is not None or boxes_file.exists():
        boxes = _by_face(boxes_file, "roi", (4,))
    others = _by_face(boxes_file, "pts68_reannotated", (2, 68)) if reannotated else {}
    crops = {
        PurePosixPath(name).stem: name
        for name in names
        if name.endswith(".jpg") and PurePosixPath(name).parent.name == "crop"
    }

    def read_face(name: str, place: str) -> Sample:
        sample = _read_face(files, name, photos.get(place), labels.get(place), depth=True)
        if reannotated:
            if name not in others:
                raise DatasetError("not reannotated")
            sample = replace(sample, landmarks=checked_landmarks(others[name].T - 1))
        if name in boxes and name in crops:
            box = PublishedBox(*(boxes[name] - 1).tolist())
            sample = replace(sample, published_crop=files.image(crops[name]), published_box=box)
        return sample

    places = [place for place in sorted({*photos, *labels}) if PurePosixPath(place).parent == folder]
    faces = [(PurePosixPath(place).name, PurePosixPath(place).name, place) for place in places]
    return collect(path, faces, read_face, expected="faces of AFLW2000-3D", unit="files")


def read_300w_lp(path: str | Path) -> tuple[Sample, ...]:
    """Read 300W-LP in its published layout, sorted by name (`AFW_Flip/AFW_1051618982_1_3`).

    The set has photos of 300W, rotated in steps to larger yaws, and mirrored. The pictures of one photo differ in the
    last number of their names.

    `path` is a folder or a `.zip`: every `NAME.jpg` with a `NAME.mat` beside it counts, in any folder below it except
    `Code` and `landmarks`. Folders without a `.mat` are skipped. Landmarks are `pt3d_68` (68, 3) if a file has them,
    else `pt2d` (68, 2), whose jaw in older files follows the contour in the photo, not the one in 3D. The crop is
    `camera.crop_from_landmarks`; the files' `roi` is not read.

    See `m4kit.datasets` for warnings and errors.
    """
    files = open_files(path, expected="300W-LP")
    names = [
        name
        for name in files.names()
        if not _OTHER_FOLDERS.intersection(part.lower() for part in PurePosixPath(name).parts[:-1])
    ]
    photos, labels = _photos_and_labels(names, path, "300W-LP")
    folders = {PurePosixPath(name).parent for name in labels}
    faces = [
        (name, files, name, photos.get(name), labels.get(name))
        for name in sorted({*photos, *labels})
        if PurePosixPath(name).parent in folders
    ]
    return collect(path, faces, _read_face, expected="faces of 300W-LP", unit="files")


def _photos_and_labels(
    names: list[str], path: str | Path, dataset: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Photos and `.mat` files by their names without the ending; `DatasetError` if there is no pair."""
    photos = {stem(name): name for name in names if name.endswith(".jpg")}
    labels = {stem(name): name for name in names if name.endswith(".mat")}
    if not photos.keys() & labels.keys():
        raise DatasetError(
            f"{path}: expected {dataset}, a folder with NAME.jpg and NAME.mat side by side, found no such pair; "
            "unpack the published archive, or give the .zip itself"
        )
    return photos, labels


def _read_face(files: Files, name: str, photo: str | None, mat: str | None, *, depth: bool = False) -> Sample:
    """The sample of a photo and its `.mat`. Without `depth`, `pt2d` replaces missing landmarks in 3D."""
    if photo is None or mat is None:
        raise DatasetError(f"no {'.jpg' if photo is None else '.mat'}")
    content = files.read(mat, most=_MOST_BYTES)
    try:
        labels = read_matrices(content, ("pt3d_68", "pt2d", "Pose_Para"))
    except ValueError as error:
        raise DatasetError(f"broken .mat: {error}") from error
    key, shape = ("pt3d_68", (3, 68)) if depth or "pt3d_68" in labels else ("pt2d", (2, 68))
    landmarks = _array(labels, key, shape).T
    landmarks[:, :2] -= 1
    landmarks = checked_landmarks(landmarks)
    pitch, yaw, roll = np.degrees(_array(labels, "Pose_Para", (1, 7))[0, :3])
    points21 = None
    if np.shape(labels.get("pt2d")) == (2, 21):
        points21 = _array(labels, "pt2d", (2, 21)).T
        points21 = np.where((points21 != -1).all(axis=1, keepdims=True), points21 - 1, np.nan)
    pose = HeadPose(float(yaw), float(pitch), float(roll))
    return Sample(name, files.image(photo), landmarks, points21, pose, crop_from_landmarks(landmarks))


def _array(labels: dict, key: str, shape: tuple[int, int]) -> np.ndarray:
    array = np.asarray(labels.get(key, ()))
    if array.shape != shape or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise DatasetError(f"expected finite {key} {shape}, got {array.dtype} {array.shape}")
    return array.astype(float)


def _by_face(file: Path, key: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """An array of an `.npz`, one row per face, by the face's name."""
    arrays = read_arrays(file, {"names": [()], key: [shape]})
    return {
        PurePosixPath(str(name)).stem: row.astype(float)
        for name, row in zip(arrays["names"], arrays[key], strict=True)
    }
