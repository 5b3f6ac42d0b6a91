"""Shows the measured accuracy of head weights as numbers, and as colours in four triangles.

Four weights that sum to 1 fill a tetrahedron, which no flat picture shows whole. If one head's weight is held, the
other three share the rest, and that is a triangle: a cut. There is one cut per held head; all contain the present
weights and show what any change from there would do.
"""

from __future__ import annotations

import html
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from m4kit.ablation.heads.accuracy import Accuracy, accuracy_at
from m4kit.ablation.heads.judge import HEADS, simplex
from m4kit.ablation.heads.record import BEST, OTHER_HALF, HeadStudy
from m4kit.explore.controls import colour_bar, paragraph
from m4kit.live.packing import Packer
from m4kit.vertex_colours import scalar_colours
from m4kit.visualize import strokes
from m4kit.visualize.style import MAT_INK_RGB, MAT_RGB

PARTS = 25
"""Steps along each side of a cut for which the accuracy is computed; the picture interpolates between them."""

PAGE_PARTS = 20
"""Steps of each weight for which a live page has the accuracy; it interpolates between them."""

_INK, _LINE = (36, 41, 47), (255, 255, 255)
_PRESENT = (255, 59, 48)
_TEXT = {"colour": MAT_INK_RGB, "halo": MAT_RGB}
_LEGEND_PARTS = 4


class Cut(NamedTuple):
    """The cut that holds the weight of one head, `held`, at what it is in `weights` (4,).

    Its corners, lower left, lower right and top, give the whole rest to one of the other heads, in their order.
    Places in it are shares (3,) of the corners. `colours` (H, W, 3) uint8 fill the box around the triangle, and
    `lowest` (3,) has the lowest error.
    """

    held: int
    weights: np.ndarray
    colours: np.ndarray
    lowest: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """The place (3,) of the weights."""
        return shares_of(self.weights, self.held)

    def at(self, shares: np.ndarray) -> np.ndarray:
        """Return the weights (4,) at a place (3,)."""
        weight = self.weights[self.held]
        return np.insert((1 - weight) * shares, self.held, weight)


def cuts(record: HeadStudy, weights: np.ndarray, *, side: int = 240) -> list[Cut]:
    """Make the four cuts through weights (4,), `side` pixels wide.

    Colours are those of `accuracy_colours`, interpolated between measured weights. Inside the white line, weights are
    not worse than the study's `reference`.
    """
    weights = np.asarray(weights, dtype=float)
    shares = _lattice()
    points = np.stack(
        [np.insert((1 - weights[held]) * shares, held, weights[held], axis=1) for held in range(HEADS)]
    )
    found = accuracy_at(record, points)
    return [
        Cut(
            held,
            weights,
            _colours(record, found.nme[held], found.difference[held, :, 1], side),
            shares[found.nme[held].argmin()],
        )
        for held in range(HEADS)
    ]


def accuracy_colours(record: HeadStudy, values: np.ndarray) -> np.ndarray:
    """Colour errors (n,) in percent, from the lowest of the record's grid to the highest: (n, 3) uint8.

    The scale follows the square root of what an error has above the lowest. Most weights are almost as good as the
    best, so on an even scale a single bad head would take the colours from the rest.
    """
    low, high = _limits(record)
    share = np.sqrt(np.clip((values - low) / max(high - low, 1e-9), 0, 1))
    return scalar_colours(share, limits=(0, 1)).colours


def accuracy_legend(record: HeadStudy) -> str:
    """Write the legend of `accuracy_colours` as HTML."""
    low, high = _limits(record)
    values, ticks = (
        low + np.linspace(0, 1, parts + 1) ** 2 * (high - low) for parts in (3 * _LEGEND_PARTS, _LEGEND_PARTS)
    )
    return colour_bar(
        accuracy_colours(record, values),
        [f"{value:.2f}" for value in ticks],
        label=f"colours from {low:.2f} to {high:.2f} {record.criterion}, %",
    )


def _limits(record: HeadStudy) -> tuple[float, float]:
    return float(record.grid.headline.min()), float(record.grid.headline.max())


def cuts_picture(record: HeadStudy, weights: np.ndarray, *, side: int) -> np.ndarray:
    """Draw the four cuts side by side with their names, (H, 4 * side, 3) uint8 RGB.

    Red marks the weights, a cross the lowest error on the cut.
    """
    # Pixels around a triangle.
    unit = side / 150
    margin, top, below = round(21 * unit), round(38 * unit), round(21 * unit)
    pictures = []
    for cut in cuts(record, weights, side=side - 2 * margin):
        height, width = cut.colours.shape[:2]
        picture = np.full((top + height + below, side, 3), MAT_RGB, dtype=np.uint8)
        corners = np.add(_corners(width, height), [margin, top])
        mask = np.zeros(picture.shape[:2], dtype=np.uint8)
        cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
        inside = picture[top : top + height, margin : margin + width]
        cover = mask[top : top + height, margin : margin + width, None] / np.float32(255)
        inside[:] = np.rint(inside + (cut.colours.astype(np.float32) - inside) * cover)
        title = f"head {cut.held + 1} held"
        strokes.words(picture, title, (side / 2, 8 * unit), height=11 * unit, **_TEXT)
        names = [f"{head + 1}" for head in range(HEADS) if head != cut.held]
        for name, (x, y), (across, down) in zip(names, corners, ((-9, 6), (9, 6), (0, -9)), strict=True):
            strokes.words(picture, name, (x + across * unit, y + down * unit), height=11 * unit, **_TEXT)
        _mark(picture, cut.lowest @ corners, cut.present @ corners, unit)
        pictures.append(picture)
    return np.concatenate(pictures, axis=1)


