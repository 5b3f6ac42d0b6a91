"""Sets of face crops whose photos are not at hand: AFLW, YouTube Faces and 3DDFA's lists.

The crop picture is the photo here, and `Sample.crop` covers it whole. The sets' own mapping of a photo's x into a
crop is (x - left) * side / (right - left), counted from the crop picture's left edge, so the first pixel's centre
is at 0.5; points are moved by that. Hence `sample.crop.from_photo` takes them to the crop frame where the mapping
of the sets has them: its 0 at -60, its `side` at 60.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.camera import CROP_SIZE, Crop, HeadPose
from m4kit.datasets.files import (
    Files,
    array_file,
    check_arrays,
    label_text,
    load_arrays,
    open_files,
    open_label_file,
    picture_names,
)
from m4kit.datasets.sample import DatasetError, Sample, checked_landmarks, collected

YOUTUBE_FACES_SIZE = 128
"""Side of YouTube Faces' crops, in pixels."""

_EDGE = 0.5

# What 3DDFA's arrays end in after the list's name: AFLW2000-3D's spelling, and AFLW's.
_ARRAYS = {
    "pts68": (".pts68.npy", "_pts68.npy"),
    "pts21": (".pts21.npy", "_pts21.npy"),
    "yaw": (".pose.npy", "_yaws.npy"),
    "roi": (".roi_box.npy", "_roi_box.npy"),
}


def read_aflw_crops(path: str | Path, *, labels: str | Path | None = None) -> tuple[Sample, ...]:
    """AFLW's faces as crops of 120 x 120 pixels with 21 points, in the labels' order.

    AFLW is Koestinger et al., ICCV Workshops 2011; the crops are those of 3DDFA (Zhu et al., CVPR 2016).

    `path` is a folder or a `.zip`, read in place, of the crops. `labels` is an `.npz`, by default the one beside
    `path` of the same name, with `names` (n,), `pts21` (n, 2, 21) in the photo's pixels, -1 where a point is
    not visible, `roi` (n, 4), the crop's left, top, right and bottom in that photo, and if it has it `yaw`
    (n,) in degrees. A crop that the photo's edge clipped was squeezed to a square, and its points are too.

    Samples have `points21` (21, 2), the yaw alone as `pose` (the other angles are NaN), and the whole picture as
    `crop`. Pictures that the labels do not name are passed over. Faces whose files are missing or broken are
    left out, with one warning that counts and names them. Raises `FileNotFoundError` if there is no `path` or
    no labels, and `DatasetError` if they hold no face.
    """
    files = open_files(path, expected="AFLW crops")
    labels = array_file(path) if labels is None else Path(labels)
    arrays = load_arrays(labels, labels)
    check_arrays(arrays, {"names": [()], "pts21": [(2, 21)], "roi": [(4,)], "yaw": [()]}, {"yaw"}, labels)
    samples, left_out = _read_crops(files, [str(name) for name in arrays["names"]], arrays)
    return collected(path, samples, left_out, expected="AFLW crops that the labels name")


def read_youtube_faces(path: str | Path, *, labels: str | Path | None = None) -> tuple[Sample, ...]:
    """YouTube Faces' frames as crops of 128 x 128 pixels with 68 points (68, 2), in the labels' order.

    The videos are those of Wolf et al., CVPR 2011. The same people occur many times: split by `Sample.person`.

    `path` is a folder or a `.zip`, read in place, of the crops. `labels` is an `.npz`, by default the one beside
    `path` of the same name, with `names` (n,), `pts68` (n, 68, 2) in crop pixels, and `identity` (n,), the
    person's name. The whole picture is the `crop`.

    Pictures that the labels do not name are passed over. Faces whose files are missing or broken are left out,
    with one warning that counts and names them. Raises `FileNotFoundError` if there is no `path` or no labels,
    and `DatasetError` if they hold no face.
    """
    files = open_files(path, expected="YouTube Faces crops")
    labels = array_file(path) if labels is None else Path(labels)
    arrays = load_arrays(labels, labels)
    check_arrays(arrays, {"names": [()], "pts68": [(68, 2)], "identity": [()]}, set(), labels)
    samples, left_out = [], []
    crop = Crop(-_EDGE, -_EDGE, YOUTUBE_FACES_SIZE)
    named = picture_names(map(str, arrays["names"]))
    for listed, points, person in zip(arrays["names"], arrays["pts68"], arrays["identity"], strict=True):
        try:
            name, landmarks = _existing(files, str(listed)), checked_landmarks(points) - _EDGE
        except DatasetError as error:
            left_out.append(f"{listed} ({error})")
            continue
        samples.append(
            Sample(named[str(listed)], files.image(name), landmarks, crop=crop, person=str(person))
        )
    return collected(path, samples, left_out, expected="YouTube Faces crops that the labels name")


