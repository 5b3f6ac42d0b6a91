"""A tiny data set in the published layout of AFLW2000-3D, for the tests of reader and evaluation."""

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

POSES = {"image00002": (5.0, 10.0, -3.0), "image00004": (-45.0, -8.0, 12.0), "image00006": (75.0, 2.0, 120.0)}
"""True yaw, pitch, roll in degrees of the three faces, one in each yaw bin."""
GREYS = {"image00002": 50, "image00004": 100, "image00006": 200}
"""Each photo is of one grey, by which a test's network knows the face."""
BOXES = {"image00002": (20, 30, 140, 150), "image00004": (10, 10, 310, 250), "image00006": (-5, 0, 235, 240)}


def true_landmarks(name: str) -> np.ndarray:
    """Landmarks (68, 3) in photo pixels, in a box of 80 x 45, so sqrt(w * h) = 60."""
    points = np.random.default_rng(GREYS[name]).uniform(0, 1, (68, 3))
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    return points * [80, 45, 30] + [60, 70, 0]


def write_set(folder: Path, *, crops: bool = False) -> Path:
    """Write the set below a folder as the published archive has it; the folder."""
    for name, (yaw, pitch, roll) in POSES.items():
        photo = folder / "AFLW2000" / f"{name}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 180), (GREYS[name],) * 3).save(photo)
        labels = {
            # The set counts pixels from 1.
            "pt3d_68": np.add(true_landmarks(name), [1, 1, 0]).T.astype(np.float32),
            "Pose_Para": np.radians([[pitch, yaw, roll, 0, 0, 0, 0]]).astype(np.float32),
            # As in the published files, of another photo's pixels: never to be used.
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
