"""AFLW2000-3D and 300W-LP: a `.mat` beside each photo (Zhu et al., CVPR 2016).

Both sets count pixels from 1, m4kit from 0: landmarks and boxes are moved by 1. (Matched against AFLW2000-3D's
photos, the published crops' content begins 1.0 pixel before their boxes' left edge counted from 0.)
"""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

import numpy as np
import scipy.io

from m4kit.camera import HeadPose, crop_from_landmarks
from m4kit.datasets.files import Files, array_file, check_arrays, load_arrays, open_files, stem
from m4kit.datasets.sample import DatasetError, PublishedBox, Sample, checked_landmarks, collected

_KEYS = ("pt3d_68", "pt2d", "Pose_Para", "Shape_Para", "Exp_Para")
# Of 300W-LP's archive: MATLAB code with models of its own, and the landmarks once more without photos.
_OTHER_FOLDERS = {"code", "landmarks"}


def read_aflw2000_3d(
    path: str | Path, *, published_boxes: str | Path | None = None, reannotated: bool = False
) -> tuple[Sample, ...]:
    """The samples of AFLW2000-3D in its published layout, sorted by name.

    2,000 photos of 450 x 450 pixels, each with the 68 landmarks (68, 3) of one face and its head pose, AFLW's 21
    points and the coefficients of its 3DMM.

    `path` is a folder or a `.zip`, read in place, that holds somewhere in it a folder of `NAME.jpg` and
    `NAME.mat` (`pt3d_68`, `Pose_Para`). The `roi` in the `.mat` files belongs to other photos' pixels and is
    not read; the crop is the rule's, `camera.crop_from_landmarks`, and may reach beyond the photo, where the
    published boxes are clipped to it.

    Published crops are taken where they are: `NAME.jpg` in a folder `crop`, and an `.npz` with `names` (n,)
    and `roi` (n, 4), by default the one beside `path` of the same name.

    `reannotated` takes the landmarks (68, 2) of Bulat and Tzimiropoulos (ICCV 2017) instead, `pts68_reannotated`
    (n, 2, 68) of that file. Crops stay those of the original landmarks.

    Faces whose files are missing or broken are left out, with one warning that counts and names them. Raises
    `FileNotFoundError` if there is no `path`, and `DatasetError` if it holds no face.
    """
    files = open_files(path, expected="AFLW2000-3D")
    names = files.names()
    photos, labels = _fullest_folder(names, path)
    boxes = _read_boxes(path, published_boxes)
    others = _read_reannotated(path, published_boxes) if reannotated else None
    crops = {PurePosixPath(name).stem: name for name in names if _is_crop(name)}
    samples, left_out = [], []
    for name in sorted(photos.keys() | labels.keys()):
        try:
            truth = _read_truth(files, photos.get(name), labels.get(name), depth=True)
            if others is not None:
                if name not in others:
                    raise DatasetError("not reannotated")
                truth["landmarks"] = checked_landmarks(others[name])
        except DatasetError as error:
            left_out.append(f"{name} ({error})")
            continue
        published = name in boxes and name in crops
        samples.append(
            Sample(
                name=name,
                image=files.image(photos[name]),
                published_crop=files.image(crops[name]) if published else None,
                published_box=boxes[name] if published else None,
                **truth,
            )
        )
    return collected(path, samples, left_out, expected="faces of AFLW2000-3D", unit="files")


def read_300w_lp(path: str | Path) -> tuple[Sample, ...]:
    """The samples of 300W-LP in its published layout, sorted by name (`AFW_Flip/AFW_1051618982_1_3`).

    Photos of 300W turned to larger yaws in steps, and all of them mirrored: the many pictures of one photo
    differ in the last number of their names.

    `path` is a folder or a `.zip`, read in place: every `NAME.jpg` with a `NAME.mat` beside it counts, in any
    folder below it but `Code` and `landmarks`; folders without any `.mat` are passed over. Landmarks are
    `pt3d_68` (68, 3) where a file has them, else `pt2d` (68, 2), whose jaw in older files follows the contour
    that the photo shows, not the one in 3D. The crop is the rule's, `camera.crop_from_landmarks`; the files'
    `roi` is not read.

    Faces whose files are missing or broken are left out, with one warning that counts and names them. Raises
    `FileNotFoundError` if there is no `path`, and `DatasetError` if it holds no face.
    """
    files = open_files(path, expected="300W-LP")
    photos, labels = {}, {}
    for name in files.names():
        file = PurePosixPath(name)
        if not _OTHER_FOLDERS.intersection(part.lower() for part in file.parts[:-1]):
            {".jpg": photos, ".mat": labels}.get(file.suffix, {})[stem(name)] = name
    if not photos.keys() & labels.keys():
        raise DatasetError(_no_pair(path, "300W-LP"))
    folders = {PurePosixPath(name).parent for name in labels}
    names = {name for name in photos if PurePosixPath(name).parent in folders} | labels.keys()
    samples, left_out = [], []
    for name in sorted(names):
        try:
            truth = _read_truth(files, photos.get(name), labels.get(name), depth=False)
        except DatasetError as error:
            left_out.append(f"{name} ({error})")
            continue
        samples.append(Sample(name=name, image=files.image(photos[name]), **truth))
    return collected(path, samples, left_out, expected="faces of 300W-LP", unit="files")


