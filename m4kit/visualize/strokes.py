"""Anti-aliased lines, dots, filled shapes and text on a picture.

The coverage of a pixel follows from its distance to the shape, so any line width is exact. All paint in place on a
contiguous picture (H, W, 3) uint8 RGB; the functions of `drawing` copy first. Points are (x, y) in pixels, with
integers at pixel centres, and may lie outside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

_TOGETHER = 1 << 16
"""Pixels that are computed at once, which stay in a processor's cache."""


class Strokes(NamedTuple):
    """The n pixels of a picture that polylines of one `width` touch, each once, for the nearest line.

    `places` (n,) number them row by row, `line` (n,) the polylines. `distance` (n,) is that from the line's middle.
    """

    places: np.ndarray
    line: np.ndarray
    distance: np.ndarray
    width: float

    def paint(
        self,
        picture: np.ndarray,
        colour: Colour | np.ndarray,
        *,
        opacity: float = 1.0,
        halo: float = 0.0,
    ) -> None:
        """Paint over the picture, in place: in one colour (3,), or one for each pixel (n, 3).

        With a `halo`, the lines are wider by that many pixels on each side.
        """
        if not len(self.places):
            return
        width = self.width + 2 * halo
        # A line thinner than a pixel is drawn one pixel wide, but fainter.
        share = np.clip(np.float32(max(width, 1) / 2 + 0.5) - self.distance, 0, 1)
        share *= np.float32(opacity * min(width, 1))
        # As one number of three bytes, pixels are taken and put fast.
        pixels = picture.view("V3").ravel()
        before = pixels.take(self.places).view(np.uint8).reshape(-1, 3)
        paint = cv2.merge([share * channel for channel in np.float32(colour).T]).reshape(-1, 3)
        rest = cv2.merge([1 - share] * 3).reshape(-1, 3)
        mixed = cv2.add(cv2.multiply(before, rest, dtype=cv2.CV_32F), paint, dtype=cv2.CV_8U)
        pixels.put(self.places, mixed.view("V3"))

    def shares_along(self, picture: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Compute how far each pixel lies on the way between two points (2,) of its line, (n,) in [0, 1].

        `starts` and `ends` hold those points of all lines.
        """
        way = ends - starts
        way = way / np.maximum(1e-6, np.square(way).sum(axis=1, keepdims=True))
        down, across = np.divmod(self.places, picture.shape[1])
        offset = (starts * way).sum(axis=1)
        along = across * way[self.line, 0] + down * way[self.line, 1] - offset[self.line]
        return np.clip(along, 0, 1).astype(np.float32)


def dots(picture: np.ndarray, points: np.ndarray, radius: float) -> Strokes:
    """Find the pixels of discs around points (n, 2)."""
    return lines(picture, np.asarray(points, dtype=float)[:, None].repeat(2, axis=1), 2 * radius)


def lines(
    picture: np.ndarray, polylines: Sequence[np.ndarray], width: float, *, halo: float = 0.0
) -> Strokes:
    """Find the pixels of polylines, each (n, 2), and of a `halo` of that many pixels around them.

    A line between two equal points is a dot.
    """
    reach = np.float32(max(width + 2 * halo, 1) / 2 + 0.5)
    pieces, owners = _pieces(polylines, longest=8 + 2 * reach)
    size = np.array([picture.shape[1], picture.shape[0]])
    first = np.clip(np.floor(pieces.min(axis=1) - reach), 0, size).astype(int)
    last = np.clip(np.ceil(pieces.max(axis=1) + reach) + 1, 0, size).astype(int)
    seen = np.flatnonzero((first < last).all(axis=1))
    low = first[seen].min(axis=0, initial=max(size))
    across, down = (last[seen].max(axis=0, initial=0) - low).tolist()
    wide, tall = (last - first)[seen].max(axis=0, initial=1).tolist()
    found = [[np.zeros(0, kind) for kind in (int, np.float32, int)]]
    # A call for each piece would take longer than its pixels. All are computed in windows of the same sides.
    step = max(1, _TOGETHER // (wide * tall))
    for some in np.split(seen, range(step, len(seen), step)):
        x, y = (first[some, axis, None] + np.arange(side) for axis, side in enumerate((wide, tall)))
        # Such a window may reach out of the picture, where no distance is small.
        inside = (np.where(at < side, at, np.nan) for at, side in zip((x, y), size, strict=True))
        near = reach - _distances(*inside, pieces[some])
        kept = np.flatnonzero(near > 0)
        place = ((y - low[1]) * across)[:, :, None] + (x - low[0])[:, None]
        found.append([place.take(kept), near.take(kept), some.take(kept // (wide * tall))])
    place, near, piece = (np.concatenate(part) for part in zip(*found, strict=True))
    # Each pixel belongs to the nearest piece.
    nearest = np.zeros(max(0, across * down), dtype=np.float32)
    np.maximum.at(nearest, place, near)
    won = np.flatnonzero(near == nearest.take(place))
    place, line = place.take(won), owners.take(piece.take(won))
    place += (low[1] * size[0] + low[0]) + (size[0] - across) * (place // max(1, across))
    return Strokes(place, line, reach - near.take(won), width)


def _pieces(polylines: Sequence[np.ndarray], longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Pieces (n, 2, 2) of polylines, and the polyline of each, (n,).

    Short pieces have small bounding boxes, which saves work on long diagonal segments.
    """
    corners = [np.asarray(line, dtype=float) for line in polylines]
    owners = np.repeat(np.arange(len(corners)), [len(line) - 1 for line in corners])
    starts, ends = (
        np.concatenate([np.zeros((0, 2)), *(line[part] for line in corners)])
        for part in (np.s_[:-1], np.s_[1:])
    )
    count = (np.hypot(*(ends - starts).T) // longest).astype(int) + 1
    piece = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    shares = np.column_stack([piece, piece + 1]) / np.repeat(count, count)[:, None]
    starts, along, owners = (np.repeat(one, count, axis=0) for one in (starts, ends - starts, owners))
    return starts[:, None] + shares[..., None] * along[:, None], owners


def fill(picture: np.ndarray, corners: np.ndarray, colour: Colour, *, opacity: float = 1.0) -> None:
    """Fill a polygon with corners (n, 2), in place."""
    bits = 4
    low, high = _window(picture, corners, 1)
    if (low >= high).any():
        return
    window = picture[low[1] : high[1], low[0] : high[0]]
    fixed = np.rint((corners - low) * (1 << bits)).astype(np.int32)
    filled = cv2.fillPoly(window.copy(), [fixed], colour, lineType=cv2.LINE_AA, shift=bits)
    cv2.addWeighted(filled, opacity, window, 1 - opacity, 0, dst=window)


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
    canvas = Image.new("L", window.shape[1::-1])
    ImageDraw.Draw(canvas).text((-left, -top), text, font=font, fill=255)
    letters = np.asarray(canvas)
    # Pillow's own halo takes several times longer than the letters.
    away = cv2.distanceTransform(np.uint8(letters < 128), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    for share, paint in ((np.clip(border + 1 - away, 0, 1), halo), (letters / np.float32(255), colour)):
        window[:] = cv2.blendLinear(np.full_like(window, paint), window, share, 1 - share)


def label(picture: np.ndarray, text: str, place: tuple[float, float], *, height: float, **colours) -> None:
    """Write a line of text to the right of a point, in place, vertically centred; see `words`."""
    font = _font(max(6, int(height)))
    canvas = Image.fromarray(picture)
    halo = {"stroke_width": max(1, round(height / 8)), "stroke_fill": colours["halo"]}
    ImageDraw.Draw(canvas).text(place, text, font=font, fill=colours["colour"], anchor="lm", **halo)
    ImageDraw.Draw(canvas).text(place, text, font=font, fill=colours["colour"], anchor="lm")
    picture[:] = np.asarray(canvas)


def width(text: str, *, height: float) -> float:
    """Measure the width in pixels of a line of text with letters `height` pixels tall."""
    return _font(max(6, int(height))).getlength(text)


def _distances(x: np.ndarray, y: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Distances (n, h, w) of pixels at x (n, w) and y (n, h) from segments (n, 2, 2)."""
    x, y = np.float32(x), np.float32(y)
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
