"""Anti-aliased lines, dots, filled shapes and text on a picture.

The coverage of a pixel follows from its distance to the shape, so any line width is exact. A `Stencil` belongs to one
picture (H, W, 3) uint8 RGB and paints in place; the functions of `drawing` copy first. Points are (x, y) in pixels,
with integers at pixel centres, and may lie outside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

_SMALL = 2500
"""Pixels of a window that counts as small."""


class Stencil(NamedTuple):
    """The share of each pixel that a shape covers: `coverage` (h, w) in [0, 1], in a window of a picture."""

    left: int
    top: int
    coverage: np.ndarray

    def paint(self, picture: np.ndarray, colour: Colour, *, opacity: float = 1.0) -> None:
        """Paint a colour over the picture, in place, where the shape is."""
        height, width = self.coverage.shape
        window = picture[self.top : self.top + height, self.left : self.left + width]
        # A line covers few pixels of its window, so only those are mixed.
        rows, columns = np.nonzero(self.coverage)
        share = opacity * self.coverage[rows, columns, None]
        pixels = window[rows, columns]
        mixed = pixels + (np.array(colour, dtype=np.float32) - pixels) * share
        window[rows, columns] = np.rint(mixed).astype(np.uint8)


def lines(picture: np.ndarray, polylines: Sequence[np.ndarray], width: float) -> Stencil:
    """Polylines, each (n, 2), as one shape, so that crossings are not painted twice."""
    segments = [pair for line in polylines for pair in pairwise(np.asarray(line, dtype=float))]
    # Short pieces have small bounding boxes, which saves work on long diagonal segments.
    piece = 32 + 4 * width
    pieces = []
    for a, b in segments:
        steps = np.linspace(0, 1, int(np.linalg.norm(b - a) // piece) + 2)[:, None]
        pieces += pairwise(a + steps * (b - a))
    return _union(picture, pieces, width / 2)


def dots(picture: np.ndarray, points: np.ndarray, radius: float) -> Stencil:
    """Discs around points (n, 2) as one shape."""
    return _union(picture, [(point, point) for point in np.asarray(points)], radius)


def fill(picture: np.ndarray, corners: np.ndarray, colour: Colour, *, opacity: float = 1.0) -> None:
    """Fill a polygon with corners (n, 2), in place."""
    bits = 4
    low, high = _window(picture, corners, 1)
    if (low >= high).any():
        return
    window = picture[low[1] : high[1], low[0] : high[0]]
    fixed = np.rint((corners - low) * (1 << bits)).astype(np.int32)
    filled = cv2.fillPoly(window.copy(), [fixed], colour, lineType=cv2.LINE_AA, shift=bits)
    window[:] = cv2.addWeighted(filled, opacity, window, 1 - opacity, 0)


def words(
    picture: np.ndarray,
    text: str,
    centre: tuple[float, float],
    *,
    height: float,
    colour: Colour = (255, 255, 255),
    halo: Colour = (20, 22, 26),
) -> None:
    """Write a line of text centred on a point, in place, with letters `height` pixels tall.

    The text is moved, and if necessary shrunk, to stay in the picture.
    """
    height = min(height, 0.95 * height * picture.shape[1] / _font(round(height)).getlength(text))
    font = _font(max(6, int(height)))
    border = max(1, round(height / 8))
    left, top, right, bottom = font.getbbox(text, stroke_width=border)
    limits = np.array([picture.shape[1] - (right - left), picture.shape[0] - (bottom - top)])
    corner = np.array([centre[0] - (right - left) / 2, centre[1] - (bottom - top) / 2])
    corner = np.clip(np.rint(corner), 0, np.maximum(limits, 0)).astype(int)
    window = picture[corner[1] : corner[1] + bottom - top, corner[0] : corner[0] + right - left]
    canvas = Image.fromarray(window)
    place = (-left, -top)
    draw = ImageDraw.Draw(canvas)
    draw.text(place, text, font=font, fill=halo, stroke_width=border, stroke_fill=halo)
    draw.text(place, text, font=font, fill=colour)
    window[:] = np.asarray(canvas)


def label(picture: np.ndarray, text: str, place: tuple[float, float], *, height: float, **colours) -> None:
    """Write a line of text to the right of a point, in place, vertically centred; see `words`."""
    font = _font(max(6, int(height)))
    canvas = Image.fromarray(picture)
    halo = {"stroke_width": max(1, round(height / 8)), "stroke_fill": colours["halo"]}
    ImageDraw.Draw(canvas).text(place, text, font=font, fill=colours["colour"], anchor="lm", **halo)
    ImageDraw.Draw(canvas).text(place, text, font=font, fill=colours["colour"], anchor="lm")
    picture[:] = np.asarray(canvas)


def width(text: str, *, height: float) -> float:
    """Width in pixels of a line of text with letters `height` pixels tall."""
    return _font(max(6, int(height))).getlength(text)


def _union(picture: np.ndarray, segments: Sequence[tuple[np.ndarray, np.ndarray]], radius: float) -> Stencil:
    """The shape of all points within `radius` of a segment."""
    segments = np.array(segments, dtype=float).reshape(-1, 2, 2)
    if not len(segments):
        return Stencil(0, 0, np.zeros((0, 0), dtype=np.float32))
    margin = radius + 1
    low, high = _window(picture, segments, margin)
    coverage = np.zeros((max(0, high[1] - low[1]), max(0, high[0] - low[0])), dtype=np.float32)
    # A line thinner than a pixel is drawn one pixel wide, but fainter.
    strength, radius = min(1.0, 2 * radius), max(radius, 0.5)
    # In a small window all segments at once cost less than a call for each.
    for some in [segments] if coverage.size <= _SMALL else segments[:, None]:
        first, last = _window(picture, some, margin)
        if (first >= last).any():
            continue
        x, y = (np.arange(start, end, dtype=np.float32) for start, end in zip(first, last, strict=True))
        distance = _distances(x, y[:, None], some)
        part = coverage[first[1] - low[1] : last[1] - low[1], first[0] - low[0] : last[0] - low[0]]
        np.maximum(part, strength * np.clip(radius + 0.5 - distance, 0, 1), out=part)
    return Stencil(int(low[0]), int(low[1]), coverage)


def _distances(x: np.ndarray, y: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Distances (h, w) of pixels at x (w,) and y (h, 1) from the nearest of the segments (n, 2, 2)."""
    starts, along = np.float32(segments[:, 0]), np.float32(segments[:, 1] - segments[:, 0])
    lengths = np.square(along).sum(axis=1)
    lengths[lengths == 0] = 1
    x, y = x - starts[:, 0, None, None], y - starts[:, 1, None, None]
    across, down = along[:, 0, None, None], along[:, 1, None, None]
    at = np.clip((x * across + y * down) / lengths[:, None, None], 0, 1)
    return np.hypot(x - at * across, y - at * down).min(axis=0)


def _window(picture: np.ndarray, points: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """First pixel (x, y) of the bounding box of points (..., 2) with a margin, and the one after its last.

    Both are in the picture.
    """
    size, axes = np.array([picture.shape[1], picture.shape[0]]), tuple(range(points.ndim - 1))
    low = np.floor(points.min(axis=axes) - margin)
    high = np.ceil(points.max(axis=axes) + margin) + 1
    return np.clip(low, 0, size).astype(int), np.clip(high, 0, size).astype(int)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib's font is installed everywhere and has a minus and a degree sign.
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf", size)
