"""The simplex of the heads' weights as four cuts through one point, coloured by the accuracy that a study measured.

Four weights that sum to 1 fill a tetrahedron, which no flat picture shows whole. With one head's weight held, the
other three share the rest, and that is a triangle: a cut. Four cuts, one for each head that is held, all hold the
present point, and show what any change from there would do.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from m4kit.ablation.heads.accuracy import accuracy_at
from m4kit.ablation.heads.judge import HEADS
from m4kit.ablation.heads.record import HeadStudy
from m4kit.vertex_colours import VertexColours, scalar_colours
from m4kit.visualize import strokes

PARTS = 25
"""Steps along each side of a cut at which the accuracy is asked for; between, the picture is interpolated."""

_INK, _PAPER, _LINE = (36, 41, 47), (255, 255, 255), (255, 255, 255)
_PRESENT = (255, 59, 48)
_TEXT = {"colour": _INK, "halo": _PAPER}


def accuracy_scale(record: HeadStudy, values: np.ndarray | None = None) -> VertexColours:
    """Colours of errors (n,) in percent on the record's own scale; by default those of its grid.

    The scale ends where nine of ten of the grid's weights are better: a head alone may be so bad that it would take
    the colours from the rest.
    """
    errors = record.grid.headline
    limits = float(errors.min()), float(np.percentile(errors, 90))
    return scalar_colours(
        errors if values is None else values, unit=f"{record.criterion}, %", limits=limits, scale="viridis"
    )


def cuts_picture(record: HeadStudy, weights: np.ndarray, *, side: int = 210) -> np.ndarray:
    """Four cuts through weights (4,), side by side, (H, 4 * side, 3) uint8 RGB.

    Each holds one head's weight; a corner gives all the rest to the head that it names. Colours are
    `accuracy_scale`'s, interpolated between measured weights. Red: the weights themselves; cross: the lowest error
    on the cut; within the white line, weights do not differ from the best.
    """
    weights = np.asarray(weights, dtype=float)
    shares = _lattice()
    points = np.stack(
        [np.insert((1 - weights[held]) * shares, held, weights[held], axis=1) for held in range(HEADS)]
    )
    found = accuracy_at(record, points)
    return np.concatenate(
        [
            _cut(_blank(held, side), record, found.nme[held], found.difference[held, :, 1], weights)
            for held in range(HEADS)
        ],
        axis=1,
    )


def shares_of(weights: np.ndarray, held: int) -> np.ndarray:
    """How the other three heads share what the held one leaves, (3,), in their order; alike if it leaves nothing."""
    others = np.delete(np.asarray(weights, dtype=float), held)
    return others / others.sum() if others.sum() > 1e-9 else np.full(3, 1 / 3)


class _Blank(NamedTuple):
    """What all cuts share that hold one head, `held`.

    `picture` (H, W, 3) without colours, the `corners` (3, 2) of the other heads in their order (lower left, lower
    right, top), and of the pixels that the triangle covers their `places` (rows, columns) and its `share` of each.
    """

    held: int
    picture: np.ndarray
    corners: np.ndarray
    places: tuple[np.ndarray, np.ndarray]
    share: np.ndarray


@lru_cache(maxsize=16)
def _blank(held: int, side: int) -> _Blank:
    unit = side / 150
    picture = np.full((round(1.02 * side), side, 3), _PAPER, dtype=np.uint8)
    margin, top = 21 * unit, 38 * unit
    height = (side - 2 * margin) * 0.75**0.5
    corners = np.array([[margin, top + height], [side - margin, top + height], [side / 2, top]])
    strokes.words(picture, f"head {held + 1} held", (side / 2, 8 * unit), height=11 * unit, **_TEXT)
    names = [f"{head + 1}" for head in range(HEADS) if head != held]
    for name, (x, y), (across, down) in zip(names, corners, ((-9, 6), (9, 6), (0, -9)), strict=True):
        strokes.words(picture, name, (x + across * unit, y + down * unit), height=11 * unit, **_TEXT)
    mask = np.zeros(picture.shape[:2], dtype=np.uint8)
    cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    places = np.nonzero(mask)
    return _Blank(held, picture, corners, places, mask[places][:, None].astype(np.float32) / 255)


def _cut(
    blank: _Blank, record: HeadStudy, error: np.ndarray, above: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """One cut, of the errors (n,) on the lattice, and how surely they are above the best's (n,)."""
    picture = blank.picture.copy()
    unit = picture.shape[1] / 150
    placed = [_in_triangle(values, blank.corners, picture.shape[1::-1]) for values in (error, above)]
    colours = accuracy_scale(record, placed[0][blank.places]).colours.astype(np.float32)
    line = np.clip(1.1 * unit - _distance_from_zero(placed[1])[blank.places], 0, 1)[:, None]
    colours += (np.float32(_LINE) - colours) * line
    picture[blank.places] = np.rint(_PAPER + (colours - _PAPER) * blank.share)
    lowest = _lattice()[error.argmin()]
    _mark(picture, lowest @ blank.corners, shares_of(weights, blank.held) @ blank.corners, unit)
    return picture


@cache
def _lattice() -> np.ndarray:
    """Shares (n, 3) of three heads on a square lattice.

    Only half of the square is the triangle. The other half repeats its edge, so that nothing foreign is
    interpolated into it.
    """
    second, third = (axis.ravel() / PARTS for axis in np.meshgrid(*[np.arange(PARTS + 1)] * 2))
    beyond = np.maximum(second + third - 1, 0) / 2
    second, third = second - beyond, third - beyond
    return np.column_stack([np.maximum(1 - second - third, 0), second, third])


def _in_triangle(values: np.ndarray, corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The lattice's values (n,) in the pixels (H, W) of a picture of that width and height."""
    matrix = np.column_stack([corners[1:].T - corners[:1].T, corners[0]])
    matrix[:, :2] /= PARTS
    lattice = values.reshape(PARTS + 1, PARTS + 1).astype(np.float32)
    return cv2.warpAffine(lattice, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _distance_from_zero(values: np.ndarray) -> np.ndarray:
    """How many pixels each of (H, W) lies from where the values cross 0, to first order."""
    slope = np.hypot(*np.gradient(values))
    return np.abs(values) / np.maximum(slope, 1e-6)


def _mark(picture: np.ndarray, best: np.ndarray, present: np.ndarray, unit: float) -> None:
    """A cross and a disc with a white rim."""
    bits = 4

    def fixed(values):
        return np.rint(np.asarray(values) * (1 << bits)).astype(int).tolist()

    for thickness, colour in ((3.5, _INK), (1.6, _LINE)):
        for end in ((4 * unit, 0), (0, 4 * unit)):
            width = max(1, round(thickness * unit))
            cv2.line(picture, fixed(best - end), fixed(best + end), colour, width, cv2.LINE_AA, bits)
    for radius, colour in ((6, _INK), (5, _LINE), (3.6, _PRESENT)):
        cv2.circle(picture, fixed(present), fixed(radius * unit), colour, -1, cv2.LINE_AA, bits)
