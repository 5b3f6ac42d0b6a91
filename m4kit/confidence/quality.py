"""Measures the quality of a picture: sharpness, contrast, brightness, and what is lost in black or white."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from m4kit.images import check_image

PHOTO_SIDE = 240
"""A photo's quality is measured on at most 240 x 240 pixels in area, so that it does not depend on the size."""

_FINE, _COARSE = 0.7, 1.4
_DIRECTIONS = np.array([[math.cos(turn), math.sin(turn)] for turn in np.arange(4) * np.pi / 4], np.float32)
"""Unit vectors (4, 2), half a turn together."""
_LEAST_EDGE = 1.0
_FEWEST_EDGES = 12


def photo_quality(image: np.ndarray) -> dict[str, float]:
    """`qualities` of one picture (H, W, 3) uint8, shrunk to `PHOTO_SIDE`, by name."""
    image = check_image(image, name="photo_quality")
    height, width = image.shape[:2]
    scale = PHOTO_SIDE / (height * width) ** 0.5
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return {name: float(value) for name, (value,) in qualities([grey_of(image)], [None]).items()}


def qualities(greys: Sequence[np.ndarray], insides: Sequence[np.ndarray | None]) -> dict[str, np.ndarray]:
    """Quality of n pictures, (n,) each, from their grey values (h, w) uint8.

    - `sharpness`: 1 / (1 + s), 0 to 1, where s is the blur of the picture's edges in pixels; 0 if there is no edge.
    - `contrast`: the share of the range from black to white that the picture uses, 0 to 1: the distance between the
      5th and 95th percentile of the grey values.
    - `exposure`: the mean grey value, 0 to 1.
    - `clipped`: the share of pixels, 0 to 1, that are black or white (grey below 4 or above 251).

    `insides` (h, w) bool select the pixels that count. Where they are None, all edges count for the sharpness, and
    for the rest the pixels within 2 % of the picture's size of an edge. So a plain background does not count.
    """
    return {"sharpness": _sharpness(greys, insides), **_light(greys, insides)}


def _sharpness(greys: Sequence[np.ndarray], insides: Sequence[np.ndarray | None]) -> np.ndarray:
    """Sharpness of n pictures, (n,); arguments as for `qualities`.

    An edge blurred by a Gaussian of standard deviation s has a gradient of c / s at its steepest place. Blurring it
    again with two known deviations gives a ratio of gradients from which s follows; the contrast c cancels (Zhuo and
    Sim, Pattern Recognition 2011). s is the median over the stronger half of the edges above the noise, in the
    direction where it is largest, since motion blurs only one direction. Pixel grid and filter add blur: a perfect
    step has s = 0.7, fine lines less. Blurs of more than about five pixels give nearly the same value.
    """
    edges = [_edges(grey, inside) for grey, inside in zip(greys, insides, strict=True)]
    number = np.repeat(np.arange(len(edges)), [len(places) for places, _ in edges])
    x, y, steep, coarse = np.concatenate([values for _, values in edges], axis=1)
    ratio = np.clip(coarse / steep, 0, 0.999) ** 2
    blur = np.sqrt(np.clip((ratio * (_FINE**2 + _COARSE**2) - _FINE**2) / (1 - ratio), 0, None))
    largest = _medians(blur, number, len(edges))
    # Cosines of the angles between an edge's gradient and four directions.
    for across in np.abs(_DIRECTIONS @ [x, y]) > 0.9 * 8 * steep:
        largest = np.fmax(largest, _medians(blur[across], number[across], len(edges)))
    return np.where(np.isnan(largest), 0.0, 1 / (1 + largest))


def _medians(values: np.ndarray, number: np.ndarray, count: int) -> np.ndarray:
    """Medians (count,) of the values (m,) of each picture's `number` (m,); NaN for fewer than `_FEWEST_EDGES`."""
    many = np.bincount(number, minlength=count)
    first, known = np.cumsum(many) - many, many >= _FEWEST_EDGES
    ordered, medians = values[np.lexsort((values, number))], np.full(count, np.nan)
    low, high = ((first + half)[known] for half in ((many - 1) // 2, many // 2))
    medians[known] = (ordered[low] + ordered[high]) / 2
    return medians


def _light(greys: Sequence[np.ndarray], insides: Sequence[np.ndarray | None]) -> dict[str, np.ndarray]:
    """`contrast`, `exposure` and `clipped` of n pictures, (n,) each; arguments as for `qualities`."""
    counts = []
    for grey, inside in zip(greys, insides, strict=True):
        seen = _near_edges(grey) if inside is None else inside.view(np.uint8)
        # All pixels count if none is inside.
        counts.append(cv2.calcHist([grey], [0], seen if seen.any() else None, [256], [0, 256]).ravel())
    # How many pixels have each grey value, (n, 256).
    count = np.array(counts, int)
    below, total = np.cumsum(count, axis=1), count.sum(axis=1)
    low, high = (_quantile(below, share * (total - 1)) for share in (0.05, 0.95))
    return {
        "contrast": (high - low) / 255,
        "exposure": count @ np.arange(256) / total / 255,
        "clipped": (count[:, :4].sum(axis=1) + count[:, 252:].sum(axis=1)) / total,
    }


def _quantile(below: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The grey values at places (n,) in the order of the pixels, of which so many (n, 256) are not brighter."""
    low, high = ((below <= rank[:, None]).sum(axis=1) for rank in (np.floor(place), np.ceil(place)))
    return low + place % 1 * (high - low)


def grey_of(image: np.ndarray) -> np.ndarray:
    """The grey values (H, W) uint8 of a picture (H, W, 3) uint8 RGB."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def slopes(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient to the right and down, (h, w) each, in eighths of grey levels per pixel."""
    return cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)


def _steepness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Magnitude of the gradient (h, w), in grey levels per pixel, from its `slopes`."""
    return cv2.magnitude(x, y) / 8


def _edges(grey: np.ndarray, inside: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The stronger half of the ridges above the noise: flat indices (m,) and values (4, m).

    The values are `slopes` and `_steepness`, and `_steepness` after a second blur.
    """
    values = grey.astype(np.float32)
    # Immerkaer's filter (CVIU 1996) responds to noise and not to straight edges; the median ignores corners.
    response = np.abs(
        cv2.filter2D(grey, cv2.CV_16S, np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32))
    )
    noise = _median(response.ravel()) / (6 * 0.6745)
    gradient = slopes(cv2.GaussianBlur(values, (0, 0), _FINE))
    steep = _steepness(*gradient)
    ridge = (steep >= cv2.dilate(steep, np.ones((3, 3), np.uint8))) & (steep > max(_LEAST_EDGE, noise))
    if inside is not None:
        ridge &= inside
    places = np.flatnonzero(ridge)
    if len(places):
        heights = steep.ravel()[places]
        places = places[heights >= _median(heights)]
    coarse = _steepness(*slopes(cv2.GaussianBlur(values, (0, 0), float(np.hypot(_FINE, _COARSE)))))
    return places, np.stack([one.ravel()[places] for one in (*gradient, steep, coarse)])


def _near_edges(grey: np.ndarray) -> np.ndarray:
    """Pixels near edges, (h, w) uint8, 0 or 1."""
    near = np.zeros(grey.shape, np.uint8)
    near.ravel()[_edges(grey, None)[0]] = 1
    reach = 2 * max(1, round(0.02 * (grey.size**0.5))) + 1
    return cv2.dilate(near, np.ones((reach, reach), np.uint8))


def _median(values: np.ndarray) -> float:
    """The median of values (n,); `numpy.median` takes ten times as long for few values or small integers."""
    ordered = np.sort(values)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)
