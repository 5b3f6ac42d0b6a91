"""Finds which triangle of a mesh a viewer sees at each pixel: orthographic, with a depth buffer.

The view is along z, towards negative z. x points right, y down, with integers at pixel centres. All triangles count,
whatever their side.

numpy is fast here with indices of its own type (intp) and `take`; `where` and mixed types take several times longer.
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

_NOTHING = -1
"""The key of a point without a triangle. Its upper half is a NaN in float32."""


class Seen(NamedTuple):
    """What is seen at n points.

    `depth` (n,) float32 is the z of the nearest triangle, NaN where there is none. `values` (c, n) float32 are the
    numbers there, between those of its corners; 0 where there is none.
    """

    depth: np.ndarray
    values: np.ndarray


class _Spans(NamedTuple):
    """Rows of points in triangles, (n,) each: the triangle, the row, its first column, and how many points."""

    triangle: np.ndarray
    row: np.ndarray
    first: np.ndarray
    count: np.ndarray


def look(
    corners: np.ndarray,
    window: tuple[int, int, int, int],
    *,
    values: np.ndarray | None = None,
    pixels: np.ndarray | None = None,
    fine: int = 1,
) -> Seen:
    """Find what is seen of triangles at the pixels of a window, row by row.

    `corners` (3, 3, T) are x, y and z of the first, second and third corner of each triangle, `values` (c, 3, T)
    numbers there. `window` is (left, top, width, height). `pixels` (height, width) chooses some of the pixels. With
    `fine`, a pixel has fine x fine points of an even grid: first come the first points of all pixels.
    """
    left, top, width, height = window
    x, y, z = corners
    x, y = ((fine * (at - start + 0.5) - 0.5).astype(np.float32) for at, start in ((x, left), (y, top)))
    grid = _Grid((width, height), pixels, fine)
    if pixels is not None:
        some = grid.meets(x, y)
        x, y, z = (at.take(some, axis=1) for at in (x, y, z))
        values = values if values is None else values.take(some, axis=2)
    planes = _Planes(x, y)
    spans = _spans(x, y, planes.solid, grid)
    # A key has the depth in its upper half, the triangle in its lower. Positive floats are sorted like their bits.
    base = z.min(initial=0) - 1
    start, slope = planes.along(spans, (z - base).astype(np.float32))
    nearest = np.full(grid.count, _NOTHING, dtype=np.int64)
    for part in _parts(spans.count):
        span, step = _counted(spans.count[part])
        depth = slope[part].take(span)
        depth *= step.astype(np.float32)
        depth += start[part].take(span)
        np.maximum(depth, 1, out=depth)
        key = depth.view(np.int32).astype(np.int64)
        key <<= 32
        key |= spans.triangle[part].take(span)
        place, kept = grid.places(spans.row[part], spans.first[part], span, step)
        np.maximum.at(nearest, place, key if kept is None else key.take(kept))
    depth = (nearest >> 32).astype(np.int32).view(np.float32) + np.float32(base)
    triangle = nearest.astype(np.int32).astype(np.intp)
    values = () if values is None else values
    return Seen(depth, planes.at(triangle, *grid.positions(), values))


class _Planes:
    """Numbers at the corners of triangles (T,) as linear functions of x and y, which are (3, T)."""

    def __init__(self, x: np.ndarray, y: np.ndarray):
        ax, ay, bx, by = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
        area = ax * by - ay * bx
        self.solid = np.abs(area) > _LEAST_AREA
        scale = 1 / np.where(self.solid, area, np.inf)
        self._second, self._third = (by * scale, -bx * scale), (-ay * scale, ax * scale)
        self._corner = x[0], y[0]

    def _slopes(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        """Compute how much numbers (3, T) grow along x and y."""
        one, other = numbers[1] - numbers[0], numbers[2] - numbers[0]
        return (second * one + third * other for second, third in zip(self._second, self._third, strict=True))

    def along(self, spans: _Spans, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute the number (n,) at the first point of each span, and how much it grows from point to point."""
        of, (across, down), (x, y) = spans.triangle, self._slopes(numbers), self._corner
        slope = across.take(of)
        start = slope * (spans.first.astype(np.float32) - x.take(of))
        start += down.take(of) * (spans.row.astype(np.float32) - y.take(of))
        start += numbers[0].take(of)
        return start, slope

    def at(self, triangle: np.ndarray, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Interpolate values (c, 3, T) at the corners of triangles (n,), to (c, n); 0 where the triangle is -1."""

        def there(numbers: np.ndarray) -> np.ndarray:
            # -1 takes the last.
            return np.append(numbers, np.float32(0)).take(triangle).reshape(shape)

        shape = np.broadcast_shapes(x.shape, y.shape)
        right, below = (at - there(corner) for at, corner in zip((x, y), self._corner, strict=True))
        found = np.empty((len(values), *shape), dtype=np.float32)
        for number, numbers in enumerate(values):
            across, down = (there(slope) for slope in self._slopes(numbers))
            across *= right
            down *= below
            across += down
            np.add(across, there(numbers[0]), out=found[number])
        return found.reshape(len(values), triangle.size)


class _Grid:
    """The points of a window's pixels, fine x fine in each, and their places among those of the chosen pixels."""

    def __init__(self, size: tuple[int, int], pixels: np.ndarray | None, fine: int):
        (self._width, height), self.fine = size, fine
        self.size, self.count, self._chosen = (fine * self._width, fine * height), self._width * height, None
        if pixels is not None or fine > 1:
            pixels = np.ones((height, self._width), bool) if pixels is None else pixels
            self._chosen, self._sums = np.flatnonzero(pixels), cv2.integral(pixels.astype(np.uint8))
            self._before = np.append(0, np.cumsum(pixels))
            self.count = fine**2 * len(self._chosen)

    def meets(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Find the numbers of triangles whose boxes meet chosen pixels; `x` and `y` are (3, T)."""
        bounds = []
        for at, side in zip((x, y), self._sums.shape[::-1], strict=True):
            ends = at.min(axis=0) / self.fine, at.max(axis=0) / self.fine + 1
            bounds.append([np.clip(end, 0, side - 1).astype(np.intp) for end in ends])
        (left, right), (top, bottom) = bounds
        sums, top, bottom = self._sums.ravel(), top * self._sums.shape[1], bottom * self._sums.shape[1]
        below, above = (sums.take(line + right) - sums.take(line + left) for line in (bottom, top))
        return np.flatnonzero(below > above)

    def met(self, spans: _Spans) -> _Spans:
        """Return those spans that meet chosen pixels."""
        if self._chosen is None:
            return spans
        line = spans.row // self.fine * self._width
        last = spans.first + spans.count - 1
        before, after = (
            self._before.take(line + end) for end in (spans.first // self.fine, last // self.fine + 1)
        )
        some = np.flatnonzero(after > before)
        return _Spans(*(one.take(some) for one in spans))

    def places(
        self, row: np.ndarray, first: np.ndarray, span: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Find the places of points, each some steps after its span's first, and which points have one; None: all."""
        if self._chosen is None:
            return (self._width * row + first).take(span) + step, None
        fine, line, column = self.fine, row // self.fine, first.take(span) + step
        pixel = column // fine
        number = (self._width * line).take(span) + pixel
        after, number = self._before.take(number + 1), self._before.take(number)
        kept = np.flatnonzero(after > number)
        within = (fine * (row - fine * line)).take(span) + column - fine * pixel
        return (number + len(self._chosen) * within).take(kept), kept

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns and rows of all points, float32, which broadcast to their shape."""
        if self._chosen is None:
            width, height = self.size
            return np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        (row, column), (below, right) = (
            divmod(number, side)
            for number, side in (
                (self._chosen, self._width),
                (np.arange(self.fine**2)[:, None], self.fine),
            )
        )
        return (self.fine * column + right).astype(np.float32), (self.fine * row + below).astype(np.float32)


def _parts(counts: np.ndarray) -> Iterator[slice]:
    """Cut items into slices that count about `_TOGETHER` together."""
    ends = np.cumsum(counts)
    if not len(ends):
        return
    bounds = np.searchsorted(ends, np.arange(0, ends[-1], _TOGETHER), side="right")
    for begin, end in zip(bounds, [*bounds[1:], len(ends)], strict=True):
        yield slice(begin, end)


def _spans(x: np.ndarray, y: np.ndarray, solid: np.ndarray, grid: _Grid) -> _Spans:
    """Find the rows of a grid's points in the `solid` ones of triangles; `x` and `y` are (3, T).

    If only some pixels are chosen, those rows of a triangle that meet one of them.
    """
    width, height = grid.size
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
    edges, down = [], step.astype(np.float32)
    for slope, at_x, at_y in ((long.take(item), xa, ya), (np.concatenate(short).take(half), xb, yb)):
        start = at_x.take(item) + slope * (first - at_y.take(item))
        edge = slope.take(of)
        edge *= down
        edge += start.take(of)
        edges.append(edge)
    slack = np.float32(_TOLERANCE * max(grid.size))
    begin = np.ceil(np.clip(np.minimum(*edges) - slack, 0, width)).astype(np.intp)
    points = np.floor(np.clip(np.maximum(*edges) + slack, -1, width - 1)).astype(np.intp)
    points -= begin - 1
    row = first.astype(np.intp).take(of) + step
    filled = np.flatnonzero(points > 0)
    spans = _Spans(item.take(of.take(filled)), *(at.take(filled) for at in (row, begin, points)))
    return grid.met(spans)


def _by_height(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sort the corners (x, y) of triangles, the one of the least y first; `x` and `y` are (3, n)."""
    corners = list(zip(x, y, strict=True))
    for one, other in ((0, 1), (1, 2), (0, 1)):
        (ax, ay), (bx, by) = corners[one], corners[other]
        swap = ay > by
        corners[one] = np.where(swap, bx, ax), np.minimum(ay, by)
        corners[other] = np.where(swap, ax, bx), np.maximum(ay, by)
    return corners


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Repeat each item's number as often as it counts, and count 0, 1, 2, ... within each item."""
    number = np.repeat(np.arange(len(counts)), counts)
    return number, np.arange(len(number)) - (np.cumsum(counts) - counts).take(number)
