"""Evaluates detectors: recall, average precision and false positives, by size of the face and by condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from m4kit.boxes import match, pairwise_iou
from m4kit.conditions import check_severity, degrade, landmark_depth
from m4kit.datasets import DatasetError, warn_left_out
from m4kit.datasets.photos import Photo
from m4kit.files import reason_of
from m4kit.landmarks import face_size
from m4kit.tables import as_text

Detect = Callable[[np.ndarray], np.ndarray]
"""A detector as a function: it maps a photo (H, W, 3) uint8 RGB to boxes (n, 5), left, top, right, bottom in photo
pixels and the score."""

IOU = 0.5
THRESHOLD = 0.5
LOWEST_SCORE = 0.05
"""The lowest score that a detector should return: average precision needs unsure detections too, but not all."""

SIZES = ((0, 20), (20, 40), (40, 80), (80, 160), (160, np.inf))
"""Bins of a face's size, sqrt(w * h) of its true box in photo pixels."""


@dataclass(frozen=True)
class PhotoResult:
    """Detections (n, 5) in a photo, and the true boxes (m, 4).

    `wanted` (m,) is False for a face that the detector may miss: it counts neither as found nor as missed.
    """

    found: np.ndarray
    boxes: np.ndarray
    wanted: np.ndarray
    name: str = ""

    def match(self, *, iou: float = IOU) -> list[tuple[float, int | None]]:
        """Each detection that counts, best first: its score, and the face that it hits (`boxes.match`)."""
        return match(self.found, self.boxes, iou=iou, wanted=self.wanted)

    @property
    def sizes(self) -> np.ndarray:
        """Size of each face, (m,): sqrt(w * h) of its true box."""
        return face_size(self.boxes.reshape(-1, 2, 2))


class MissedFace(NamedTuple):
    """A face that was not found.

    `face` is its number in the photo. `overlap` is the best IoU of any detection above the threshold with its box.
    `score` is the best score of any detection that would hit it, 0 if there is none.
    """

    photo: str
    face: int
    size: float
    overlap: float
    score: float


@dataclass(frozen=True)
class DetectorEvaluation:
    """Detections of one detector in many photos. `left_out` names photos that could not be read."""

    results: tuple[PhotoResult, ...] = field(repr=False)
    left_out: tuple[str, ...] = ()

    @property
    def faces(self) -> int:
        """Number of faces to find."""
        return sum(int(result.wanted.sum()) for result in self.results)

    def outcomes(self, *, iou: float = IOU) -> tuple[np.ndarray, np.ndarray]:
        """Scores (n,) of all detections that count, best first, and whether each hits a face (n,) bool.

        Each face is hit at most once (`boxes.match`).
        """
        counted = [pair for result in self.results for pair in result.match(iou=iou)]
        scores = np.array([score for score, _ in counted], dtype=float)
        hits = np.array([face is not None for _, face in counted], dtype=bool)
        order = np.argsort(-scores, kind="stable")
        return scores[order], hits[order]

    def recall(self, *, iou: float = IOU, threshold: float = THRESHOLD) -> float:
        """Share of the faces that are hit; NaN without faces."""
        scores, hits = self.outcomes(iou=iou)
        return float(hits[scores >= threshold].sum() / self.faces) if self.faces else np.nan

    def false_positives(self) -> float:
        """Detections per photo that hit no face. Only meaningful where all faces are labelled."""
        scores, hits = self.outcomes()
        return float((~hits[scores >= THRESHOLD]).sum() / len(self.results))

    def average_precision(self) -> float:
        """Area below the precision-recall curve, as PASCAL VOC defines it since 2010; NaN without faces."""
        if not self.faces:
            return np.nan
        _, hits = self.outcomes()
        recall = np.cumsum(hits) / self.faces
        precision = np.maximum.accumulate((np.cumsum(hits) / np.arange(1, len(hits) + 1))[::-1])[::-1]
        return float((np.diff(recall, prepend=0) * precision).sum())

    def threshold_for(self, false_positives: float) -> float:
        """Lowest threshold with at most this many false positives per photo."""
        scores, hits = self.outcomes()
        allowed = np.cumsum(~hits) <= false_positives * len(self.results) + 1e-9
        return float(scores[allowed][-1]) if allowed.any() else 1.0

    def recall_by_size(self) -> list[tuple[tuple[float, float], float, int]]:
        """The bin, the recall and the number of faces for each bin of `SIZES` that has faces."""
        sizes, hit = [], []
        for result in self.results:
            found = {face for score, face in result.match() if score >= THRESHOLD}
            sizes.append(result.sizes[result.wanted])
            hit.append(np.isin(np.flatnonzero(result.wanted), list(found - {None})))
        sizes, hit = np.concatenate(sizes), np.concatenate(hit)
        bins = [(bounds, (sizes >= bounds[0]) & (sizes < bounds[1])) for bounds in SIZES]
        return [(bounds, float(hit[own].mean()), int(own.sum())) for bounds, own in bins if own.any()]

    def missed(self) -> list[MissedFace]:
        """The wanted faces that no detection hits, least overlap first."""
        faces = []
        for result in self.results:
            sure = result.found[:, 4] >= THRESHOLD
            hit = {face for score, face in result.match() if score >= THRESHOLD}
            overlaps = pairwise_iou(result.found[:, :4], result.boxes)
            for number in sorted(set(np.flatnonzero(result.wanted)) - hit):
                overlap = overlaps[:, number]
                faces.append(
                    MissedFace(
                        result.name,
                        int(number),
                        float(result.sizes[number]),
                        float(overlap[sure].max(initial=0)),
                        float(result.found[overlap >= IOU, 4].max(initial=0)),
                    )
                )
        return sorted(faces, key=lambda face: (face.overlap, face.score, face.photo))


