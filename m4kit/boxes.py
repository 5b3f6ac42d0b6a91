"""Boxes (n, 4), left, top, right, bottom: overlap and suppression."""

from __future__ import annotations

import numpy as np

HIT_IOU = 0.3
"""A detection with at least this IoU with a face's box finds that face.

It is low because detectors' boxes reach from chin to hair and the boxes of landmarks from chin to brows.
"""


def pairwise_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `first` (n, 4) with every one of `second` (m, 4): (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    area = [np.prod(boxes[:, 2:4] - boxes[:, :2], axis=-1) for boxes in (first, second)]
    return shared / np.maximum(area[0][:, None] + area[1][None] - shared, 1e-9)


def suppress(boxes: np.ndarray, scores: np.ndarray, *, iou: float) -> np.ndarray:
    """Greedy non-maximum suppression: indices of the boxes (n, 4) to keep, best score first.

    A box is dropped when its intersection over union with a kept box of a higher score exceeds `iou`.
    """
    order = np.argsort(-scores, kind="stable")
    keep = []
    while len(order):
        best, order = order[0], order[1:]
        keep.append(best)
        order = order[pairwise_iou(boxes[best, None], boxes[order])[0] <= iou]
    return np.array(keep, dtype=int)


def match(
    found: np.ndarray, boxes: np.ndarray, *, iou: float, wanted: np.ndarray | None = None
) -> list[tuple[float, int | None]]:
    """Match detections (n, 5) to true boxes (m, 4), greedily, best score first; each box is hit once.

    Gives a pair for each detection that counts, best first: its score, and the index of the box that it hits or
    None. `wanted` (m,) bool marks the boxes to find; a detection that overlaps only an unwanted box does not
    count. By default all boxes are wanted.
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
