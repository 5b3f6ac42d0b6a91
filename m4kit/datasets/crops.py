"""Reads sets of face crops without their photos: AFLW, YouTube Faces and 3DDFA's lists.

Here the crop picture is the photo, and `Sample.crop` covers all of it. The sets map a photo's x into a crop by
(x - left) * side / (right - left), counted from the crop picture's left edge, where the first pixel's centre is at
0.5; points are moved by that half pixel. So `sample.crop.from_photo` maps 0 of the sets' mapping to -60 in the crop
frame and `side` to 60.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    read_arrays,
)
from m4kit.datasets.sample import DatasetError, Sample, check_points, checked_box, checked_landmarks, collect

YOUTUBE_FACES_SIZE = 128
"""Side of YouTube Faces' crops, in pixels."""

_EDGE = 0.5

# Endings of 3DDFA's arrays after the list's name: the spelling of AFLW2000-3D, and that of AFLW.
_ARRAYS = {
    "pts68": (".pts68.npy", "_pts68.npy"),
    "pts21": (".pts21.npy", "_pts21.npy"),
    "yaw": (".pose.npy", "_yaws.npy"),
    "roi": (".roi_box.npy", "_roi_box.npy"),
}


def read_aflw_crops(path: str | Path, *, labels: str | Path | None = None) -> tuple[Sample, ...]:
    """Read AFLW's faces as crops of 120 x 120 pixels with 21 points, in the labels' order.

    AFLW is Koestinger et al., ICCV Workshops 2011; the crops are those of 3DDFA (Zhu et al., CVPR 2016).

    `path` is a folder or a `.zip` of the crops. `labels` is an `.npz`, by default the one of the same name beside
    `path`, with `names` (n,), `pts21` (n, 2, 21) in the photo's pixels, -1 where a point is not visible, `roi`
    (n, 4), the crop's left, top, right and bottom in that photo, and optionally `yaw` (n,) in degrees. A crop that
    was clipped at the photo's edge is squeezed to a square, and so are its points.

    Samples have `points21` (21, 2), `pose` with the yaw alone (the other angles are NaN), and the whole picture as
    `crop`. Pictures without labels are skipped. See `m4kit.datasets` for warnings and errors.
    """
    files = open_files(path, expected="AFLW crops")
    rows = {"names": [()], "pts21": [(2, 21)], "roi": [(4,)]}
    arrays = read_arrays(array_file(path) if labels is None else Path(labels), rows, {"yaw": [()]})
    faces = _faces(files, arrays.pop("names"), arrays)
    return collect(path, faces, _read_crop, expected="AFLW crops that the labels name")


def read_youtube_faces(path: str | Path, *, labels: str | Path | None = None) -> tuple[Sample, ...]:
    """Read YouTube Faces' frames as crops of 128 x 128 pixels with 68 points (68, 2), in the labels' order.

    The videos are those of Wolf et al., CVPR 2011. The same people occur many times: split by `Sample.person`. The
    points were published with the crops. Who marked them is not known, probably a machine; a few are visibly off.

    `path` is a folder or a `.zip` of the crops. `labels` is an `.npz`, by default the one of the same name beside
    `path`, with `names` (n,), `pts68` (n, 68, 2) in crop pixels, and `identity` (n,), the person's name.

    Samples have the whole picture as `crop`. Pictures without labels are skipped. See `m4kit.datasets` for warnings
    and errors.
    """
    files = open_files(path, expected="YouTube Faces crops")
    rows = {"names": [()], "pts68": [(68, 2)], "identity": [()]}
    arrays = read_arrays(array_file(path) if labels is None else Path(labels), rows)
    arrays["pts68"] = arrays["pts68"].transpose(0, 2, 1)
    faces = _faces(files, arrays.pop("names"), arrays, side=YOUTUBE_FACES_SIZE)
    return collect(path, faces, _read_crop, expected="YouTube Faces crops that the labels name")


