"""Measures errors of landmarks and head pose on a labelled set.

The network is a function of crops, so that any network can be evaluated (see `m4kit.peers`). The figure that
papers quote for AFLW2000-3D is `LandmarkEvaluation.balanced`, on ground-truth crops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from tqdm import tqdm

from m4kit import metrics
from m4kit.camera import HeadPose, head_pose, rotation_from_euler
from m4kit.datasets import DatasetError, Sample
from m4kit.evaluate.crops import in_order, over_crops
from m4kit.landmarks import GROUP_MEMBERS, face_size
from m4kit.metrics import BalancedMean
from m4kit.tables import as_text
from m4kit.views import PredictCrops

POSE_LIMIT = 99.0
"""Faces with a true angle beyond this many degrees are left out of pose errors, as is usual for AFLW2000-3D."""

FRONTAL = 15.0
"""The largest |yaw| in degrees of the faces whose depth bias is reported: there the camera looks along the depth."""

LIPS_CLOSED, LIPS_OPEN = 1.2, 3.0
"""Percent of the face's size: lips with a smaller gap are closed, lips with a larger one are clearly open."""

UNKNOWN = "unknown"
"""The artist of a picture that names none, in a set of works of art."""

DEPTH_GROUPS = {
    "jaw": GROUP_MEMBERS["jaw"],
    "brows": GROUP_MEMBERS["brows"],
    "nose bridge": [27, 28, 29],
    "nose tip": [30],
    "nostrils": [31, 32, 33, 34, 35],
    "eyes": GROUP_MEMBERS["eyes"],
    "lips": GROUP_MEMBERS["lips"],
}
"""The landmarks of each group of the depth bias. The nose is divided: its bridge and its tip err differently."""


