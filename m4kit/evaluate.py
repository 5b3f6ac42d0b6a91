"""How well landmarks and head pose are predicted on a labelled set: the protocol, and its report.

The network's part is a callable over crops, so that any network can be put to it (see `benchmarks/peers.py`).
The figure that papers quote for AFLW2000-3D is `LandmarkEvaluation.balanced`, on ground-truth crops.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm

from m4kit import metrics
from m4kit.camera import HeadPose, cut_crop, head_pose
from m4kit.datasets import DatasetError, Sample, read_aflw2000_3d, warn_left_out
from m4kit.face_model import FaceModel
from m4kit.images import ImageError
from m4kit.metrics import BalancedMean
from m4kit.network import M4Net, to_input

PredictCrops = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""What is evaluated: crops (n, 120, 120, 3) uint8 RGB in; out landmarks (n, 68, 2 or 3) in the crop frame
(crop pixels, y up, origin at the crop's centre) and cameras (n, 3, 4) into that frame."""

POSE_LIMIT = 99.0
"""Faces with a true angle beyond this many degrees do not count for the pose, by the set's custom."""


@dataclass(frozen=True)
class LandmarkEvaluation:
    """What came out for each of n faces; the properties sum it up.

    `nme` (n,) and `error_vectors` (n, 2), x and y of predicted - true with y down, are percents of sqrt(w *
    h) of the true landmarks' box. `true_poses` and `pose_errors` (n, 3) are yaw, pitch and roll in degrees.
    `left_out` names the faces whose picture could not be read.
    """

    names: tuple[str, ...] = field(repr=False)
    nme: np.ndarray = field(repr=False)
    error_vectors: np.ndarray = field(repr=False)
    true_poses: np.ndarray = field(repr=False)
    pose_errors: np.ndarray = field(repr=False)
    published_crops: bool
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def balanced(self) -> BalancedMean:
        """NME in percent as the mean of the yaw bins, with the bins."""
        return metrics.balanced_mean(self.nme, self.true_poses[:, 0])

    @property
    def mean_error(self) -> np.ndarray:
        """The constant part of the error, (2,): x, y in percent, y down."""
        return self.error_vectors.mean(axis=0)

    @property
    def pose_counted(self) -> np.ndarray:
        """Which faces count for the pose, (n,) bool: those with every true angle within `POSE_LIMIT`."""
        return (np.abs(self.true_poses) <= POSE_LIMIT).all(axis=1)

    @property
    def pose_mae(self) -> HeadPose:
        """Mean absolute errors of the angles in degrees over the faces that count; NaN if none does."""
        counted = self.pose_errors[self.pose_counted]
        return HeadPose(*map(float, counted.mean(axis=0) if len(counted) else (np.nan,) * 3))

    def balanced_interval(self, *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """Bootstrap interval of the balanced NME in percent."""
        return metrics.bootstrap_interval(
            np.column_stack([self.nme, self.true_poses[:, 0]]),
            statistic=lambda rows: metrics.balanced_mean(*rows.T).mean,
            confidence=confidence,
            seed=seed,
        )

    def report(self) -> str:
        """The figures as text, one a line; the one that papers quote is `NME balanced: ... %`."""
        crops = "the published 120x120 crops" if self.published_crops else "crops cut anew from the photos"
        balanced, (low, high), (x, y) = self.balanced, self.balanced_interval(), self.mean_error
        pose, counted = self.pose_mae, self.pose_counted.sum()
        lines = [f"{len(self)} faces, ground-truth boxes, {crops}"]
        if self.left_out:
            lines.append(f"left out, unreadable: {len(self.left_out)}")
        lines += [
            f"NME |yaw| {lowest:2d} to {highest}: {mean:.2f} % ({count} faces)"
            for (lowest, highest), mean, count in zip(
                metrics.YAW_BINS, balanced.bins, balanced.counts, strict=True
            )
        ]
        lines += [
            f"NME balanced: {balanced.mean:.2f} %",
            f"NME balanced, 95 % interval: {low:.2f} to {high:.2f} %",
            f"NME over all faces: {self.nme.mean():.2f} %",
            f"mean error vector: x {x:+.2f} %, y {y:+.2f} % (predicted - true; x right, y down)",
            f"pose MAE: yaw {pose.yaw:.2f}, pitch {pose.pitch:.2f}, roll {pose.roll:.2f}, "
            f"mean {np.mean(pose):.2f} degrees ({counted} faces with every angle within {POSE_LIMIT:.0f})",
        ]
        return "\n".join(lines)


def evaluate_landmarks(
    predict_crops: PredictCrops,
    samples: Iterable[Sample],
    *,
    published_crops: bool = False,
    batch_size: int = 50,
    progress: bool = True,
) -> LandmarkEvaluation:
    """Predict every face from its ground-truth crop, and compare in photo pixels.

    The crop is cut anew from the photo (`camera.cut_crop`), or with `published_crops` the one that comes with
    the set, mapped back by the set's own rule. Faces whose picture cannot be read are left out, with one
    warning that names them; if none is left, or crops are asked for that the set lacks, that is a
    `DatasetError`.
    """
    samples = list(samples)
    if published_crops and any(sample.published_crop is None for sample in samples):
        lacking = sum(sample.published_crop is None for sample in samples)
        raise DatasetError(
            f"published crops: expected one for each of {len(samples)} faces, {lacking} have none; put the "
            "set's crop folder and its .npz with the boxes beside the photos, or evaluate on crops cut anew"
        )
    kept, landmarks, poses, left_out = [], [], [], []
    with tqdm(total=len(samples), unit="face", disable=not progress) as bar:
        for start in range(0, len(samples), batch_size):
            batch = samples[start : start + batch_size]
            readable, crops = _read_crops(batch, published_crops, left_out)
            if readable:
                points, cameras = _predict(predict_crops, np.stack(crops))
                kept += readable
                poses += [head_pose(camera) for camera in cameras]
                landmarks += [
                    (sample.published_box if published_crops else sample.crop).to_photo(face)
                    for sample, face in zip(readable, points, strict=True)
                ]
            bar.update(len(batch))
    warn_left_out("evaluate_landmarks", left_out)
    if not kept:
        raise DatasetError(
            f"expected at least one readable face, got {len(samples)} of which none could be read"
        )
    true = np.stack([sample.landmarks for sample in kept])
    true_poses = np.array([sample.pose for sample in kept])
    predicted = np.stack(landmarks)
    return LandmarkEvaluation(
        names=tuple(sample.name for sample in kept),
        nme=metrics.nme(predicted, true),
        error_vectors=metrics.mean_error_vector(predicted, true),
        true_poses=true_poses,
        pose_errors=metrics.pose_error(np.array(poses), true_poses),
        published_crops=published_crops,
        left_out=tuple(left_out),
    )


def crop_predictor(network: M4Net, model: FaceModel) -> PredictCrops:
    """What `evaluate_landmarks` takes, of M4Net and the face model that its parameters are of."""

    def predict_crops(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            parameters = network(to_input(crops))
            cameras = parameters[:, :12].reshape(-1, 3, 4)
            shapes = model.landmarks(parameters[:, 12:52], parameters[:, 52:62])
            points = shapes @ cameras[..., :3].mT + cameras[:, None, :, 3]
        return points.numpy(), cameras.numpy()

    return predict_crops


def add_parser(subparsers) -> None:
    """Add `m4kit evaluate`."""
    parser = subparsers.add_parser("evaluate", help="measure a network's errors on a data set")
    targets = parser.add_subparsers(title="what to evaluate", metavar="TARGET", required=True)
    landmarks = targets.add_parser(
        "landmarks",
        help="68 landmarks and head pose",
        description="NME of the 68 landmarks and error of the head pose on ground-truth crops.",
    )
    landmarks.add_argument("path", metavar="PATH", help="the data set: its folder, or a .zip read in place")
    landmarks.add_argument(
        "--dataset", required=True, choices=["aflw2000-3d"], help="which data set lies at PATH"
    )
    landmarks.add_argument(
        "--published-crops",
        action="store_true",
        help="use the 120x120 crops that lie beside the photos, instead of cutting them anew",
    )
    landmarks.add_argument(
        "--weights",
        default="m4net-base",
        metavar="NAME_OR_FILE",
        help="M4Net's weights (default: %(default)s)",
    )
    landmarks.add_argument("--quiet", action="store_true", help="no progress bar")
    landmarks.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `m4kit evaluate landmarks`: print the report; 0, or 2 if the set or the weights cannot be read."""
    try:
        predict_crops = crop_predictor(M4Net.load(options.weights), FaceModel.load())
        result = evaluate_landmarks(
            predict_crops,
            read_aflw2000_3d(options.path),
            published_crops=options.published_crops,
            progress=not options.quiet,
        )
    # DatasetError, WeightsError and FaceModelError are values that are wrong.
    except (ValueError, FileNotFoundError) as error:
        print(f"m4kit evaluate: {error}", file=sys.stderr)
        return 2
    print(result.report())
    return 0


def _read_crops(
    samples: Sequence[Sample], published_crops: bool, left_out: list[str]
) -> tuple[list[Sample], list[np.ndarray]]:
    """The samples that can be read and their crops; the others' names go to `left_out`."""
    readable, crops = [], []
    for sample in samples:
        try:
            crops.append(
                sample.published_crop() if published_crops else cut_crop(sample.image(), sample.crop)
            )
            readable.append(sample)
        except ImageError as error:
            left_out.append(f"{sample.name} ({error})")
    return readable, crops


def _predict(predict_crops: PredictCrops, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points, cameras = (np.asarray(output, dtype=float) for output in predict_crops(crops))
    n = len(crops)
    if points.shape not in ((n, 68, 2), (n, 68, 3)) or cameras.shape != (n, 3, 4):
        raise ValueError(
            f"predict_crops: expected landmarks ({n}, 68, 2 or 3) and cameras ({n}, 3, 4) for {n} crops, "
            f"got {points.shape} and {cameras.shape}"
        )
    return points, cameras
