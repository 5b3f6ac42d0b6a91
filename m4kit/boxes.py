"""Checks, compares, matches and suppresses boxes (n, 4): left, top, right, bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from m4kit.checks import check_array, shown

FARTHEST = 1_000_000
"""The largest coordinate of a box, in photo pixels: beyond, the arithmetic of crops is no longer exact."""

_EXPECTED = "boxes (n, 4) or (n, 5): left, top, right, bottom and a score"

HIT_IOU = 0.3
"""A detection finds a face if their boxes have at least this IoU.

It is low because detectors' boxes reach from chin to hair, and boxes of landmarks from chin to brows.
"""


def pairwise_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the intersection over union (n, m) of each box of `first` (n, 4) with each box of `second` (m, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    area = [np.prod(boxes[:, 2:4] - boxes[:, :2], axis=-1) for boxes in (first, second)]
    return shared / np.maximum(area[0][:, None] + area[1][None] - shared, 1e-9)


def check_boxes(boxes, shape: tuple[int, ...], *, name: str) -> np.ndarray:
    """Return boxes of a photo as (n, 5) with scores, or raise `ValueError` if one cannot be used.

    `boxes` are (n, 4) or (n, 5), or a single box; without scores the score is 1. `shape` is the photo's. A box must
    be finite, have an area and overlap the photo. The error starts with `name`.
    """
    for number, box in enumerate(boxes if isinstance(boxes, Sequence) and not isinstance(boxes, str) else ()):
        if hasattr(box, "box"):
            raise TypeError(f"{name}: expected boxes, got faces; give [face.box for face in faces]")
        if isinstance(box, str | Mapping):
            raise TypeError(f"{name}: expected {_EXPECTED}, got {shown(box)} as box {number}")
    boxes = check_array(boxes, name, _EXPECTED)
    if boxes.size == 0:
        return np.zeros((0, 5))
    if boxes.ndim == 1:
        boxes = boxes[None]
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        raise ValueError(f"{name}: expected {_EXPECTED}; got shape {boxes.shape}")
    if boxes.shape[1] == 4:
        boxes = np.column_stack([boxes, np.ones(len(boxes))])
    height, width = shape[:2]
    for number, (left, top, right, bottom, score) in enumerate(boxes):
        box = f"{name}: box {number}, ({left:g}, {top:g}, {right:g}, {bottom:g}),"
        if not np.isfinite([left, top, right, bottom, score]).all():
            raise ValueError(f"{box} score {score:g}, is not finite; leave it out")
        if max(map(abs, (left, top, right, bottom))) > FARTHEST:
            raise ValueError(f"{box} reaches more than {FARTHEST:,} pixels away; expected photo pixels")
        # Scores in single precision may be a hair above 1.
        if not 0 <= score <= 1 + 1e-6:
            raise ValueError(f"{box} has a score of {score:g}; expected a score from 0 to 1")
        if right <= left or bottom <= top:
            raise ValueError(f"{box} has no area; expected left < right and top < bottom, in photo pixels")
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            raise ValueError(
                f"{box} lies outside the photo of {width}x{height} pixels; expected left, top, right, bottom in "
                "pixels of this photo"
            )
    return boxes


def suppress(boxes: np.ndarray, scores: np.ndarray, *, iou: float) -> np.ndarray:
    """Choose boxes by greedy non-maximum suppression: the indices of the boxes (n, 4) to keep, best score first.

    A box is dropped if its IoU with a kept box of a higher score exceeds `iou`, or if its score (n,) is 0.
    """
    corners, sides = boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]
    kept = cv2.dnn.NMSBoxes(np.hstack([corners, sides]), np.asarray(scores, np.float32), 0.0, iou)
    return np.array(kept, dtype=int)


def match(
    found: np.ndarray, boxes: np.ndarray, *, iou: float, wanted: np.ndarray | None = None
) -> list[tuple[float, int | None]]:
    """Match detections (n, 5) to true boxes (m, 4), greedily, best score first. Each box is hit at most once.

    Returns a pair for each detection that counts, best first: its score, and the index of the box that it hits or
    None. `wanted` (m,) bool marks the boxes to find, by default all. A detection that overlaps only an unwanted box
    does not count.
    """
    order = np.argsort(-found[:, 4], kind="stable")
    overlaps = pairwise_iou(found[order, :4], boxes)
    free = np.ones(len(boxes), dtype=bool) if wanted is None else wanted.copy()
    unwanted, pairs = ~free, []
    for overlap, score in zip(overlaps, found[order, 4], strict=True):
        open_overlap = np.where(free, overlap, 0)
        hit = int(open_overlap.argmax()) if open_overlap.max(initial=0) >= iou else None
        if hit is not None:
            free[hit] = False
        elif (overlap[unwanted] > 0.2).any():
            continue
        pairs.append((float(score), hit))
    return pairs