@dataclass(frozen=True)
class LandmarkEvaluation:
    """Predictions and truth of n faces; the properties are their errors.

    `predicted` and `true` (n, 68, 2 or 3) are landmarks in photo pixels, with z towards the camera. `true_poses` and
    `predicted_poses` (n, 3) are yaw, pitch and roll in degrees, NaN where unknown. `inputs` describes what the
    network saw. `left_out` names the faces whose picture could not be read, and `missed` those that the network did
    not find in their crops. `artists` (n,) names who made each picture, None where unknown; it is empty for photos.
    """

    names: tuple[str, ...] = field(repr=False)
    predicted: np.ndarray = field(repr=False)
    true: np.ndarray = field(repr=False)
    predicted_poses: np.ndarray = field(repr=False)
    true_poses: np.ndarray = field(repr=False)
    inputs: str
    left_out: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    artists: tuple[str | None, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def nme(self) -> np.ndarray:
        """Error of each face, (n,), in percent of sqrt(w * h) of the box of its true landmarks."""
        return metrics.nme(self.predicted, self.true)

    @cached_property
    def error_vectors(self) -> np.ndarray:
        """Mean of predicted - true for each face, (n, 2): x, y in percent as for `nme`, y down."""
        return metrics.mean_error_vector(self.predicted, self.true)

    @cached_property
    def pose_errors(self) -> np.ndarray:
        """Absolute errors of yaw, pitch and roll, (n, 3), in degrees."""
        return metrics.pose_error(self.predicted_poses, self.true_poses)

    @cached_property
    def rotation_errors(self) -> np.ndarray:
        """Geodesic angle between predicted and true rotation, (n,), in degrees; NaN where an angle is unknown."""
        predicted, true = (
            np.array([rotation_from_euler(*pose) for pose in poses])
            for poses in (self.predicted_poses, self.true_poses)
        )
        return metrics.rotation_error(predicted, true)

    @property
    def turns_known(self) -> bool:
        """Whether the true yaw of every face is known, which the yaw bins need."""
        return bool(np.isfinite(self.true_poses[:, 0]).all())

    @property
    def balanced(self) -> BalancedMean:
        """NME in percent, averaged over the yaw bins, and the mean of each bin."""
        return metrics.balanced_mean(self.nme, self.true_poses[:, 0])

    @property
    def has_depth(self) -> bool:
        """Whether both the predicted and the true landmarks have depth, which the errors in 3D need."""
        return self.predicted.shape[-1] == self.true.shape[-1] == 3

    @cached_property
    def nme_3d(self) -> np.ndarray:
        """Error in 3D of each face, (n,), in percent (`metrics.nme_3d`); raises `ValueError` without depth."""
        return metrics.nme_3d(self.predicted, self.true)

    @property
    def depth_bias(self) -> np.ndarray:
        """Mean depth error of each of `DEPTH_GROUPS` in each frontal face, (m, groups), in percent.

        Positive is too near the camera (`metrics.depth_errors`); raises `ValueError` without depth.
        """
        errors = metrics.depth_errors(self.predicted, self.true)[np.abs(self.true_poses[:, 0]) <= FRONTAL]
        return np.column_stack([errors[:, members].mean(axis=1) for members in DEPTH_GROUPS.values()])

    @cached_property
    def distances(self) -> np.ndarray:
        """Predicted and true `metrics.DISTANCES` of the m faces of the first yaw bin, (m, 2, 4).

        Both are relative to the true face's size. The yaw is limited because a turned face shows its lips and widths
        from the side: at 30 degrees a width still has 87 percent of its length.
        """
        frontal = metrics.yaw_bin(self.true_poses[:, 0]) == 0
        both = np.stack([self.predicted[frontal, :, :2], self.true[frontal, :, :2]], axis=1)
        return metrics.distances(both, face_size(self.true[frontal])[:, None])

    @property
    def closed_shown_open(self) -> np.ndarray:
        """Whether closed lips are shown open, (k,) bool, for the faces of `distances` with lips closed in truth.

        The true gap is below `LIPS_CLOSED`; the lips are shown open if the predicted gap is above `LIPS_OPEN`.
        """
        predicted, true = self.distances[..., metrics.DISTANCES.index("lip gap")].T
        return predicted[true < LIPS_CLOSED] > LIPS_OPEN

    @property
    def mean_error(self) -> np.ndarray:
        """Constant part of the error, (2,): x, y in percent, y down."""
        return self.error_vectors.mean(axis=0)

    @property
    def without_offset(self) -> float:
        """NME in percent without the constant part of the error; balanced if the yaws are known."""
        errors = metrics.nme_without_offset(self.predicted, self.true)
        if self.turns_known:
            return metrics.balanced_mean(errors, self.true_poses[:, 0]).mean
        return float(errors.mean())

    @property
    def pose_counted(self) -> np.ndarray:
        """The faces (n,) bool that pose errors are averaged over: every true angle is within `POSE_LIMIT`."""
        known = np.isfinite(self.predicted_poses).all(axis=1)
        return known & (np.abs(self.true_poses) <= POSE_LIMIT).all(axis=1)

    @property
    def pose_mae(self) -> HeadPose:
        """Mean absolute errors of the angles in degrees over the faces of `pose_counted`; NaN without any."""
        counted = self.pose_errors[self.pose_counted]
        return HeadPose(*map(float, counted.mean(axis=0) if len(counted) else (np.nan,) * 3))

    @property
    def by_artist(self) -> pd.DataFrame:
        """NME in percent of each artist's faces with its 95 % interval, the lowest first.

        Columns: artist, faces, NME, low, high. It is empty without artists; faces without one count as "unknown". A
        single face has no interval (NaN).
        """
        artists = np.array([name or UNKNOWN for name in self.artists], dtype=object)
        errors = {name: self.nme[artists == name] for name in dict.fromkeys(artists)}
        rows = [
            (name, len(own), own.mean(), *(metrics.bootstrap(own) if len(own) > 1 else (np.nan, np.nan)))
            for name, own in errors.items()
        ]
        table = pd.DataFrame(rows, columns=["artist", "faces", "NME", "low", "high"])
        return table.sort_values("NME", ignore_index=True)

    def balanced_interval(self, errors: np.ndarray | None = None) -> tuple[float, float]:
        """95 % interval of the balanced mean of the faces' errors (n,) in percent, by default of the NME."""
        low, high = metrics.bootstrap(
            np.column_stack([self.nme if errors is None else errors, self.true_poses[:, 0]]),
            statistic=lambda rows: metrics.balanced_mean(*rows.T).mean,
        )
        return float(low), float(high)

    def report(self) -> str:
        """All errors as text, one per line. The one that papers quote is `NME balanced: ... %`."""
        lines = [f"{len(self)} faces, {self.inputs}"]
        if self.left_out:
            lines.append(f"left out, unreadable: {len(self.left_out)}")
        if self.missed:
            lines.append(f"not found by the network, not in the errors: {len(self.missed)}")
        if self.turns_known:
            balanced, (low, high) = self.balanced, self.balanced_interval()
            lines += [
                f"NME |yaw| {lowest:2d} to {highest}: {mean:.2f} % ({count} faces)"
                for (lowest, highest), mean, count in zip(
                    metrics.YAW_BINS, balanced.bins, balanced.counts, strict=True
                )
            ]
            lines += [
                f"NME balanced: {balanced.mean:.2f} %",
                f"NME balanced, 95 % interval: {low:.2f} to {high:.2f} %",
            ]
        x, y = self.mean_error
        lines += [
            f"NME over all faces: {self.nme.mean():.2f} %",
            f"mean error vector: x {x:+.2f} %, y {y:+.2f} % (predicted - true; x right, y down)",
            f"NME {'balanced' if self.turns_known else 'over all faces'} without that vector: "
            f"{self.without_offset:.2f} %",
        ]
        if self.artists:
            lines += ["NME by artist in %, with 95 % intervals:", as_text(self.by_artist.round(2))]
        if self.has_depth and self.turns_known:
            lines += self._depth_lines()
        if len(self.distances):
            lines += self._distance_lines()
        if counted := self.pose_counted.sum():
            pose = self.pose_mae
            lines.append(
                f"pose MAE: yaw {pose.yaw:.2f}, pitch {pose.pitch:.2f}, roll {pose.roll:.2f}, mean "
                f"{np.mean(pose):.2f} degrees ({counted} faces with every angle within {POSE_LIMIT:.0f})"
            )
        if len(turns := self.rotation_errors[np.isfinite(self.rotation_errors)]):
            low, high = metrics.bootstrap(turns)
            lines.append(
                f"angle between predicted and true rotation: mean {turns.mean():.2f} degrees "
                f"(95 % interval {low:.2f} to {high:.2f}; {len(turns)} faces with every angle known)"
            )
        return "\n".join(lines)

    def _depth_lines(self) -> list[str]:
        """The errors in 3D, with 95 % intervals."""
        mean = metrics.balanced_mean(self.nme_3d, self.true_poses[:, 0]).mean
        low, high = self.balanced_interval(self.nme_3d)
        lines = [
            f"3D error balanced, mean depth removed: {mean:.2f} % (95 % interval {low:.2f} to {high:.2f})"
        ]
        if len(bias := self.depth_bias):
            lines.append(
                f"depth bias of {len(bias)} faces with |yaw| up to {FRONTAL:.0f} (95 % interval; + is too near the "
                "camera):"
            )
            lines += [
                f"  {name} {mean:+.2f} % ({low:+.2f} to {high:+.2f})"
                for name, mean, low, high in zip(
                    DEPTH_GROUPS, bias.mean(axis=0), *metrics.bootstrap(bias), strict=True
                )
            ]
        return lines

    def _distance_lines(self) -> list[str]:
        """The distances that one sees on a face, with 95 % intervals, and the closed lips that are shown open."""
        figures = _agreement(self.distances)
        lows, highs = metrics.bootstrap(self.distances, statistic=_agreement)
        lines = [
            f"distances of {len(self.distances)} faces with |yaw| up to {metrics.YAW_BINS[0][1]} in percent of the "
            "face's size (95 % interval; + is too large):"
        ]
        for column, name in enumerate(metrics.DISTANCES):
            digits, unit = (3, "") if name == "eye aspect ratio" else (2, " %")
            correlation, mean, absolute = (
                f"{figure:{style}}{mark} ({low:{style}} to {high:{style}})"
                for figure, low, high, style, mark in zip(
                    *(values[:, column] for values in (figures, lows, highs)),
                    (".2f", f"+.{digits}f", f".{digits}f"),
                    ("", unit, unit),
                    strict=True,
                )
            )
            lines.append(f"  {name}: correlation {correlation}, mean error {mean}, absolute {absolute}")
        if len(shown_open := self.closed_shown_open):
            share = binomtest(int(shown_open.sum()), len(shown_open))
            low, high = (100 * value for value in share.proportion_ci(method="wilson"))
            lines.append(
                f"closed lips shown open: {100 * share.statistic:.0f} % ({share.k} of {share.n} faces with a true "
                f"gap below {LIPS_CLOSED} % show one above {LIPS_OPEN} %; 95 % interval {low:.0f} to {high:.0f})"
            )
        return lines


def _agreement(both: np.ndarray) -> np.ndarray:
    """Correlation, mean error and mean absolute error, (3, ...), of predictions and truth (m, 2, ...)."""
    predicted, true = both[:, 0], both[:, 1]
    errors = predicted - true
    return np.stack([metrics.correlation(predicted, true), errors.mean(axis=0), np.abs(errors).mean(axis=0)])


def evaluate_landmarks(
    predict_crops: PredictCrops,
    samples: Iterable[Sample],
    *,
    published_crops: bool = False,
    batch_size: int = 50,
    executor: Executor | None = None,
    progress: bool = True,
) -> LandmarkEvaluation:
    """Predict every face from its ground-truth crop, and compare in photo pixels.

    The crop is cut from the photo (`camera.cut_crop`). With `published_crops` it is the set's own crop, and its
    landmarks are mapped back by the set's rule. Faces whose picture cannot be read are left out, with one warning
    that names them. Faces whose predicted landmarks are NaN are `missed`. `executor` is as for `crops.over_crops`.
    Raises `DatasetError` if no face can be read or found, if a face has no true landmarks, or if the set has no
    published crops.
    """
    left_out: list[str] = []
    options = {"published_crops": published_crops, "batch_size": batch_size, "left_out": left_out}
    batches = over_crops(predict_crops, samples, **options, executor=executor)
    done = in_order(tqdm(batches, desc="evaluate", unit="batch", disable=not progress))
    kept = [sample for batch in done for sample in batch.samples]
    points, cameras = (
        np.concatenate([np.asarray(batch.answer[place], dtype=float) for batch in done]) for place in (0, 1)
    )
    found = np.isfinite(points).reshape(len(points), -1).all(axis=1)
    if not found.any():
        raise DatasetError(f"expected at least one face that the network finds, it found none of {len(kept)}")
    result = compare(
        [sample for sample, seen in zip(kept, found, strict=True) if seen],
        points[found],
        cameras[found],
        published_crops=published_crops,
        left_out=left_out,
    )
    return replace(
        result, missed=tuple(sample.name for sample, seen in zip(kept, found, strict=True) if not seen)
    )


def compare(
    samples: Sequence[Sample],
    points: np.ndarray,
    cameras: np.ndarray,
    *,
    published_crops: bool = False,
    left_out: Sequence[str] = (),
) -> LandmarkEvaluation:
    """Compare n faces' landmarks (n, 68, 2 or 3) and cameras (n, 3, 4), both in crop frames, with the truth.

    The pose of a camera that is NaN is NaN.
    """
    n = len(samples)
    if points.shape not in ((n, 68, 2), (n, 68, 3)) or cameras.shape != (n, 3, 4):
        raise ValueError(
            f"expected landmarks ({n}, 68, 2 or 3) and cameras ({n}, 3, 4) for {n} crops, "
            f"got {points.shape} and {cameras.shape}"
        )
    predicted = [
        (sample.published_box if published_crops else sample.crop).to_photo(face)
        for sample, face in zip(samples, points, strict=True)
    ]
    crops = "the published 120x120 crops" if published_crops else "crops cut from the photos"
    return LandmarkEvaluation(
        names=tuple(sample.name for sample in samples),
        predicted=np.stack(predicted),
        true=true_landmarks(samples),
        predicted_poses=np.array(
            [head_pose(camera) if np.isfinite(camera).all() else (np.nan,) * 3 for camera in cameras]
        ),
        true_poses=true_poses(samples),
        inputs=f"ground-truth boxes, {crops}",
        left_out=tuple(left_out),
        artists=artists_of(samples),
    )


def artists_of(samples: Sequence[Sample]) -> tuple[str | None, ...]:
    """The artists of works of art, (n,), or an empty tuple if no sample has one."""
    artists = tuple(sample.artist for sample in samples)
    return artists if any(artists) else ()


def true_landmarks(samples: Sequence[Sample]) -> np.ndarray:
    """True landmarks in photo pixels, (n, 68, 3) if all have depth, else (n, 68, 2)."""
    axes = min(sample.landmarks.shape[1] for sample in samples)
    return np.stack([sample.landmarks[:, :axes] for sample in samples])


def true_poses(samples: Sequence[Sample]) -> np.ndarray:
    """True yaw, pitch and roll (n, 3) in degrees, NaN where unknown."""
    poses = [(np.nan,) * 3 if sample.pose is None else sample.pose for sample in samples]
    return np.array(poses, dtype=float).reshape(-1, 3)
