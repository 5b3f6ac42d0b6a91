"""Evaluates the whole chain on photos (detector, first crop, second crop), compared with ground-truth crops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from m4kit import metrics
from m4kit.boxes import HIT_IOU, pairwise_iou
from m4kit.camera import crop_from_box, cut_crop, next_crop
from m4kit.datasets import DatasetError, Sample, warn_left_out
from m4kit.detector import Detector
from m4kit.evaluate.crops import check_labelled, over_samples
from m4kit.evaluate.landmarks import evaluate_landmarks, true_poses
from m4kit.files import reason_of
from m4kit.landmarks import face_box
from m4kit.spread import LOST
from m4kit.views import PredictCrops

_PIECE = 8
"""Faces that a worker of an executor gets at once."""


@dataclass(frozen=True)
class ChainEvaluation:
    """Results of the whole chain on n labelled faces.

    `iou` (n,) is the best IoU of a detection with the box of the true landmarks. A face with at least
    `boxes.HIT_IOU` is found. For the m found faces:

    - `yaw` (m,) in degrees, NaN if unknown.
    - `one_crop`, `two_crops`, `true_crop` (m,): NME in percent from the crop of the detector's box, from a second
      crop around the landmarks of the first, and from the ground-truth crop.
    - `crop_scale` (m,): side of the first crop, divided by that of the true one.
    - `crop_shift` (m, 2): centre of the first crop minus that of the true one, right and down, in sides of the
      true one.
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
        """Share of the faces that a detection overlaps with at least this IoU."""
        return float((self.iou >= iou).mean())

    def report(self) -> str:
        """The figures as text, one per line."""
        lines = [
            f"whole chain: {len(self.iou)} faces, recall {100 * self.recall(HIT_IOU):.1f} % at IoU {HIT_IOU}, "
            f"{100 * self.recall(0.5):.1f} % at 0.5"
        ]
        if self.left_out:
            lines.append(f"left out, unreadable: {len(self.left_out)}")
        if not len(self.yaw):
            return "\n".join(lines)
        balanced = np.isfinite(self.yaw).all()
        one, two, true = (
            metrics.balanced_mean(errors, self.yaw).mean if balanced else errors.mean()
            for errors in (self.one_crop, self.two_crops, self.true_crop)
        )
        low, scale, high = np.percentile(self.crop_scale, [25, 50, 75])
        right, down = np.median(self.crop_shift, axis=0)
        lines += [
            f"NME {'balanced' if balanced else 'over all faces'} of the {len(self.yaw)} faces found: one crop "
            f"{one:.2f} %, two {two:.2f} %, true crops {true:.2f} % (two crops {two - true:+.2f})",
            f"crops of the detector's boxes compared with the true ones: median {scale:.2f} times as large (half of "
            f"them {low:.2f} to {high:.2f}), centres {right:+.3f} sides to the right and {down:+.3f} down",
        ]
        return "\n".join(lines)


class _Followed(NamedTuple):
    """A found face: the scale and shift of its first crop, and its errors from that and from the second one."""

    scale: float
    shift: np.ndarray
    one_crop: float
    two_crops: float


class _Chain:
    """Follows labelled faces through the whole chain: a function of samples, for an executor."""

    def __init__(self, predict_crops: PredictCrops, detector: Callable[[np.ndarray], np.ndarray]):
        self._predict_crops, self._detector = predict_crops, detector

    def __call__(self, faces: Sequence[tuple[int, Sample]]) -> list[tuple[float, _Followed | None] | str]:
        """For each face the best overlap, and what follows if it is found; or why its photo cannot be read."""
        return [self._followed(sample) for _, sample in faces]

    def _followed(self, sample: Sample) -> tuple[float, _Followed | None] | str:
        try:
            image = sample.image()
        # Whatever a decoder raises: one odd picture must not cost the others.
        except Exception as error:
            return reason_of(error)
        boxes = self._detector(image).reshape(-1, 5)
        true = sample.landmarks[:, :2]
        overlaps = pairwise_iou(boxes[:, :4], face_box(true)[None])[:, 0]
        best = float(overlaps.max(initial=0.0))
        if best < HIT_IOU:
            return best, None
        first, goal = crop_from_box(boxes[overlaps.argmax()]), sample.crop
        crop, errors = first, []
        for _ in range(2):
            landmarks = crop.to_photo(self._predict_crops(cut_crop(image, crop)[None])[0][0])[:, :2]
            errors.append(float(metrics.nme(landmarks, true)))
            crop = next_crop(crop, landmarks)
        return best, _Followed(first.size / goal.size, (first.centre - goal.centre) / goal.size, *errors)


def evaluate_chain(
    predict_crops: PredictCrops,
    samples: Iterable[Sample],
    *,
    detector: Callable[[np.ndarray], np.ndarray] | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> ChainEvaluation:
    """Find each labelled face in its photo and predict its landmarks, as `m4kit.predict` does.

    `predict_crops` is the network, as for `evaluate_landmarks`. `detector` maps a photo to boxes (n, 5): left, top,
    right, bottom and score; by default it is the packaged one. `executor` is as for `crops.over_crops`.

    Unreadable photos are left out with one warning. Raises `DatasetError` if no photo can be read, if a face has no
    true landmarks, or if the executor fails.
    """
    samples = list(samples)
    check_labelled(samples, needs=("landmarks", "crop"))
    work = _Chain(predict_crops, Detector() if detector is None else detector)
    answers, left_out = {}, []
    with tqdm(total=len(samples), desc="whole chain", unit="face", disable=not progress) as bar:
        for faces, some in over_samples(work, samples, size=_PIECE, executor=executor):
            for (number, sample), answer in zip(faces, some or [LOST] * len(faces), strict=True):
                if isinstance(answer, str):
                    left_out.append(f"{sample.name} ({answer})")
                else:
                    answers[number] = answer
            bar.update(len(faces))
    warn_left_out("evaluate_chain", left_out)
    if not answers:
        raise DatasetError(f"expected at least one readable photo, none of {len(samples)} could be read")
    numbers = sorted(answers)
    found = [samples[number] for number in numbers if answers[number][1] is not None]
    followed = [one for number in numbers if (one := answers[number][1]) is not None]
    true_crop = np.zeros(0)
    if found:
        true_crop = evaluate_landmarks(predict_crops, found, executor=executor, progress=False).nme
    return ChainEvaluation(
        iou=np.array([answers[number][0] for number in numbers]),
        yaw=true_poses(found)[:, 0],
        one_crop=np.array([one.one_crop for one in followed]),
        two_crops=np.array([one.two_crops for one in followed]),
        true_crop=true_crop,
        crop_scale=np.array([one.scale for one in followed]),
        crop_shift=np.array([one.shift for one in followed]).reshape(-1, 2),
        left_out=tuple(left_out),
    )