def evaluate_detectors(
    detectors: Mapping[str, Detect],
    photos: Sequence[Photo],
    *,
    condition: str | None = None,
    severity: float = 0.0,
    progress: bool = True,
) -> dict[str, DetectorEvaluation]:
    """Run detectors on photos, as they are or under a condition.

    The condition is applied by `conditions.degrade`, with the photo's number as seed and the depth of the true faces,
    if their landmarks are known. Detectors should return detections down to a score of `LOWEST_SCORE`. Unreadable
    photos are left out, with one warning that names them. Raises `DatasetError` if no photo can be read.
    """
    results, left_out = {name: [] for name in detectors}, []
    word = "clean" if condition is None else f"{condition} {severity:g}"
    for number, photo in enumerate(tqdm(photos, desc=word, unit="photo", disable=not progress)):
        try:
            image = photo.image()
        # Whatever a decoder raises: one odd picture must not cost the others.
        except Exception as error:
            left_out.append(f"{photo.name} ({reason_of(error)})")
            continue
        if condition is not None:
            depth = landmark_depth(image.shape, photo.landmarks)
            image = degrade(image, condition, severity, seed=number, depth=depth)
        for name, detect in detectors.items():
            found, boxes = np.asarray(detect(image), dtype=float).reshape(-1, 5), photo.boxes
            results[name].append(PhotoResult(found, boxes, np.ones(len(boxes), dtype=bool), photo.name))
    warn_left_out("evaluate_detectors", left_out)
    if len(left_out) == len(photos):
        raise DatasetError(f"expected at least one readable photo, none of {len(photos)} could be read")
    return {name: DetectorEvaluation(tuple(rows), tuple(left_out)) for name, rows in results.items()}


def report(
    photos: Sequence[Photo],
    detectors: Mapping[str, Detect],
    *,
    all_labelled: bool,
    conditions: Sequence[str] = (),
    severities: Sequence[float] = (1, 3, 5),
    missed: int = 0,
    progress: bool = True,
) -> tuple[str, int]:
    """Compare detectors on the same photos.

    Returns a table as text, with one column per detector, and how many photos could not be read.

    `all_labelled` declares that every face is labelled. Only then does the table contain false positives, average
    precision, and the recall at the first detector's rate of false positives. `missed` is the number of faces to
    name below the table that the first detector misses in the photos as they are, least overlap first. Raises
    `ValueError` for a severity outside 0 to 5.
    """
    for severity in severities:
        check_severity(severity, "report")
    clean = evaluate_detectors(detectors, photos, progress=progress)
    name, first = next(iter(clean.items()))
    table: dict[str, list[str]] = {}

    def row(title: str, values: Iterable[float], form: str = "{:.1f} %") -> None:
        table[title] = ["-" if np.isnan(value) else form.format(value) for value in values]

    for iou in (IOU, 0.45) if first.faces else ():
        row(f"recall at IoU {iou:g}", (100 * e.recall(iou=iou) for e in clean.values()))
    if all_labelled:
        if first.faces:
            row("average precision", (100 * e.average_precision() for e in clean.values()))
        row("false positives per photo", (e.false_positives() for e in clean.values()), "{:.3f}")
        if first.faces and len(clean) > 1:
            rate = first.false_positives()
            row(
                f"recall at {rate:.3f} false positives per photo",
                (100 * e.recall(threshold=e.threshold_for(rate)) for e in clean.values()),
            )
    if first.faces:
        by_size = [e.recall_by_size() for e in clean.values()]
        for same_bin in zip(*by_size, strict=True):
            (low, high), _, count = same_bin[0]
            title = f"recall, faces of {low:g} to {high:g} px (n = {count})"
            row(title, (100 * recall for _, recall, _ in same_bin))
    measured = []
    word, form = ("recall", "{:.1f} %") if first.faces else ("false positives per photo", "{:.3f}")
    for condition, severity in product(conditions, severities):
        results = evaluate_detectors(
            detectors, photos, condition=condition, severity=severity, progress=progress
        ).values()
        measured.append([100 * e.recall() if first.faces else e.false_positives() for e in results])
        row(f"{word}, {condition} {severity:g}", measured[-1], form)
    if measured:
        row("mean under the conditions", np.mean(measured, axis=0), form)
    others = "" if all_labelled else ", other faces may be unlabelled"
    lines = [f"{len(first.results)} photos, {first.faces} labelled faces{others}"]
    if first.left_out:
        lines.append(f"left out, unreadable: {len(first.left_out)}")
    frame = pd.DataFrame.from_dict(table, orient="index", columns=list(clean))
    lines.append(as_text(frame.rename_axis("").reset_index()))
    if missed > 0 and (faces := first.missed()[:missed]):
        lines.append(f"missed by {name}:")
        lines += [
            f"  {face.photo}, face {face.face} of {face.size:.0f} px: overlap {face.overlap:.2f}, "
            f"score {face.score:.2f}"
            for face in faces
        ]
    return "\n".join(lines), len(first.left_out)
