"""A tiny data set in the published layout of AFLW2000-3D, for the tests of reader and evaluation."""

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from m4kit.camera import crop_from_landmarks, rotation_from_euler

POSES = {"image00002": (5.0, 10.0, -3.0), "image00004": (-45.0, -8.0, 12.0), "image00006": (75.0, 2.0, 120.0)}
"""True yaw, pitch, roll in degrees of the three faces, one in each yaw bin."""
GREYS = {"image00002": 50, "image00004": 100, "image00006": 200}
"""The grey of each photo, by which the made-up network recognises the face."""
BOXES = {"image00002": (20, 30, 140, 150), "image00004": (10, 10, 310, 250), "image00006": (-5, 0, 235, 240)}


def true_landmarks(name: str) -> np.ndarray:
    """Landmarks (68, 3) in photo pixels, in a box of 80 x 45, so sqrt(w * h) = 60."""
    points = np.random.default_rng(GREYS[name]).uniform(0, 1, (68, 3))
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    return points * [80, 45, 30] + [60, 70, 0]


def write_set(folder: Path, *, crops: bool = False) -> Path:
    """Write the set below a folder in its published layout; returns the folder."""
    for name, (yaw, pitch, roll) in POSES.items():
        photo = folder / "AFLW2000" / f"{name}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 180), (GREYS[name],) * 3).save(photo)
        labels = {
            # The set counts pixels from 1.
            "pt3d_68": np.add(true_landmarks(name), [1, 1, 0]).T.astype(np.float32),
            "Pose_Para": np.radians([[pitch, yaw, roll, 0, 0, 0, 0]]).astype(np.float32),
            # As in the published files, it refers to another photo and must not be used.
            "roi": np.array([[1, 2, 3, 4]]),
        }
        scipy.io.savemat(photo.with_suffix(".mat"), labels)
    if crops:
        for name in POSES:
            crop = folder / "crop" / f"{name}.jpg"
            crop.parent.mkdir(exist_ok=True)
            Image.new("RGB", (120, 120), (GREYS[name],) * 3).save(crop)
        np.savez(
            folder.with_suffix(".npz"),
            names=np.array([f"{name}.jpg" for name in BOXES]),
            roi=np.array(list(BOXES.values()), np.float32) + 1,
        )
    return folder


def _frame_of_published_box(name):
    """The inverse of the published mapping: photo points to crop-frame points."""
    left, top, right, bottom = BOXES[name]

    def from_photo(points):
        x = (points[:, 0] - left) * 120 / (right - left) - 60
        y = 60 - (points[:, 1] - top) * 120 / (bottom - top)
        return np.column_stack([x, y])

    return from_photo


def knowing_network(*, published=False, shift=(0, 0), turn=(0, 0, 0)):
    """A network that recognises each face by its grey, and answers the truth, shifted in the photo and turned."""

    def predict_crops(crops):
        landmarks, cameras = [], []
        for crop in crops:
            name = min(GREYS, key=lambda name: abs(GREYS[name] - int(crop[60, 60, 0])))
            true = true_landmarks(name)[:, :2]
            crop_of = crop_from_landmarks(true)
            from_photo = _frame_of_published_box(name) if published else crop_of.from_photo
            landmarks.append(from_photo(true + shift))
            rotation = rotation_from_euler(*np.add(POSES[name], turn))
            cameras.append(np.column_stack([0.7 * rotation, [1, 2, 3]]))
        return np.stack(landmarks), np.stack(cameras)

    return predict_crops
