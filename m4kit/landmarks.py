"""The 68-point iBUG landmark scheme: groups, contours, mirror partners, and the size of a face."""

from __future__ import annotations

import numpy as np

LANDMARK_GROUPS: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[int, int, int]]] = {
    "jaw": ((tuple(range(17)),), (38, 134, 255)),
    "brows": ((tuple(range(17, 22)), tuple(range(22, 27))), (255, 149, 0)),
    "nose": ((tuple(range(27, 31)), tuple(range(31, 36))), (255, 214, 10)),
    "eyes": (((*range(36, 42), 36), (*range(42, 48), 42)), (48, 209, 88)),
    "lips": (((*range(48, 60), 48), (*range(60, 68), 60)), (255, 55, 95)),
}
"""The parts of the face that have landmarks: each one's contours, as tuples of landmark indices, and its colour, sRGB
from 0 to 255."""

GROUPS = tuple(LANDMARK_GROUPS)
"""The names of these parts."""

GROUP_MEMBERS = {
    name: sorted({point for contour in contours for point in contour})
    for name, (contours, _) in LANDMARK_GROUPS.items()
}
"""The indices of each group's landmarks."""

CONTOURS = tuple(
    (list(contour), colour) for contours, colour in LANDMARK_GROUPS.values() for contour in contours
)
"""All contours: the landmark indices of each, and its colour."""


def landmark_colours() -> np.ndarray:
    """Return the colours (68, 3) uint8 of the landmarks, by part of the face."""
    colours = np.zeros((68, 3), np.uint8)
    for contour, colour in CONTOURS:
        colours[contour] = colour
    return colours


def mirror_order(count: int, pairs) -> np.ndarray:
    """Return the index of each point's mirror partner, (count,), from pairs of numbers that start at 1."""
    order = np.arange(count)
    for a, b in pairs:
        order[[a - 1, b - 1]] = b - 1, a - 1
    return order


MIRROR_68 = mirror_order(
    68,
    (
        *((i, 18 - i) for i in range(1, 9)),
        *((i, 45 - i) for i in range(18, 23)),
        *((32, 36), (33, 35)),
        *((37, 46), (38, 45), (39, 44), (40, 43), (41, 48), (42, 47)),
        *((49, 55), (50, 54), (51, 53), (56, 60), (57, 59)),
        *((61, 65), (62, 64), (66, 68)),
    ),
)
"""The index of each landmark's mirror partner, (68,)."""


def face_size(landmarks: np.ndarray) -> np.ndarray:
    """Compute the size of each face: sqrt(w * h) of its landmarks' bounding box.

    `landmarks` are (..., P, 2 or 3), and only x and y count. The result is (...), in the landmarks' unit. Errors
    are divided by it (Zhu et al., CVPR 2016).
    """
    return np.sqrt(np.ptp(np.asarray(landmarks)[..., :2], axis=-2).prod(axis=-1))


def face_box(landmarks: np.ndarray) -> np.ndarray:
    """Compute the bounding box (4,) of one face's landmarks (P, 2 or 3): left, top, right, bottom."""
    points = np.asarray(landmarks)[:, :2]
    return np.concatenate([points.min(axis=0), points.max(axis=0)])
