"""The measured accuracy of head weights: four cuts through the simplex of weights, and the numbers.

Four weights that sum to 1 fill a tetrahedron, which no flat picture shows whole. If one head's weight is held, the
other three share the rest, and that is a triangle: a cut. There is one cut per held head; all contain the present
weights and show what any change from there would do.
"""

from __future__ import annotations

import html
from functools import cache, lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from m4kit.ablation.heads.accuracy import Accuracy, accuracy_at
from m4kit.ablation.heads.judge import HEADS
from m4kit.ablation.heads.record import HeadStudy
from m4kit.explore.controls import legend, paragraph
from m4kit.vertex_colours import VertexColours, scalar_colours
from m4kit.visualize import strokes

PARTS = 25
"""Steps along each side of a cut for which the accuracy is computed; the picture interpolates between them."""

_INK, _PAPER, _LINE = (36, 41, 47), (255, 255, 255), (255, 255, 255)
_PRESENT = (255, 59, 48)
_TEXT = {"colour": _INK, "halo": _PAPER}


def accuracy_scale(record: HeadStudy, values: np.ndarray | None = None) -> VertexColours:
    """Colours of errors (n,) in percent on the record's own scale; by default those of its grid.

    The scale ends at the grid's 90th percentile: a single bad head would take the colours from the rest.
    """
    errors = record.grid.headline
    limits = float(errors.min()), float(np.percentile(errors, 90))
    return scalar_colours(
        errors if values is None else values, unit=f"{record.criterion}, %", limits=limits, scale="viridis"
    )


def cuts_picture(record: HeadStudy, weights: np.ndarray, *, side: int = 210) -> np.ndarray:
    """Four cuts through weights (4,), side by side, (H, 4 * side, 3) uint8 RGB.

    Each cut holds one head's weight; a corner gives the whole rest to the head that it names. Colours are those of
    `accuracy_scale`, interpolated between measured weights. Red marks the weights, a cross the lowest error on the
    cut; inside the white line, weights do not differ from the best.
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
    """The shares (3,) of the other three heads in what the held one leaves; equal if it leaves nothing."""
    others = np.delete(np.asarray(weights, dtype=float), held)
    return others / others.sum() if others.sum() > 1e-9 else np.full(3, 1 / 3)


class _Blank(NamedTuple):
    """The part of a cut that does not depend on the weights.

    `held` is the held head, `picture` (H, W, 3) the cut without colours, `corners` (3, 2) the places of the other
    heads in their order (lower left, lower right, top), `places` the (rows, columns) of the pixels that the triangle
    covers, and `share` how much of each pixel it covers.
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
    """Draw one cut from the errors (n,) on the lattice, and the lower bounds (n,) of their excess over the best."""
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

    Half of the square is the triangle. The other half repeats its edge, so that interpolation stays clean there.
    """
    second, third = (axis.ravel() / PARTS for axis in np.meshgrid(*[np.arange(PARTS + 1)] * 2))
    beyond = np.maximum(second + third - 1, 0) / 2
    second, third = second - beyond, third - beyond
    return np.column_stack([np.maximum(1 - second - third, 0), second, third])


def _in_triangle(values: np.ndarray, corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate the lattice's values (n,) at the pixels (H, W) of a picture of size (width, height)."""
    matrix = np.column_stack([corners[1:].T - corners[:1].T, corners[0]])
    matrix[:, :2] /= PARTS
    lattice = values.reshape(PARTS + 1, PARTS + 1).astype(np.float32)
    return cv2.warpAffine(lattice, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _distance_from_zero(values: np.ndarray) -> np.ndarray:
    """Distance of each pixel (H, W) to where the values cross 0, in pixels, to first order."""
    slope = np.hypot(*np.gradient(values))
    return np.abs(values) / np.maximum(slope, 1e-6)


def _mark(picture: np.ndarray, best: np.ndarray, present: np.ndarray, unit: float) -> None:
    """Draw a cross at the best, and a disc with a white rim at the present weights."""
    bits = 4

    def fixed(values):
        return np.rint(np.asarray(values) * (1 << bits)).astype(int).tolist()

    for thickness, colour in ((3.5, _INK), (1.6, _LINE)):
        for end in ((4 * unit, 0), (0, 4 * unit)):
            width = max(1, round(thickness * unit))
            cv2.line(picture, fixed(best - end), fixed(best + end), colour, width, cv2.LINE_AA, bits)
    for radius, colour in ((6, _INK), (5, _LINE), (3.6, _PRESENT)):
        cv2.circle(picture, fixed(present), fixed(radius * unit), colour, -1, cv2.LINE_AA, bits)


def accuracy_html(study: HeadStudy, weights: np.ndarray) -> str:
    """The accuracy of weights (4,) in a study, with its faces and how to read the cuts, as HTML."""
    found = accuracy_at(study, weights)
    (low, high), (more, least, most) = found.interval, found.difference
    share = f"{100 * study.confidence:.0f} %"
    verdict = "better" if most < 0 else "worse" if least > 0 else "does not differ"
    numbers = (
        f"{study.criterion} <b>{found.nme:.2f} %</b> (<b>{_source(found)}</b>; {share} interval {low:.2f} to "
        f"{high:.2f})<br>"
        f"minus the best measured weights': {more:+.3f} ({least:+.3f} to {most:+.3f}, paired): {verdict}<br>"
        f"on {study.faces} faces of {html.escape(study.dataset)}, not on this photo"
    )
    how_to_read = (
        "Each triangle holds one head's weight and shares the rest among the other three. Red: the present weights. "
        "Cross: the lowest error on the cut. Inside the white line, weights do not differ from the best. The last "
        "colour stands for all larger errors. Weights were measured in steps of 0.1, and finer around the best; "
        "between them, errors are interpolated."
    )
    return paragraph(numbers) + legend(accuracy_scale(study)) + paragraph(how_to_read, faint=True)


def accuracy_line(study: HeadStudy, weights: np.ndarray) -> str:
    """The accuracy of weights (4,) in a study, in a few words."""
    found = accuracy_at(study, weights)
    return f"{study.criterion} {found.nme:.2f} %, {_source(found)}, on {study.faces} other faces"


def _source(found: Accuracy) -> str:
    return "measured" if found.measured else "interpolated"