def read_3ddfa_list(
    path: str | Path,
    *,
    member: str | None = None,
    arrays: str | Path | None = None,
    landmarks: str | Path | None = None,
) -> tuple[Sample, ...]:
    """A list of crops of 120 x 120 pixels with arrays beside it, as 3DDFA's code has them, in the list's order.

    3DDFA is Zhu et al., CVPR 2016, in Guo et al.'s code, where its test sets are `test.data/AFLW2000-3D_crop.list`
    and `test.data/AFLW_GT_crop.list`.

    `path` is the list, or a folder or `.zip` that holds it (`member` picks one of several). A list NAME_crop.list
    names a picture a line, in the folder `NAME_crop` beside it or else right beside it. The arrays lie anywhere
    below `path`, or below the folder or zip `arrays` (3DDFA's `test.configs`):

    - `NAME.pts68.npy`: landmarks (n, 2 or 3, 68) in the photo's pixels, or the file `landmarks` in its place,
      such as `AFLW2000-3D-Reannotated.pts68.npy`;
    - `NAME.pts21.npy`: AFLW's points (n, 2, 21), -1 where a point is not visible;
    - `NAME.pose.npy` or `NAME_crop_yaws.npy`: yaw (n,) in degrees, the other angles are then NaN;
    - `NAME_crop.roi_box.npy`: the crop's left, top, right and bottom (n, 4) in the photo, without which there
      are no points.

    `_` will do for the first dot. A crop that the photo's edge clipped was squeezed to a square, and its points
    are too; depth is scaled like x. The training lists' parameters, which come as pickles, are not read.

    Faces whose files are missing or broken are left out, with one warning that counts and names them. Raises
    `FileNotFoundError` if there is no `path`, and `DatasetError` if it holds no face, no array, or arrays of
    another length than the list.
    """
    files, list_name = open_label_file(path, ending=".list", member=member, expected="a list of 3DDFA")
    lines = [line.strip() for line in label_text(files, list_name).rstrip().split("\n")]
    name = PurePosixPath(list_name).stem
    found = _find_arrays(files if arrays is None else open_files(arrays, expected="3DDFA's arrays"), name)
    if landmarks is not None:
        found["pts68"] = load_arrays(Path(landmarks), landmarks)
    needed = "roi" if {"pts68", "pts21"} & found.keys() else "yaw"
    if needed not in found:
        base = name.removesuffix("_crop")
        raise DatasetError(
            f"{path}: expected {base}.pts68.npy, {base}.pts21.npy or {base}.pose.npy, and with points "
            f"{base}_crop.roi_box.npy, found {', '.join(sorted(found)) or 'none'}; give the folder that holds "
            "them as `arrays`"
        )
    shapes = {"pts68": [(3, 68), (2, 68)], "pts21": [(2, 21)], "yaw": [()], "roi": [(4,)]}
    check_arrays({"names": np.array(lines), **found}, {"names": [()], **shapes}, set(shapes), path)
    folder = list_name.removesuffix(PurePosixPath(list_name).suffix)
    samples, left_out = _read_crops(
        files, lines, found, folders=(folder, str(PurePosixPath(list_name).parent))
    )
    return collected(path, samples, left_out, expected=f"crops that {list_name} names")


def _read_crops(
    files: Files, names: list[str], arrays: Mapping[str, np.ndarray], *, folders: tuple[str, ...] = (".",)
) -> tuple[list[Sample], list[str]]:
    """Samples of crops of 120 x 120 pixels with what arrays there are, and what is left out."""
    samples, left_out = [], []
    named = picture_names(names)
    for row, listed in enumerate(names):
        try:
            name = _existing(files, listed, folders)
            points68 = points21 = None
            if "roi" in arrays:
                box = _checked_box(arrays["roi"][row])
            if "pts68" in arrays:
                points68 = checked_landmarks(_to_crop(arrays["pts68"][row].T, box))
            if "pts21" in arrays:
                points21 = _checked_points21(arrays["pts21"][row].T, box)
            pose = HeadPose(_checked_yaw(arrays["yaw"][row]), np.nan, np.nan) if "yaw" in arrays else None
        except DatasetError as error:
            left_out.append(f"{listed or f'line {row + 1}'} ({error})")
            continue
        crop = Crop(-_EDGE, -_EDGE, CROP_SIZE)
        samples.append(Sample(named[listed], files.image(name), points68, points21, pose, crop))
    return samples, left_out


def _existing(files: Files, listed: str, folders: tuple[str, ...] = (".",)) -> str:
    for folder in folders:
        name = files.find(f"{folder}/{listed}") if listed else None
        if name is not None:
            return name
    raise DatasetError("no picture")


def _to_crop(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Points (n, 2 or 3) of a photo in the pixels of the crop picture that shows the box (4,)."""
    scale = CROP_SIZE / (box[2:] - box[:2])
    crop = points.astype(float) * scale[0]
    crop[:, :2] = (points[:, :2] - box[:2]) * scale - _EDGE
    return crop


def _checked_box(box: np.ndarray) -> np.ndarray:
    box = box.astype(float)
    if not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
        raise DatasetError(f"expected a box left, top, right, bottom, got {box.tolist()}")
    return box


def _checked_points21(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """AFLW's points (21, 2) in the crop picture, NaN where one is not visible."""
    if not np.isfinite(points).all():
        raise DatasetError("expected finite points, got NaN or infinity")
    visible = (points != -1).all(axis=1, keepdims=True)
    return np.where(visible, _to_crop(points, box), np.nan)


def _checked_yaw(yaw: np.ndarray) -> float:
    if not np.isfinite(yaw):
        raise DatasetError(f"expected a finite yaw, got {yaw}")
    return float(yaw)


def _find_arrays(files: Files, name: str) -> dict[str, np.ndarray]:
    """3DDFA's arrays of a list, whichever there are, by what they hold."""
    by_file = {PurePosixPath(file).name: file for file in reversed(files.names())}
    found = {}
    for key, endings in _ARRAYS.items():
        for file in (f"{base}{ending}" for base in (name.removesuffix("_crop"), name) for ending in endings):
            if file in by_file:
                content = io.BytesIO(files.read(by_file[file]))
                found[key] = load_arrays(content, f"{files.path}/{by_file[file]}")
                break
    return found