def shares_of(weights: np.ndarray, held: int) -> np.ndarray:
    """Compute the shares (3,) of the other three heads in what the held one leaves; equal if it leaves nothing."""
    others = np.delete(np.asarray(weights, dtype=float), held)
    return others / others.sum() if others.sum() > 1e-9 else np.full(3, 1 / 3)


def _colours(record: HeadStudy, error: np.ndarray, above: np.ndarray, side: int) -> np.ndarray:
    """The colours (H, side, 3) of a cut, from errors (n,) on the lattice and lower bounds (n,) of what they lose."""
    size = side, round(side * 0.75**0.5)
    error, above = cv2.split(_in_triangle(np.column_stack([error, above]), _corners(*size), size))
    colours, share = accuracy_colours(record, error), np.clip(side / 100 - _distance_from_zero(above), 0, 1)
    line = share > 0
    under = colours[line]
    colours[line] = np.rint(under + (np.float32(_LINE) - under) * share[line, None])
    return colours


def _corners(width: int, height: int) -> np.ndarray:
    """The corners (3, 2) of a triangle in its box: lower left, lower right, top."""
    return np.array([[0, height], [width, height], [width / 2, 0]]) - 0.5


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
    """Interpolate the lattice's values (n, c) at the pixels (H, W, c) of a picture of size (width, height)."""
    matrix = np.column_stack([corners[1:].T - corners[:1].T, corners[0]])
    matrix[:, :2] /= PARTS
    lattice = values.reshape(PARTS + 1, PARTS + 1, -1).astype(np.float32)
    return cv2.warpAffine(lattice, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _distance_from_zero(values: np.ndarray) -> np.ndarray:
    """Distance of each pixel (H, W) to where the values cross 0, in pixels, to first order."""
    slope = np.hypot(*np.gradient(values))
    return np.abs(values) / np.maximum(slope, 1e-6)


def _mark(picture: np.ndarray, best: np.ndarray, present: np.ndarray, unit: float) -> None:
    """Draw a cross at the best, and a disc with a white rim at the present weights."""
    ends = np.array([[4, 0], [0, 4]]) * unit
    for thickness, colour in ((3.5, _INK), (1.6, _LINE)):
        cross = [np.stack([best - end, best + end]) for end in ends]
        strokes.lines(picture, cross, thickness * unit).paint(picture, colour)
    for radius, colour in ((6, _INK), (5, _LINE), (3.6, _PRESENT)):
        strokes.dots(picture, [present], radius * unit).paint(picture, colour)


def packed_accuracy(study: HeadStudy, packer: Packer) -> dict:
    """Pack the accuracy of all weights in steps of `1 / PAGE_PARTS` for a live page (`live/js/live_study.js`)."""
    found = accuracy_at(study, simplex(1 / PAGE_PARTS))
    return {
        "parts": PAGE_PARTS,
        "nme": packer.add(found.nme, "f4"),
        "above": packer.add(found.difference[:, 1], "f4"),
        "best": study.weights(BEST).tolist(),
        "words": f"{study.criterion} on {study.faces} faces of {study.dataset}:",
        "scale": packer.add(scalar_colours(np.linspace(0, 1, 256)).colours, "u1"),
    }


def accuracy_html(study: HeadStudy, weights: np.ndarray) -> str:
    """Write the accuracy of weights (4,) in a study, with its faces and how to read the cuts, as HTML."""
    found = accuracy_at(study, weights)
    (low, high), (more, least, most) = found.interval, found.difference
    share = f"{100 * study.confidence:.0f} %"
    verdict = "better" if most < 0 else "worse" if least > 0 else "does not differ"
    numbers = (
        f"{study.criterion} <b>{found.nme:.3f} %</b> (<b>{_source(found)}</b>; {share} interval {low:.3f} to "
        f"{high:.3f})<br>"
        f"{more:+.2g} against {_reference(study)} ({least:+.2g} to {most:+.2g}, paired): {verdict}<br>"
        f"on {study.faces} faces of {html.escape(study.dataset)}, not on this photo"
    )
    how_to_read = (
        f"Colours: {study.criterion} in percent, finer near the lowest. Each triangle holds one head's weight and "
        "shares the rest among the other three: press in it to set the weights there. Red: the present weights. "
        "Cross: the lowest error on the cut. Inside the white line, weights are not worse than the best static ones. "
        "Weights were measured in steps of 0.1, and finer around the best; between them, errors are interpolated."
    )
    return paragraph(numbers) + accuracy_legend(study) + paragraph(how_to_read, faint=True)


def accuracy_line(study: HeadStudy, weights: np.ndarray) -> str:
    """Write the accuracy of weights (4,) in a study, in a few words."""
    found = accuracy_at(study, weights)
    return f"{study.criterion} {found.nme:.3f} %, {_source(found)} on {study.faces} faces"


def _reference(study: HeadStudy) -> str:
    """What weights are compared with, in words."""
    if study.reference == OTHER_HALF:
        return "the best static weights that the other half of the people chose"
    return "the best static weights, which these same faces chose"


def _source(found: Accuracy) -> str:
    return "measured" if found.measured else "interpolated"
