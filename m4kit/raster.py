"""Finds which triangle of a mesh a viewer sees at each pixel: orthographic, with a depth buffer.

The view is along z, towards negative z. x points right, y down, with integers at pixel centres. All triangles count,
whatever their side.

numpy is fast here with indices of its own type (intp) and `take`; `repeat` and `where` take several times longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

_TOLERANCE = 5e-7
"""How far outside of a triangle a point counts as inside, as a share of the window's side: float32 leaves no gap."""

_LEAST_AREA = 1e-12
"""Triangles of a smaller area, in square pixels, are seen from their edge: nothing is seen of them."""

_TOGETHER = 1 << 18
"""Points that are looked at together, which bounds the memory."""


class Seen(NamedTuple):
    """What is seen at n points.

    `triangle` (n,) is the nearest triangle, -1 where there is none. `weights` (3, n) float32 are the point's
    barycentric weights in it, 0 without one, and `depth` (n,) float32 its z, NaN without one.
    """

    triangle: np.ndarray
    weights: np.ndarray
    depth: np.ndarray


class _Spans(NamedTuple):
    """Rows of points in triangles, (n,) each: the triangle, the row, its first column, and how many points."""

    triangle: np.ndarray
    row: np.ndarray
    first: np.ndarray
    count: np.ndarray


def look(
    corners: np.ndarray, window: tuple[int, int, int, int], *, pixels: np.ndarray | None = None, fine: int = 1
) -> Seen:
    """What is seen of triangles at the pixels of a window, row by row.

    `corners` (3, 3, T) are x, y and z of the first, second and third corner of each triangle. `window` is (left,
    top, width, height). `pixels` (height, width) chooses some of the pixels. With `fine`, a pixel has fine x fine
    points of an even grid, which come one after the other.
    """
    left, top, width, height = window
    x, y, z = corners
    x, y = fine * (x - left + 0.5) - 0.5, fine * (y - top + 0.5) - 0.5
    grid = _Grid((width, height), pixels, fine)
    some = _in_view(x, y, grid)
    x, y, z = (values.take(some, axis=1) for values in (x, y, z))
    planes = _Planes(x, y, z)
    nearest = np.full(grid.count, -1)
    depth = np.full(grid.count, -np.inf, dtype=np.float32)
    spans = _spans(x, y, planes.solid, grid)
    start, slope = planes.depth_of(spans)
    for part in _parts(spans.count):
        row, first, count = spans.row[part], spans.first[part], spans.count[part]
        span, step = _counted(count)
        here = slope[part].take(span)
        here *= step
        here += start[part].take(span)
        place, kept = grid.places(row, first, span, step)
        if kept is not None:
            here, span = here.take(kept), span.take(kept)
        np.maximum.at(depth, place, here)
        won = np.flatnonzero(here == depth.take(place))
        nearest[place.take(won)] = spans.triangle[part].take(span.take(won))
    hit = np.flatnonzero(nearest >= 0)
    of, weights = nearest.take(hit), np.zeros((3, grid.count), dtype=np.float32)
    # Row by row, which is faster.
    for row, found in zip(weights, planes.weights_at(of, *grid.positions(hit)), strict=True):
        row[hit] = found
    nearest[hit] = some.take(of)
    depth[np.isneginf(depth)] = np.nan
    return Seen(nearest, weights, depth)


