"""The whole chain on whole photos: detector, first crop, second crop; against true crops of the same faces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from m4kit import metrics
from m4kit.boxes import pairwise_iou
from m4kit.camera import crop_from_box, cut_crop, next_crop
from m4kit.datasets import DatasetError, Sample, warn_left_out
from m4kit.detector import Detector
from m4kit.evaluate.landmarks import evaluate_landmarks, true_poses
from m4kit.images import ImageError
from m4kit.views import PredictCrops

MATCH_IOU = 0.3
"""A detection with at least this overlap with the box of the true landmarks is of this face."""


@dataclass(frozen=True)
class ChainEvaluation:
    """What the chain made of n labelled faces.

    `iou` (n,) is the best overlap of a detection with the box of the true landmarks. For the m matched faces:
    `yaw` (m,) in degrees (NaN if not known), and errors (m,) in percent by how the face was cropped: `one_crop`
    from the detector's box, `two_crops` once more around the landmarks found, `true_crop` around the true ones.

    `crop_scale` (m,) is the side of the crop from the detector's box over that of the true one, `crop_shift` (m, 2)
    the way from the true one's centre to its own, right and down, in sides of the true one.
    """

    iou: np.ndarray = field(repr=False)
    yaw: np.ndarray = field(repr=False)
    one_crop: np.ndarray = field(repr=False)
    two_crops: np.ndarray = field(repr=False)
    true_crop: np.ndarray = field(repr=False)
    crop_scale: np.ndarray = field(repr=False)
    crop_shift: np.ndarray = field(repr=False)
    left_out: tuple[str, ...] = ()

    def recall(self, iou: float) -> float:
        """The share of faces that a detection covers with at least this overlap."""
        return float((self.iou >= iou).mean())

    def report(self) -> str:
        """The figures as text, one a line."""
        lines = [
            f"whole chain: {len(self.iou)} faces, recall {100 * self.recall(MATCH_IOU):.1f} % at IoU {MATCH_IOU}, "
            f"{100 * self.recall(0.5):.1f} % at 0.5"
        ]
        if self.left_out:
            lines.append(f"left out, unreadable: {len(self.left_out)}")
        balanced = len(self.yaw) > 0 and np.isfinite(self.yaw).all()

        def mean(errors: np.ndarray) -> float:
            if balanced:
                return metrics.balanced_mean(errors, self.yaw).mean
            return errors.mean() if len(errors) else np.nan

        figures = [mean(errors) for errors in (self.one_crop, self.two_crops, self.true_crop)]
        lines.append(
            f"NME {'balanced' if balanced else 'over all faces'} of the {len(self.yaw)} faces matched: one crop "
            f"{figures[0]:.2f} %, two {figures[1]:.2f} %, true crops {figures[2]:.2f} % "
            f"(two crops {figures[1] - figures[2]:+.2f})"
        )
        if len(self.yaw):
            low, scale, high = np.percentile(self.crop_scale, [25, 50, 75])
            right, down = np.median(self.crop_shift, axis=0)
            lines.append(
                f"crops of the detector's boxes beside the true ones: {scale:.2f} times as large in the median (half "
                f"of them {low:.2f} to {high:.2f}), centres {right:+.3f} sides to the right and {down:+.3f} down"
            )
        return "\n".join(lines)


def evaluate_chain(
    predict_crops: PredictCrops,
    samples: Iterable[Sample],
    *,
    detector: Callable[[np.ndarray], np.ndarray] | None = None,
    progress: bool = True,
) -> ChainEvaluation:
    """Find each labelled face in its photo and lay its landmarks, by the rules of `m4kit.predict`.

    `predict_crops` is the network, as `evaluate_landmarks` takes it. `detector` gives boxes (n, 5) of a photo,
    left, top, right, bottom and a score; by default the packaged one.

    Unreadable photos are left out with one warning; none left, or faces without landmarks, is a `DatasetError`.
    """
    detector = Detector() if detector is None else detector
    left_out, overlaps, matched = [], [], []
    one_crop, two_crops, scales, shifts = [], [], [], []
    for sample in tqdm(list(samples), desc="whole chain", unit="face", disable=not progress):
        if sample.landmarks is None or sample.crop is None:
            raise DatasetError(
                f"{sample.name}: expected the true 68 landmarks; evaluate on a set that has them"
            )
        try:
            image = sample.image()
        except ImageError as error:
            left_out.append(f"{sample.name} ({error})")
            continue
        boxes = detector(image).reshape(-1, 5)
        true = sample.landmarks[:, :2]
        box = np.concatenate([true.min(axis=0), true.max(axis=0)])
        overlap = pairwise_iou(box[None], boxes[:, :4])[0]
        overlaps.append(overlap.max(initial=0.0))
        if overlaps[-1] < MATCH_IOU:
            continue
        matched.append(sample)
        crop, goal = crop_from_box(boxes[overlap.argmax()]), sample.crop
        scales.append(crop.size / goal.size)
        shifts.append((crop.centre - goal.centre) / goal.size)
        for errors in (one_crop, two_crops):
            landmarks = crop.to_photo(predict_crops(cut_crop(image, crop)[None])[0][0])[:, :2]
            errors.append(metrics.nme(landmarks, true))
            crop = next_crop(crop, landmarks)
    warn_left_out("evaluate_chain", left_out)
    if not overlaps:
        raise DatasetError(
            f"expected at least one readable photo, got {len(left_out)} of which none could be read"
        )
    true_crop = evaluate_landmarks(predict_crops, matched, progress=False).nme if matched else np.zeros(0)
    return ChainEvaluation(
        iou=np.array(overlaps),
        yaw=true_poses(matched).reshape(-1, 3)[:, 0],
        one_crop=np.array(one_crop),
        two_crops=np.array(two_crops),
        true_crop=true_crop,
        crop_scale=np.array(scales),
        crop_shift=np.array(shifts).reshape(-1, 2),
        left_out=tuple(left_out),
    )
