"""Anti-aliased lines, dots, filled shapes and text on a picture.

The coverage of a pixel follows from its distance to the shape, so any line width is exact. A `Stencil` belongs to one
picture (H, W, 3) uint8 RGB and paints in place; the functions of `drawing` copy first. Points are (x, y) in pixels,
with integers at pixel centres, and may lie outside the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

_SMALL = 4096
"""Pixels of a window that are mixed one and all."""

_TOGETHER = 1 << 16
"""Pixels that are computed at once, which stay in a processor's cache."""


class Stencil(NamedTuple):
    """The share of each pixel that a shape covers: `coverage` (h, w) in [0, 1], in a window of a picture."""

    left: int
    top: int
    coverage: np.ndarray

    def paint(self, picture: np.ndarray, colour: Colour | np.ndarray, *, opacity: float = 1.0) -> None:
        """Paint over the picture, in place, where the shape is: one colour, or one for each pixel (h, w, 3)."""
        height, width = self.coverage.shape
        window = picture[self.top : self.top + height, self.left : self.left + width]
        place, share, colour = ..., self.coverage, np.float32(colour)
        if self.coverage.size > _SMALL:
            # A line covers few pixels of a large window, so only those are mixed.
            covered = np.flatnonzero(self.coverage > 0)
            place, share = np.divmod(covered, width), self.coverage.ravel().take(covered)
            colour = colour if colour.ndim == 1 else colour[place]
        pixels = window[place].astype(np.float32)
        pixels += (colour - pixels) * (np.float32(opacity) * share)[..., None]
        window[place] = np.rint(pixels, out=pixels)

    def shares_along(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """How far each pixel of the window lies on the way from one point (2,) to another, (h, w) in [0, 1]."""
        way = np.float32(end - start) / max(1e-6, float(np.square(end - start).sum()))
        height, width = self.coverage.shape
        across = (self.left + np.arange(width, dtype=np.float32) - np.float32(start[0])) * way[0]
        down = (self.top + np.arange(height, dtype=np.float32) - np.float32(start[1])) * way[1]
        return np.clip(down[:, None] + across, 0, 1)


def lines(picture: np.ndarray, polylines: Sequence[np.ndarray], width: float) -> Stencil:
    """Polylines, each (n, 2), as one shape, so that crossings are not painted twice."""
    return next(shapes(picture, [polylines], [width]))


def dots(picture: np.ndarray, points: np.ndarray, radius: float) -> Stencil:
    """Discs around points (n, 2) as one shape."""
    return lines(picture, np.asarray(points, dtype=float)[:, None].repeat(2, axis=1), 2 * radius)


def shapes(
    picture: np.ndarray, drawn: Sequence[Sequence[np.ndarray]], widths: Sequence[float]
) -> Iterator[Stencil]:
    """Several shapes, each of polylines (n, 2) of one width, in order; faster than `lines` for each.

    A point twice is a dot.
    """
    corners = [np.asarray(line, dtype=float) for polylines in drawn for line in polylines]
    owners = np.repeat(
        np.arange(len(drawn)), [sum(len(line) - 1 for line in polylines) for polylines in drawn]
    )
    starts, ends = (
        np.concatenate([np.zeros((0, 2)), *(line[part] for line in corners)])
        for part in (np.s_[:-1], np.s_[1:])
    )
    widths = np.asarray(widths, dtype=float)[owners]
    # Short pieces have small bounding boxes, which saves work on long diagonal segments.
    count = (np.hypot(*(ends - starts).T) // (32 + 4 * widths)).astype(int) + 1
    piece = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    shares = np.column_stack([piece, piece + 1]) / np.repeat(count, count)[:, None]
    starts, along, owners, widths = (
        np.repeat(one, count, axis=0) for one in (starts, ends - starts, owners, widths)
    )
    pieces = starts[:, None] + shares[..., None] * along[:, None]
    first, last, coverages = _capsules(picture, pieces, widths / 2)
    bounds = np.searchsorted(owners, np.arange(len(drawn) + 1))
    for start, end in pairwise(bounds.tolist()):
        if start == end:
            yield Stencil(0, 0, np.zeros((0, 0), dtype=np.float32))
            continue
        low, high = first[start:end].min(axis=0), last[start:end].max(axis=0)
        whole = np.zeros(np.maximum(high - low, 0)[::-1], dtype=np.float32)
        for (x, y), coverage in zip((first[start:end] - low).tolist(), coverages[start:end], strict=True):
            part = whole[y : y + coverage.shape[0], x : x + coverage.shape[1]]
            np.maximum(part, coverage, out=part)
        yield Stencil(*low.tolist(), whole)


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


def _capsules(
    picture: np.ndarray, segments: np.ndarray, radii: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """What is within a radius of each of the segments (n, 2, 2), in a window of its own.

    First pixels (x, y) and ones after the last (n, 2) of the windows, and the coverages (h, w).
    """
    size, margin = np.array([picture.shape[1], picture.shape[0]]), radii[:, None] + 1
    first = np.clip(np.floor(segments.min(axis=1) - margin), 0, size).astype(int)
    last = np.clip(np.ceil(segments.max(axis=1) + margin) + 1, 0, size).astype(int)
    sides = np.maximum(last - first, 0)
    # A line thinner than a pixel is drawn one pixel wide, but fainter.
    strengths, reaches = (
        np.float32(values)[:, None, None]
        for values in (np.minimum(1, 2 * radii), np.maximum(radii, 0.5) + 0.5)
    )
    coverages: list[np.ndarray] = [np.zeros((0, 0), np.float32)] * len(segments)
    # A call for each segment would take longer than its pixels. Windows of similar sides are computed together.
    kinds = np.ceil(2 * np.log2(np.maximum(sides, 1))).max(axis=1)
    for kind in set(kinds.tolist()):
        alike = np.flatnonzero(kinds == kind)
        width, height = sides[alike].max(axis=0)
        step = max(1, _TOGETHER // max(1, width * height))
        for start in range(0, len(alike), step):
            some = alike[start : start + step]
            x, y = (
                np.float32(first[some, axis, None] + np.arange(side))
                for axis, side in enumerate((width, height))
            )
            found = _distances(x, y, segments[some])
            np.subtract(reaches[some], found, out=found)
            np.clip(found, 0, 1, out=found)
            found *= strengths[some]
            for index, one, (wide, tall) in zip(some.tolist(), found, sides[some].tolist(), strict=True):
                coverages[index] = one[:tall, :wide]
    return first, last, coverages


def _distances(x: np.ndarray, y: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Distances (n, h, w) of pixels at x (n, w) and y (n, h) from segments (n, 2, 2)."""
    starts, along = np.float32(segments[:, 0]), np.float32(segments[:, 1] - segments[:, 0])
    lengths = np.square(along).sum(axis=1)
    lengths[lengths == 0] = 1
    x, y = (x - starts[:, :1])[:, None], (y - starts[:, 1:])[:, :, None]
    across, down = (along[:, axis, None, None] for axis in (0, 1))
    share = lengths[:, None, None]
    at = x * across / share + y * down / share
    np.clip(at, 0, 1, out=at)
    right, below = x - at * across, y - at * down
    np.square(right, out=right)
    right += np.square(below, out=below)
    return np.sqrt(right, out=right)


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