class _Planes:
    """The weights and the depth of triangles (T,) as linear functions of x and y; `x`, `y` and `z` are (3, T)."""

    def __init__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray):
        ax, ay, bx, by = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
        area = ax * by - ay * bx
        self.solid = np.abs(area) > _LEAST_AREA
        scale = 1 / np.where(self.solid, area, np.inf)
        # Of the second weight, the third weight and the depth, in x and in y.
        second, third = (by * scale, -bx * scale), (-ay * scale, ax * scale)
        az, bz = z[1] - z[0], z[2] - z[0]
        self._slopes = second, third, tuple(a * az + b * bz for a, b in zip(second, third, strict=True))
        self._corner = x[0], y[0], z[0]

    def depth_of(self, spans: _Spans) -> tuple[np.ndarray, np.ndarray]:
        """The depth (n,) at the first point of each span, and how much deeper each further one is."""
        of, (x, y, z), (across, down) = spans.triangle, self._corner, self._slopes[2]
        slope = across.take(of)
        start = z.take(of) + slope * (spans.first - x.take(of)) + down.take(of) * (spans.row - y.take(of))
        return start.astype(np.float32), slope.astype(np.float32)

    def weights_at(self, of: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """The three weights, (n,) each, of triangles (n,) at points."""
        right, below = (
            at.astype(np.float32) - corner.astype(np.float32).take(of)
            for at, corner in zip((x, y), self._corner[:2], strict=True)
        )
        second, third = (
            across.astype(np.float32).take(of) * right + down.astype(np.float32).take(of) * below
            for across, down in self._slopes[:2]
        )
        return 1 - second - third, second, third


class _Grid:
    """The points of a window's pixels, fine x fine in each, and their places among those of the chosen pixels."""

    def __init__(self, size: tuple[int, int], pixels: np.ndarray | None, fine: int):
        self._width, self.fine, self.size = size[0], fine, (fine * size[0], fine * size[1])
        self.boxes = self._chosen = None
        self.count = fine**2 * (size[0] * size[1] if pixels is None else int(np.count_nonzero(pixels)))
        if pixels is not None:
            self.boxes, self._chosen = _Boxes(pixels, fine), np.flatnonzero(pixels)
            self._number = np.full(size[0] * size[1], -1)
            self._number[self._chosen] = np.arange(len(self._chosen))

    def places(
        self, row: np.ndarray, first: np.ndarray, span: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The places of points, each some steps after the first of its span, and which points have one; None: all."""
        if self.fine == 1 and self._chosen is None:
            return (self._width * row + first).take(span) + step, None
        (row, below), (column, right) = divmod(row, self.fine), divmod(first.take(span) + step, self.fine)
        pixel = (self._width * row).take(span) + column
        if self._chosen is not None:
            pixel = self._number.take(pixel)
        kept = np.flatnonzero(pixel >= 0)
        return (self.fine**2 * pixel + (self.fine * below).take(span) + right).take(kept), kept

    def positions(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The columns and rows of points at places."""
        pixel, within = (place, 0) if self.fine == 1 else divmod(place, self.fine**2)
        if self._chosen is not None:
            pixel = self._chosen.take(pixel)
        (row, column), (below, right) = divmod(pixel, self._width), divmod(within, self.fine)
        return self.fine * column + right, self.fine * row + below


def _parts(counts: np.ndarray) -> Iterator[slice]:
    """Slices of items that count some `_TOGETHER` together."""
    ends = np.cumsum(counts)
    if not len(ends):
        return
    bounds = np.searchsorted(ends, np.arange(0, ends[-1], _TOGETHER), side="right")
    for begin, end in zip(bounds, [*bounds[1:], len(ends)], strict=True):
        yield slice(begin, end)


def _in_view(x: np.ndarray, y: np.ndarray, grid: _Grid) -> np.ndarray:
    """The numbers of triangles whose boxes have points of the chosen pixels; `x` and `y` are (3, T)."""
    width, height = grid.size
    top, bottom, left, right = y.min(axis=0), y.max(axis=0), x.min(axis=0), x.max(axis=0)
    some = np.flatnonzero(
        (np.maximum(np.ceil(top), 0) <= np.minimum(np.floor(bottom), height - 1))
        & (np.maximum(np.ceil(left), 0) <= np.minimum(np.floor(right), width - 1))
    )
    if grid.boxes is None:
        return some
    return some[grid.boxes.any_in(*(edge.take(some) for edge in (left, top, right, bottom)))]


def _spans(x: np.ndarray, y: np.ndarray, solid: np.ndarray, grid: _Grid) -> _Spans:
    """The rows of a grid's points in the `solid` ones of triangles; `x` and `y` are (3, T).

    If only some pixels are chosen, those rows of a triangle that meet one of them.
    """
    (width, height), chosen = grid.size, grid.boxes
    (xa, ya), (xb, yb), (xc, yc) = _by_height(x, y)
    # Each triangle has rows above and below its middle corner, between its long edge and one of the others.
    middle = np.floor(yb)
    first = np.maximum(np.concatenate([np.ceil(ya), middle + 1]), 0)
    count = np.minimum(np.concatenate([middle, np.floor(yc)]), height - 1) - first + 1
    half = np.flatnonzero((count > 0) & np.tile(solid, 2))
    first, count = first.take(half), count.take(half).astype(np.intp)
    long = (xc - xa) / (yc - ya + (yc == ya))
    short = [
        (one - other) / (tall + (tall == 0)) for one, other, tall in ((xb, xa, yb - ya), (xc, xb, yc - yb))
    ]
    of, step = _counted(count)
    item = half % max(1, len(solid))
    edges = []
    for slope, at_x, at_y in ((long.take(item), xa, ya), (np.concatenate(short).take(half), xb, yb)):
        start = at_x.take(item) + slope * (first - at_y.take(item))
        edge = slope.astype(np.float32).take(of)
        edge *= step
        edge += start.astype(np.float32).take(of)
        edges.append(edge)
    slack = np.float32(_TOLERANCE * max(grid.size))
    begin = np.ceil(np.clip(np.minimum(*edges) - slack, 0, width)).astype(np.intp)
    points = np.floor(np.clip(np.maximum(*edges) + slack, -1, width - 1)).astype(np.intp)
    points -= begin - 1
    row = first.astype(np.intp).take(of) + step
    filled = np.flatnonzero(points > 0)
    begin, points, row = (values.take(filled) for values in (begin, points, row))
    triangle = item.take(of.take(filled))
    if chosen is None:
        return _Spans(triangle, row, begin, points)
    met = np.flatnonzero(chosen.any_in(begin, row, begin + points - 1, row))
    return _Spans(*(values.take(met) for values in (triangle, row, begin, points)))


def _by_height(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The corners (x, y) of triangles, the one of the least y first; `x` and `y` are (3, n)."""
    corners = list(zip(x, y, strict=True))
    for one, other in ((0, 1), (1, 2), (0, 1)):
        (ax, ay), (bx, by) = corners[one], corners[other]
        swap = ay > by
        corners[one] = np.where(swap, bx, ax), np.minimum(ay, by)
        corners[other] = np.where(swap, ax, bx), np.maximum(ay, by)
    return corners


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each item as often as it counts, which is once at least; and 0, 1, 2, ... for each item."""
    ends = np.cumsum(counts)
    begin = ends - counts
    number = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.intp)
    number[begin[1:]] = 1
    np.cumsum(number, out=number)
    return number, np.arange(len(number)) - begin.take(number)


class _Boxes:
    """Whether boxes contain some of an image's pixels (h, w), by a summed area table."""

    def __init__(self, pixels: np.ndarray, fine: int):
        self._sums, self._fine = cv2.integral(pixels.astype(np.uint8)), fine

    def any_in(self, left: np.ndarray, top: np.ndarray, right: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        """Which boxes (n,), from left and top to right and bottom, have one; in a grid `fine` times as fine."""
        (height, width), share = self._sums.shape, 1 / self._fine
        (left, right), (top, bottom) = (
            [np.clip(edge * share + more, 0, most - 1).astype(np.intp) for edge, more in ends]
            for ends, most in ((((left, 0), (right, 1)), width), (((top, 0), (bottom, 1)), height))
        )
        sums, top, bottom = self._sums.ravel(), top * width, bottom * width
        below, above = (sums.take(line + right) - sums.take(line + left) for line in (bottom, top))
        return below > above
