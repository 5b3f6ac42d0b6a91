"""How well a detector finds labelled faces: recall, average precision, false alarms; by size and condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from m4kit.boxes import match, pairwise_iou
from m4kit.conditions import degrade
from m4kit.datasets import DatasetError, Sample, warn_left_out
from m4kit.datasets.sample import picture_of
from m4kit.datasets.scenes import check_severity
from m4kit.images import ImageError

Detect = Callable[[np.ndarray], np.ndarray]
"""What is evaluated: a photo (H, W, 3) uint8 RGB in; out boxes (n, 5): left, top, right, bottom in photo pixels and
the score."""

IOU = 0.5
THRESHOLD = 0.5
LOWEST_SCORE = 0.05
"""Below this a detection is not asked for: average precision needs the unsure ones too, but not all."""

SIZES = ((0, 20), (20, 40), (40, 80), (80, 160), (160, np.inf))
"""Bins of a face's size, sqrt(w * h) of its true box in photo pixels."""


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and the true boxes (m, 4) of its faces."""

    name: str
    image: Callable[[], np.ndarray] = field(repr=False)
    boxes: np.ndarray


@dataclass(frozen=True)
class PhotoResult:
    """What was found (n, 5) in a photo, and the true boxes (m, 4).

    `wanted` (m,) is False for a face that may or may not be found: what hits it counts neither way.
    """

    found: np.ndarray
    boxes: np.ndarray
    wanted: np.ndarray
    name: str = ""

    def match(self, *, iou: float) -> list[tuple[float, int | None]]:
        """The score of each detection that counts, best first, and the face that it hits (`boxes.match`)."""
        return match(self.found, self.boxes, iou=iou, wanted=self.wanted)


class MissedFace(NamedTuple):
    """A face that was not found: its photo, its number in there, and how near the detector came.

    `overlap` is the best IoU of a detection that is sure enough with it, `score` the best score of a detection that
    would hit it, 0 for none.
    """

    photo: str
    face: int
    size: float
    overlap: float
    score: float


def photos_of(samples: Iterable[Sample]) -> list[LabelledPhoto]:
    """The samples, whose faces are gathered by their pictures.

    A face's box is the annotated one, else that of its landmarks; a picture without either has no face.
    """
    photos: dict[str, LabelledPhoto] = {}
    for sample in samples:
        name = picture_of(sample.name)
        boxes = photos[name].boxes if name in photos else np.zeros((0, 4))
        if sample.true_box is not None:
            boxes = np.vstack([boxes, sample.true_box])
        photos[name] = LabelledPhoto(name, sample.image, boxes)
    return list(photos.values())


@dataclass(frozen=True)
class DetectorEvaluation:
    """What a detector found in photos. `left_out` names those that could not be read."""

    results: tuple[PhotoResult, ...] = field(repr=False)
    left_out: tuple[str, ...] = ()

    @property
    def faces(self) -> int:
        """How many faces there are to find."""
        return sum(int(result.wanted.sum()) for result in self.results)

    def recall(self, *, iou: float = IOU, threshold: float = THRESHOLD) -> float:
        """The share of the faces that are hit."""
        scores, hits = outcomes(self.results, iou=iou)
        return float(hits[scores >= threshold].sum() / self.faces) if self.faces else np.nan

    def false_positives(self, *, iou: float = IOU, threshold: float = THRESHOLD) -> float:
        """Detections a photo that hit no face. Only to be read where all faces are labelled."""
        scores, hits = outcomes(self.results, iou=iou)
        return float((~hits[scores >= threshold]).sum() / len(self.results))

    def average_precision(self, *, iou: float = IOU) -> float:
        """The area below the curve of precision over recall, as PASCAL VOC has it since 2010."""
        if not self.faces:
            return np.nan
        _, hits = outcomes(self.results, iou=iou)
        recall = np.cumsum(hits) / self.faces
        precision = np.maximum.accumulate((np.cumsum(hits) / np.arange(1, len(hits) + 1))[::-1])[::-1]
        return float((np.diff(recall, prepend=0) * precision).sum())

    def threshold_for(self, false_positives: float) -> float:
        """The lowest threshold at which there are at most so many false positives a photo."""
        scores, hits = outcomes(self.results)
        allowed = np.cumsum(~hits) <= false_positives * len(self.results) + 1e-9
        return float(scores[allowed][-1]) if allowed.any() else 1.0

    def recall_by_size(self, *, threshold: float = THRESHOLD) -> list[tuple[tuple[float, float], float, int]]:
        """For each bin of `SIZES` that has faces: the bin, the recall, and how many faces."""
        found_sizes, sizes = [], []
        for result in self.results:
            size = np.sqrt((result.boxes[:, 2:] - result.boxes[:, :2]).prod(axis=1))
            hit = [face for score, face in result.match(iou=IOU) if face is not None and score >= threshold]
            sizes.append(size[result.wanted])
            found_sizes.append(size[np.array(hit, dtype=int)])
        sizes, found = np.concatenate(sizes), np.concatenate(found_sizes)
        return [
            (bounds, float(((found >= bounds[0]) & (found < bounds[1])).sum() / count), int(count))
            for bounds in SIZES
            if (count := ((sizes >= bounds[0]) & (sizes < bounds[1])).sum())
        ]

    def missed(self, *, iou: float = IOU, threshold: float = THRESHOLD) -> list[MissedFace]:
        """The wanted faces that no detection hits, the one that overlaps least with any first."""
        faces = []
        for result in self.results:
            sure = result.found[:, 4] >= threshold
            hit = {face for score, face in result.match(iou=iou) if score >= threshold}
            for number in sorted(set(np.flatnonzero(result.wanted)) - hit):
                box = result.boxes[number]
                overlap = pairwise_iou(result.found[:, :4], box[None])[:, 0]
                faces.append(
                    MissedFace(
                        result.name,
                        int(number),
                        float(np.sqrt((box[2:] - box[:2]).prod())),
                        float(overlap[sure].max(initial=0)),
                        float(result.found[overlap >= iou, 4].max(initial=0)),
                    )
                )
        return sorted(faces, key=lambda face: (face.overlap, face.score, face.photo))


def evaluate_detectors(
    detectors: Mapping[str, Detect],
    photos: Sequence[LabelledPhoto],
    *,
    condition: str | None = None,
    severity: float = 0.0,
    progress: bool = True,
) -> dict[str, DetectorEvaluation]:
    """Run detectors on photos, as they are or under a condition (`conditions.degrade`, the photo's number as seed).

    They should give detections down to a score of `LOWEST_SCORE`. Photos that cannot be read are left out, with
    one warning that names them; if none is left, that is a `DatasetError`.
    """
    results, left_out = {name: [] for name in detectors}, []
    word = "clean" if condition is None else f"{condition} {severity:g}"
    for number, photo in enumerate(tqdm(photos, desc=word, unit="photo", disable=not progress)):
        try:
            image = photo.image()
        except ImageError as error:
            left_out.append(f"{photo.name} ({error})")
            continue
        if condition is not None:
            image = degrade(image, condition, severity, seed=number)
        for name, detect in detectors.items():
            found = np.asarray(detect(image), dtype=float).reshape(-1, 5)
            wanted = np.ones(len(photo.boxes), dtype=bool)
            results[name].append(PhotoResult(found, photo.boxes, wanted, photo.name))
    warn_left_out("evaluate_detectors", left_out)
    if len(left_out) == len(photos):
        raise DatasetError(
            f"expected at least one readable photo, got {len(photos)} of which none could be read"
        )
    return {name: DetectorEvaluation(tuple(rows), tuple(left_out)) for name, rows in results.items()}


def report(
    photos: Sequence[LabelledPhoto],
    detectors: Mapping[str, Detect],
    *,
    all_labelled: bool,
    conditions: Sequence[str] = (),
    severities: Sequence[float] = (1, 3, 5),
    missed: int = 0,
    progress: bool = True,
) -> str:
    """Detectors side by side on the same photos, as a table in text.

    `all_labelled` says that whatever is found beside the labelled faces is wrong: only then are false positives
    and average precision counted, and the recall of the others also given at the first one's rate of false positives.
    Up to `missed` of the faces that the first one misses in the photos as they are are named below it, the farthest
    from being found first. Raises `DatasetError` for a severity outside 0 to 5.
    """
    for severity in severities:
        check_severity(severity, "report")
    clean = evaluate_detectors(detectors, photos, progress=progress)
    name, first = next(iter(clean.items()))
    rows: list[tuple[str, list[str]]] = []

    def row(title: str, values: Iterable[float], form: str = "{:.1f} %") -> None:
        rows.append((title, ["-" if np.isnan(value) else form.format(value) for value in values]))

    for iou in (IOU, 0.45) if first.faces else ():
        row(f"recall at IoU {iou:g}", (100 * e.recall(iou=iou) for e in clean.values()))
    if all_labelled:
        if first.faces:
            row("average precision", (100 * e.average_precision() for e in clean.values()))
        row("false positives a photo", (e.false_positives() for e in clean.values()), "{:.3f}")
        if first.faces and len(clean) > 1:
            rate = first.false_positives()
            row(
                f"recall at {rate:.3f} false a photo",
                (100 * e.recall(threshold=e.threshold_for(rate)) for e in clean.values()),
            )
    if first.faces:
        by_size = [e.recall_by_size() for e in clean.values()]
        for (low, high), _, count in by_size[0]:
            title = f"recall, faces of {low:g} to {high:g} px (n = {count})"
            row(title, (100 * r for bins in by_size for bounds, r, _ in bins if bounds == (low, high)))
    measured = []
    for condition in conditions:
        for severity in severities:
            results = evaluate_detectors(
                detectors, photos, condition=condition, severity=severity, progress=progress
            ).values()
            if first.faces:
                measured.append([100 * e.recall() for e in results])
                row(f"recall, {condition} {severity:g}", measured[-1])
            else:
                measured.append([e.false_positives() for e in results])
                row(f"false positives a photo, {condition} {severity:g}", measured[-1], "{:.3f}")
    if measured:
        form = "{:.1f} %" if first.faces else "{:.3f}"
        row("mean under the conditions", np.mean(measured, axis=0), form)
    others = "" if all_labelled else ", others may be in them"
    lines = [f"{len(first.results)} photos, {first.faces} labelled faces{others}"]
    if first.left_out:
        lines.append(f"left out, unreadable: {len(first.left_out)}")
    width, widths = max(len(title) for title, _ in rows), [max(9, len(name)) for name in clean]
    lines.append("  ".join([" " * width, *(name.rjust(w) for name, w in zip(clean, widths, strict=True))]))
    lines += [
        "  ".join([title.ljust(width), *(value.rjust(w) for value, w in zip(values, widths, strict=True))])
        for title, values in rows
    ]
    if missed > 0 and (faces := first.missed()[:missed]):
        lines.append(f"missed by {name}:")
        lines += [
            f"  {face.photo}, face {face.face} of {face.size:.0f} px: overlap {face.overlap:.2f}, "
            f"score {face.score:.2f}"
            for face in faces
        ]
    return "\n".join(lines)


def outcomes(results: Sequence[PhotoResult], *, iou: float = IOU) -> tuple[np.ndarray, np.ndarray]:
    """The score (n,) of each detection that counts, best first, and whether it hits a face (n,).

    Detections go to faces greedily, best first; a face is hit once. What belongs to a face that is not wanted
    does not count.
    """
    counted = [pair for result in results for pair in result.match(iou=iou)]
    scores = np.array([score for score, _ in counted], dtype=float)
    hits = np.array([face is not None for _, face in counted], dtype=bool)
    order = np.argsort(-scores, kind="stable")
    return scores[order], hits[order]
