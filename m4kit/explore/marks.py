"""Landmarks, contours and pose axes as points and lines for the canvas."""

from __future__ import annotations

import numpy as np

from m4kit.landmarks import CONTOURS
from m4kit.visualize.drawing import AXIS_COLOURS
from m4kit.visualize.mesh_figure import AXIS_LENGTH


def landmark_colours() -> np.ndarray:
    """Colours (68, 3) uint8, by the part of the face."""
    colours = np.zeros((68, 3), np.uint8)
    for contour, colour in CONTOURS:
        colours[contour] = colour
    return colours


def contours(
    landmarks: np.ndarray, *, colour: tuple[int, int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Segments (n, 2, 3) between landmarks (68, 3) that follow each other, and their colours (n, 3) uint8.

    By default the colours are those of the parts of the face.
    """
    segments = [
        np.stack([landmarks[contour[:-1]], landmarks[contour[1:]]], axis=1) for contour, _ in CONTOURS
    ]
    colours = [
        np.tile(np.uint8(own if colour is None else colour), (len(contour) - 1, 1))
        for contour, own in CONTOURS
    ]
    return np.concatenate(segments), np.concatenate(colours)


def pose_axes(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The head's axes (3, 2, 3) in mm, from the tip of the nose, where they are seen, and their colours (3, 3)."""
    axes = np.stack([np.zeros((3, 3)), np.eye(3) * AXIS_LENGTH], axis=1)
    return axes + landmarks[30], np.uint8(AXIS_COLOURS)
