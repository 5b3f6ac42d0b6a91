"""Finds which triangle of a mesh a viewer sees at each pixel: orthographic, with a depth buffer.

The view is along z, towards negative z. x points right, y down, with integers at pixel centres. All triangles count,
whatever their side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_TOLERANCE = 1e-9
"""How far outside of a triangle, in pixels, a point counts as inside: there is no gap between two triangles."""

_LEAST_AREA = 1e-12
"""Triangles of a smaller area, in square pixels, are seen from their edge: nothing is seen of them."""

_TOGETHER = 1 << 18
"""Points that are looked at together, which bounds the memory."""


class Seen(NamedTuple):
    """What is seen at n points.

    `triangle` (n,) int32 is the nearest triangle, -1 where there is none. `weights` (n, 3) float32 are the point's
    barycentric weights in it, 0 without one, and `depth` (n,) float32 its z, NaN without one.
    """

    triangle: np.ndarray
    weights: np.ndarray
    depth: np.ndarray


def look(
    corners: np.ndarray, window: tuple[int, int, int, int], *, pixels: np.ndarray | None = None, fine: int = 1
) -> Seen:
    """What is seen of triangles at the pixels of a window, row by row.

    `corners` (3, 3, T) are x, y and z of the first, second and third corner of each triangle. `window` is (left,
    top, width, height). `pixels` (height, width) chooses some of the pixels. With `fine`, a pixel has fine x fine
    points of an even grid, which come one after the other.
    """
    left, top, width, height = window
    every = pixels is None
    number = (
        np.arange(width * height)
        if every
        else np.where(pixels, pixels.cumsum().reshape(pixels.shape) - 1, -1)
    )
    found = _Buffer((width * height if every else int(np.count_nonzero(pixels))) * fine**2)
    x, y, z = corners
    x, y = fine * (x - left + 0.5) - 0.5, fine * (y - top + 0.5) - 0.5
    for across, down, *values in _points((x, y, z), (fine * width, fine * height), pixels, fine):
        column, row = across // fine, down // fine
        pixel = number.ravel()[row * width + column]
        place = fine * (fine * pixel + down - fine * row) + across - fine * column
        chosen = slice(None) if every else np.flatnonzero(pixel >= 0)
        found.add(place[chosen], *(one[chosen] for one in values))
    return found.seen()


def _points(
    corners: tuple[np.ndarray, ...], size: tuple[int, int], pixels: np.ndarray | None, fine: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """The points of a grid in each triangle: x, y, the triangle, the weights of its second and third corner, and z.

    `corners` are x, y, z, each (3, T); `size` is (width, height) of the grid. With `pixels`, only points in rows of
    the triangle that meet one of them.
    """
    width, height = size
    x, y, z = corners
    ax, ay, az, bx, by, bz = (values[corner] - values[0] for corner in (1, 2) for values in (x, y, z))
    area = ax * by - ay * bx
    low, high = (
        np.clip(np.ceil(edge), 0, height).astype(np.int32)
        for edge in (y.min(axis=0) - _TOLERANCE, np.nextafter(y.max(axis=0), np.inf))
    )
    rows = np.where(
        (area != 0) & (x.max(axis=0) > -1) & (x.min(axis=0) < width), np.maximum(high - low, 0), 0
    )
    some = np.flatnonzero(rows)
    chosen = None if pixels is None else _Boxes(pixels)
    if chosen is not None:
        left, right = (np.floor(edge[some] / fine) for edge in (x.min(axis=0), x.max(axis=0)))
        some = some[chosen.any_in(left, low[some] // fine, right + 2, (high[some] - 1) // fine + 1)]
    triangle, down = _counted(some, rows[some], low[some])
    scale = 1 / area[some]
    # Weights and depth are linear in x and y: their gradients, and their values at x = 0 in each row.
    slopes = (by[some] * scale, -ay[some] * scale), (-bx[some] * scale, ax[some] * scale)
    repeats = rows[some]
    fields = []
    for slope, steep in zip(*slopes, strict=True):
        start = -slope * x[0, some] - steep * y[0, some]
        fields.append(
            (np.repeat(slope, repeats), np.repeat(start, repeats) + np.repeat(steep, repeats) * down)
        )
    (slope2, start2), (slope3, start3) = fields
    edges = (slope2, start2), (slope3, start3), (-slope2 - slope3, 1 - start2 - start3)
    first, last = np.full(len(down), -np.inf), np.full(len(down), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for slope, start in edges:
            root = -start / slope
            np.maximum(first, np.where(slope > 0, root, -np.inf), out=first)
            np.minimum(last, np.where(slope < 0, root, np.inf), out=last)
    first = np.clip(np.ceil(first - _TOLERANCE), 0, width).astype(np.int32)
    counts = np.maximum(np.clip(np.floor(last + _TOLERANCE) + 1, 0, width).astype(np.int32) - first, 0)
    filled = np.flatnonzero(counts)
    if chosen is not None:
        left, right, row = first[filled] // fine, (first + counts - 1)[filled] // fine, down[filled] // fine
        filled = filled[chosen.any_in(left, row, right + 1, row + 1)]
    ends = np.cumsum(counts[filled])
    bounds = np.searchsorted(ends, np.arange(0, ends[-1] if len(ends) else 1, _TOGETHER), side="right")
    for begin, end in zip(bounds, [*bounds[1:], len(filled)], strict=True):
        part = filled[begin:end]
        number, across = _counted(part, counts[part], first[part])
        of = triangle[number]
        second, third = (start[number] + slope[number] * across for slope, start in fields)
        depth = z[0, of] + second * az[of] + third * bz[of]
        yield across, down[number], of, second, third, depth


def _counted(items: np.ndarray, counts: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each item as often as it counts, and numbers that run from its start."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(items, counts), np.arange(total) + np.repeat(starts - ends + counts, counts)


class _Boxes:
    """Whether boxes contain some of an image's pixels (h, w), by a summed area table."""

    def __init__(self, pixels: np.ndarray):
        self._sums = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1), dtype=np.int32)
        self._sums[1:, 1:] = pixels.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)

    def any_in(self, left: np.ndarray, top: np.ndarray, right: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        """Which boxes (n,), from left and top to before right and bottom, have one."""
        height, width = self._sums.shape
        left, right = (np.clip(edge, 0, width - 1).astype(np.int32) for edge in (left, right))
        top, bottom = (np.clip(edge, 0, height - 1).astype(np.int32) for edge in (top, bottom))
        sums = self._sums
        return sums[bottom, right] - sums[bottom, left] - sums[top, right] + sums[top, left] > 0


class _Buffer:
    """The nearest triangle so far at n points."""

    def __init__(self, count: int):
        self._triangle = np.full(count, -1, dtype=np.int32)
        self._weights = np.zeros((3, count), dtype=np.float32)
        self._depth = np.full(count, -np.inf)

    def add(
        self,
        place: np.ndarray,
        triangle: np.ndarray,
        second: np.ndarray,
        third: np.ndarray,
        depth: np.ndarray,
    ) -> None:
        """Put points (n,) of triangles at places, where nothing nearer is."""
        np.maximum.at(self._depth, place, depth)
        nearest = np.flatnonzero(depth == self._depth[place])
        place, second, third = place[nearest], second[nearest], third[nearest]
        self._triangle[place] = triangle[nearest]
        for corner, weight in enumerate((1 - second - third, second, third)):
            self._weights[corner, place] = weight

    def seen(self) -> Seen:
        """What is seen."""
        depth = self._depth.astype(np.float32)
        depth[self._triangle < 0] = np.nan
        return Seen(self._triangle, np.ascontiguousarray(self._weights.T), depth)