def _is_crop(name: str) -> bool:
    return PurePosixPath(name).suffix == ".jpg" and PurePosixPath(name).parent.name == "crop"


def _no_pair(path: str | Path, dataset: str) -> str:
    return (
        f"{path}: expected {dataset}, a folder with NAME.jpg and NAME.mat side by side, found no such pair; "
        "unpack the published archive, or give the .zip itself"
    )


def _fullest_folder(names: list[str], path: str | Path) -> tuple[dict[str, str], dict[str, str]]:
    """Photos and labels by the face's name, in the folder that holds the most pairs of them."""
    folders: dict[PurePosixPath, tuple[dict[str, str], dict[str, str]]] = {}
    for file in map(PurePosixPath, names):
        if file.suffix in (".jpg", ".mat"):
            photos, labels = folders.setdefault(file.parent, ({}, {}))
            (photos if file.suffix == ".jpg" else labels)[file.stem] = str(file)
    photos, labels = max(
        folders.values(), key=lambda pair: len(pair[0].keys() & pair[1].keys()), default=({}, {})
    )
    if not photos.keys() & labels.keys():
        raise DatasetError(_no_pair(path, "AFLW2000-3D"))
    return photos, labels


def _read_truth(files: Files, photo: str | None, mat: str | None, *, depth: bool) -> dict[str, object]:
    """What a `.mat` knows, as fields of `Sample`; without `depth`, `pt2d` will do for the landmarks."""
    if photo is None or mat is None:
        raise DatasetError(f"no {'.jpg' if photo is None else '.mat'}")
    content = files.read(mat)
    try:
        labels = scipy.io.loadmat(io.BytesIO(content), variable_names=_KEYS)
    # What scipy raises depends on which byte is wrong.
    except Exception as error:
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
    return {
        "landmarks": landmarks,
        "points21": points21,
        "pose": HeadPose(float(yaw), float(pitch), float(roll)),
        "crop": crop_from_landmarks(landmarks),
        "shape_para": _array(labels, "Shape_Para", (199, 1))[:, 0] if "Shape_Para" in labels else None,
        "exp_para": _array(labels, "Exp_Para", (29, 1))[:, 0] if "Exp_Para" in labels else None,
    }


def _array(labels: dict, key: str, shape: tuple[int, int]) -> np.ndarray:
    array = np.asarray(labels.get(key, ()))
    if array.shape != shape or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise DatasetError(f"expected finite {key} {shape}, got {array.dtype} {array.shape}")
    return array.astype(float)


def _read_reannotated(path: str | Path, file: str | Path | None) -> dict[str, np.ndarray]:
    """The second landmarks (68, 2) in photo pixels counted from 0, by the face's name."""
    file = array_file(path) if file is None else Path(file)
    arrays = load_arrays(file, file)
    check_arrays(arrays, {"names": [()], "pts68_reannotated": [(2, 68)]}, set(), file)
    points = arrays["pts68_reannotated"].transpose(0, 2, 1).astype(float) - 1
    return {PurePosixPath(str(name)).stem: face for name, face in zip(arrays["names"], points, strict=True)}


def _read_boxes(path: str | Path, published_boxes: str | Path | None) -> dict[str, PublishedBox]:
    """Boxes of the published crops by the face's name; none if no file was asked for and none lies there."""
    file = array_file(path) if published_boxes is None else Path(published_boxes)
    if published_boxes is None and not file.exists():
        return {}
    arrays = load_arrays(file, file)
    check_arrays(arrays, {"names": [()], "roi": [(4,)]}, set(), file)
    return {
        PurePosixPath(str(name)).stem: PublishedBox(*(float(value) - 1 for value in roi))
        for name, roi in zip(arrays["names"], arrays["roi"], strict=True)
    }
