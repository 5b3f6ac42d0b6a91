"""Measures how much each condition adds to the error of 3DDFA-V2's mb1, and which strengths would add the same.

    python benchmarks/severities.py --data DATA --peer-files PEER_FILES [--faces 600] [--seed 0] [--cost 0.78]

The faces are held-out people of AFLW and YouTube Faces, half of each, in the folder DATA. mb1's files are in
PEER_FILES. A crop is the middle of a photo whose margins repeat the crop's rim: AFLW's crops have 0.62 of their
photos' side (median). The photo is degraded as `degrade` does it, with the face's depth. Then mb1 sees the crop, cut
out again.

The cost is the added error: the mean distance to the annotated points, in percent of the face's size, less that in
the clean crop. Before, mb1's own habits are taken off: for each annotated point the mean offset on clean crops, in
the frame of the head. AFLW's ears, which are no landmarks, and the outline of YouTube Faces are left
out. The drift, the distance of mb1's landmarks from those in the clean crop, needs no annotation and is printed as a
check.

The strength for the common cost lies on straight lines between the costs of severities 0 to 5. The common cost is by
default the median of the conditions' costs at severity 3.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from m4kit.camera import CROP_SIZE, Crop, decompose
from m4kit.conditions import CONDITIONS, landmark_depth
from m4kit.conditions.degradation import STRENGTHS, at_strength
from m4kit.evaluate import PredictCrops
from m4kit.landmarks import face_size
from m4kit.peers import TddfaV2
from m4kit.training.data import LOOSE_21, averaging_matrix, point_weights
from m4kit.training.sources import SOURCES, Source, read_source

SHARE = 0.62
"""Side of a crop divided by its photo's, the median of AFLW's training faces."""

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Faces:
    """n faces of a source: clean crops (n, 120, 120, 3) and annotated points (n, P, 2) in the crop frame.

    `matrix` (P, 68) makes the annotated points of 68 landmarks; points that are not used are NaN.
    """

    crops: np.ndarray
    points: np.ndarray
    matrix: np.ndarray


def read_faces(source: Source, count: int, seed: int) -> Faces:
    """Draw held-out faces of a source at random, with at least four points to use."""
    if source.name == "aflw_train":
        points, matrix = source.points21.astype(float), averaging_matrix().astype(float)
        points[:, point_weights(21, LOOSE_21) == 0] = np.nan
    else:
        points, matrix = source.points68.astype(float), np.eye(68)
        points[:, :17] = np.nan
    usable = source.validation & (np.isfinite(points).all(-1).sum(1) >= 4)
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(usable))[:count]
    return Faces(source.crops(chosen), points[chosen], matrix)


class Cost:
    """mb1's error on the faces of a source, compared with that on their clean crops."""

    def __init__(self, faces: Faces, predict_crops: PredictCrops):
        self.faces, self.predict_crops = faces, predict_crops
        self.clean, cameras = predict_crops(faces.crops)
        self.size = face_size(self.clean)
        scale, rotation, _ = decompose(cameras)
        self.habits = _habits(self._offsets(self.clean), scale[:, None, None] * rotation[:, :2])
        self.clean_error = self.error(self.clean)
        margin = round((CROP_SIZE / SHARE - CROP_SIZE) / 2)
        self.inner = np.s_[margin : margin + CROP_SIZE, margin : margin + CROP_SIZE]
        self.photos = [cv2.copyMakeBorder(crop, *[margin] * 4, cv2.BORDER_REPLICATE) for crop in faces.crops]
        where = Crop(margin - 0.5, margin - 0.5, CROP_SIZE)
        self.depths = [
            landmark_depth(photo.shape, [where.to_photo(points)])
            for photo, points in zip(self.photos, self.clean, strict=True)
        ]

    def error(self, landmarks: np.ndarray) -> np.ndarray:
        """Compute the mean distance (n,) of landmarks (n, 68, 3) to annotated points, without habits, in percent."""
        offsets = self._offsets(landmarks) - self.habits
        return 100 * np.nanmean(np.linalg.norm(offsets, axis=-1), axis=1) / self.size

    def measure(self, condition: str, strength: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Measure added error (n,) and drift (n,) in percent under a condition; each face has its own seed."""
        crops = [
            at_strength(photo, condition, strength, seed=seed * len(self.photos) + number, depth=depth)[
                self.inner
            ]
            for number, (photo, depth) in enumerate(zip(self.photos, self.depths, strict=True))
        ]
        landmarks, _ = self.predict_crops(np.stack(crops))
        drift = np.linalg.norm((landmarks - self.clean)[..., :2], axis=-1).mean(1)
        return self.error(landmarks) - self.clean_error, 100 * drift / self.size

    def _offsets(self, landmarks: np.ndarray) -> np.ndarray:
        return self.faces.matrix @ landmarks[..., :2] - self.faces.points


def _habits(offsets: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Find the part (n, P, 2) of offsets (n, P, 2) that is the same on all heads, by least squares for each point.

    `frames` (n, 2, 3) take the frame of the head to the crop's.
    """
    habits = np.zeros_like(offsets)
    for point in range(offsets.shape[1]):
        seen = np.isfinite(offsets[:, point]).all(-1)
        if seen.sum() >= 3:
            left, right = frames[seen].reshape(-1, 3), offsets[seen, point].ravel()
            habits[:, point] = frames @ np.linalg.lstsq(left, right, rcond=None)[0]
    return habits


def strength_for(cost: float, strengths: np.ndarray, costs: np.ndarray) -> float:
    """Find the smallest strength that has a cost, on straight lines between measured costs; NaN if none has it.

    `strengths` rise from 0, where the cost is 0. Where a cost falls by chance, the largest so far counts.
    """
    costs = np.maximum.accumulate(costs)
    after = int(np.searchsorted(costs, cost))
    if after == len(costs):
        return np.nan
    low, high = costs[after - 1], costs[after]
    return float(
        strengths[after - 1] + (cost - low) / (high - low) * (strengths[after] - strengths[after - 1])
    )


def main() -> None:
    """Print the costs of all conditions, and the strengths for a common cost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of aflw_train and youtube_faces")
    parser.add_argument("--peer-files", type=Path, required=True, help="folder with 3DDFA-V2's files")
    parser.add_argument("--faces", type=int, default=600, help="default: 600")
    parser.add_argument("--seed", type=int, default=0, help="draws the faces and the conditions (default: 0)")
    parser.add_argument(
        "--cost", type=float, help="common cost at severity 3 in percent (default: the median)"
    )
    options = parser.parse_args()
    predict_crops = TddfaV2(options.peer_files).predict_crops
    sources = [
        Cost(
            read_faces(read_source(options.data, name), options.faces // 2, options.seed),
            predict_crops,
        )
        for name in reversed(SOURCES)
    ]
    rows = []
    for condition in tqdm(CONDITIONS, desc="conditions"):
        for severity in SEVERITIES:
            measured = [
                one.measure(condition, severity * STRENGTHS[condition], seed=options.seed) for one in sources
            ]
            added, drift = (np.concatenate(values) for values in zip(*measured, strict=True))
            rows.append((condition, severity, added.mean(), added.std() / np.sqrt(len(added)), drift.mean()))
    table = pd.DataFrame(rows, columns=["condition", "severity", "added", "error", "drift"])
    print(report(table, options.cost, clean=np.concatenate([one.clean_error for one in sources])))


def report(table: pd.DataFrame, cost: float | None, *, clean: np.ndarray) -> str:
    """Write the measured costs, and for each condition the strength for the common cost at severity 3."""
    added, error, drift = (
        table.pivot(index="severity", columns="condition", values=value)[list(CONDITIONS)]
        for value in ("added", "error", "drift")
    )
    cost = float(added.loc[3].median()) if cost is None else cost
    needed = {}
    for condition in CONDITIONS:
        strengths = np.array([0, *added.index]) * STRENGTHS[condition]
        needed[condition] = strength_for(cost, strengths, np.array([0, *added[condition]])) / 3
    scale = pd.DataFrame({"now": STRENGTHS, "for the common cost": needed}).T[list(CONDITIONS)]
    return "\n".join(
        [
            f"mb1 on {len(clean)} faces, clean: {clean.mean():.2f} % without habits",
            "added error in percent of the face's size, by severity:",
            added.round(2).to_string(),
            "its standard error:",
            error.round(2).to_string(),
            "drift from the clean answer in percent:",
            drift.round(2).to_string(),
            f"strength at severity 1; at severity 3 the common cost is {cost:.2f} %:",
            scale.round(2).to_string(),
        ]
    )


if __name__ == "__main__":
    main()