def read_3ddfa_list(
    path: str | Path,
    *,
    member: str | None = None,
    arrays: str | Path | None = None,
    landmarks: str | Path | None = None,
) -> tuple[Sample, ...]:
    """Read a list of crops of 120 x 120 pixels with arrays beside it, as in 3DDFA's code, in the list's order.

    3DDFA is Zhu et al., CVPR 2016, in the code of Guo et al., whose test sets are `test.data/AFLW2000-3D_crop.list`
    and `test.data/AFLW_GT_crop.list`.

    `path` is the list, or a folder or `.zip` that holds it (`member` selects one of several). A list NAME_crop.list
    names one picture per line, in the folder `NAME_crop` beside it or directly beside it. The arrays lie anywhere
    below `path`, or below the folder or zip `arrays` (3DDFA's `test.configs`):

    - `NAME.pts68.npy`: landmarks (n, 2 or 3, 68) in the photo's pixels, or instead of it the file `landmarks`, such
      as `AFLW2000-3D-Reannotated.pts68.npy`;
    - `NAME.pts21.npy`: AFLW's points (n, 2, 21), -1 where a point is not visible;
    - `NAME.pose.npy` or `NAME_crop_yaws.npy`: yaw (n,) in degrees; the other angles are then NaN;
    - `NAME_crop.roi_box.npy`: the crop's left, top, right and bottom (n, 4) in the photo, which all points need.

    The first dot may also be `_`. A crop that was clipped at the photo's edge is squeezed to a square, and so are its
    points; depth is scaled like x. The parameters of the training lists, which come as pickles, are not read.

    Raises `DatasetError` also if there is no array, or if its length differs from the list's. See `m4kit.datasets`
    for warnings and other errors.
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
    rows = {"pts68": [(3, 68), (2, 68)], "pts21": [(2, 21)], "yaw": [()], "roi": [(4,)]}
    check_arrays({"names": np.array(lines), **found}, {"names": [()]}, rows, path)
    folders = (PurePosixPath(list_name).with_suffix(""), PurePosixPath(list_name).parent)
    faces = _faces(files, lines, found, folders=folders)
    return collect(path, faces, _read_crop, expected=f"crops that {list_name} names")


def _faces(
    files: Files,
    names: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    *,
    folders: Sequence[object] = (".",),
    side: int = CROP_SIZE,
) -> list[tuple]:
    """The arguments of `_read_crop` for each face, after its name, for `collect`."""
    names = [str(name) for name in names]
    named = picture_names(names)
    return [
        (
            name or f"line {row + 1}",
            files,
            named[name],
            [f"{folder}/{name}" for folder in folders if name],
            {key: array[row] for key, array in arrays.items()},
            side,
        )
        for row, name in enumerate(names)
    ]


def _read_crop(
    files: Files, name: str, places: Sequence[str], labels: Mapping[str, np.ndarray], side: int
) -> Sample:
    """The sample of a crop picture of that side, which lies at the first of the places where there is one."""
    image = files.picture(*places)
    box = checked_box(*labels["roi"]) if "roi" in labels else np.array([0, 0, side, side])
    landmarks = points21 = pose = None
    if "pts68" in labels:
        check_points(labels["pts68"])
        landmarks = checked_landmarks(_to_crop(labels["pts68"].T, box, side))
    if "pts21" in labels:
        points21 = labels["pts21"].T
        check_points(points21)
        visible = (points21 != -1).all(axis=1, keepdims=True)
        points21 = np.where(visible, _to_crop(points21, box, side), np.nan)
    if "yaw" in labels:
        if not np.isfinite(labels["yaw"]):
            raise DatasetError(f"expected a finite yaw, got {labels['yaw']}")
        pose = HeadPose(float(labels["yaw"]), np.nan, np.nan)
    person = str(labels["identity"]) if "identity" in labels else None
    return Sample(name, image, landmarks, points21, pose, Crop(-_EDGE, -_EDGE, side), person=person)


def _to_crop(points: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """Points (n, 2 or 3) of a photo in the pixels of the crop picture that shows the box (4,)."""
    scale = side / (box[2:] - box[:2])
    crop = points.astype(float) * scale[0]
    crop[:, :2] = (points[:, :2] - box[:2]) * scale - _EDGE
    return crop


def _find_arrays(files: Files, name: str) -> dict[str, np.ndarray]:
    """3DDFA's arrays of a list, those that exist, by the keys of `_ARRAYS`."""
    by_file = {PurePosixPath(file).name: file for file in reversed(files.names())}
    found = {}
    for key, endings in _ARRAYS.items():
        for file in (f"{base}{ending}" for base in (name.removesuffix("_crop"), name) for ending in endings):
            if file in by_file:
                found[key] = load_arrays(files.read(by_file[file]), f"{files.path}/{by_file[file]}")
                break
    return found
