"""Signs that a prediction may be wrong, measured without the truth.

Lengths are in percent of the landmarks' size, sqrt(w * h) of their box, as for `metrics.nme`. `failure` combines the
signs into a probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

from m4kit import metrics
from m4kit.camera import CROP_SIZE, Crop, crop_from_box, crop_from_landmarks, cut_crop
from m4kit.images import check_image
from m4kit.landmarks import LANDMARK_GROUPS, MIRROR_68, face_size
from m4kit.parameters import head_spread, split
from m4kit.views import PredictCrops

if TYPE_CHECKING:
    from m4kit.prediction import Face

JITTER = ((0.04, 0, 1), (-0.04, 0, 1), (0, 0.04, 1), (0, -0.04, 1), (0, 0, 1.07), (0, 0, 1 / 1.07))
"""Crops beside the one that was used: shift in x and y, in sides of the crop, and scale.

About the difference between two detections of the same face. The pattern is fixed, so that a face's value depends
neither on chance nor on the other faces.
"""

PHOTO_SIDE = 240
"""A photo's quality is measured on at most 240 x 240 pixels in area, so that it does not depend on the size."""

IDENTITY_LIMIT, EXPRESSION_LIMIT = 1.355, 1.720
"""Limits of `mahalanobis` that only one in a thousand random faces of the model exceeds.

The root of the 99.9th percentile of chi-squared with 40 and 10 degrees of freedom, divided by the degrees of freedom.
"""

_SEGMENTS = np.array(
    [pair for contours, _ in LANDMARK_GROUPS.values() for contour in contours for pair in pairwise(contour)]
)
_REACH, _ON_EDGE = 10, 2
_FINE, _COARSE = 0.7, 1.4
_DIRECTIONS = np.array([[math.cos(turn), math.sin(turn)] for turn in np.arange(4) * np.pi / 4], np.float32)
"""Unit vectors (4, 2), half a turn together."""
_LEAST_EDGE = 1.0
_FEWEST_EDGES = 12
_LEAST_SIDE = 1e-6
"""Photo pixels; landmarks that collapse to a point have a crop without a side."""


def flip_consistency(faces: Sequence[Face], predict_crops: PredictCrops) -> np.ndarray:
    """How far the landmarks move when the crop is mirrored, (n,), in percent; 0 is no difference.

    The mean distance between each face's landmarks and those of the mirrored crop, mirrored back. `predict_crops`
    runs the network (`views.crop_predictor`), with as many views as for the faces: views that contain the mirror
    image leave little difference.
    """
    crops = np.stack([face.image[:, ::-1] for face in faces])
    mirrored = np.asarray(predict_crops(crops)[0], dtype=float)[:, MIRROR_68, :2] * [-1, 1]
    own = np.stack([face.crop.from_photo(face.landmarks)[:, :2] for face in faces])
    return metrics.nme(mirrored, own)


def jitter_consistency(faces: Sequence[Face], predict_crops: PredictCrops) -> np.ndarray:
    """How far the landmarks move when the crop is shifted and scaled by `JITTER`, (n,), in percent.

    The mean distance to the face's landmarks in the photo, over all these crops. Arguments as for `flip_consistency`.
    """
    moved = [(face, _moved(face.crop, *move)) for face in faces for move in JITTER]
    points = predict_crops(np.stack([cut_crop(face.origin.image, crop) for face, crop in moved]))[0]
    placed = np.stack([crop.to_photo(one)[:, :2] for (_, crop), one in zip(moved, points, strict=True)])
    own = np.repeat([face.landmarks[:, :2] for face in faces], len(JITTER), axis=0)
    return metrics.nme(placed, own).reshape(len(faces), len(JITTER)).mean(axis=1)


def mahalanobis(coefficients: np.ndarray) -> np.ndarray:
    """Distance of coefficients c (..., k) from the face model's mean, (...): sqrt(c . c / k).

    The coefficients are in standard deviations and uncorrelated, so sqrt(c . c) is the Mahalanobis distance. Divided
    by sqrt(k) it is about 1 for random faces of the model, for any k.
    """
    coefficients = np.asarray(coefficients, dtype=float)
    return np.sqrt((coefficients**2).mean(axis=-1))


def edge_agreement(greys: Sequence[np.ndarray], landmarks: np.ndarray) -> np.ndarray:
    """How well the landmarks' contours lie on edges of the picture, (n,); 1 is no better than beside them.

    `greys` are the grey values (120, 120) uint8 of n crops, and `landmarks` (n, 68, 2) are in their pixels.

    The gradient is measured along normals of the contours, up to 10 crop pixels to both sides. The value is the mean,
    over all normals, of the gradient within 2 pixels of the contour divided by the mean gradient on that normal, so
    that contrast cancels. One grey level is added to both, so that a picture without edges gives 1. A weak sign: the
    jaw of a turned face has no edge, and beards and shirts have edges of their own.
    """
    places, normals, known = _contour_normals(landmarks)
    # The axes are the face, the way along the normal, and the normal: short axes are slow to add up.
    offsets = np.arange(-_REACH, _REACH + 1)[:, None]
    x, y = ((places[:, None, :, i] + offsets * normals[:, None, :, i]).astype(np.float32) for i in (0, 1))
    change = np.zeros(x.shape, np.float32)
    for number, grey in enumerate(greys):
        for axis, slope in enumerate(_slopes(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.2))):
            along = cv2.remap(slope, x[number], y[number], cv2.INTER_LINEAR)
            change[number] += along * normals[number, None, :, axis].astype(np.float32)
    change = np.abs(change) / 8 + 1
    near = np.abs(offsets[:, 0]) <= _ON_EDGE
    agreement = change[:, near].mean(axis=1) / change.mean(axis=1)
    return np.where(
        known.any(axis=1), (agreement * known).sum(axis=1) / np.maximum(1, known.sum(axis=1)), 1.0
    )


def turn(face: Face) -> float:
    """Angle between the face's direction and the viewer, in degrees; 0 is straight ahead."""
    yaw, pitch = map(math.radians, face.pose[:2])
    return math.degrees(math.acos(min(1.0, max(-1.0, math.cos(yaw) * math.cos(pitch)))))


def box_misfit(face: Face) -> float:
    """Mismatch between the detector's box and the landmarks; 0 is a perfect fit.

    The `_misfit` of the crops that follow from each of them.
    """
    return _misfit(crop_from_box(np.asarray(face.box)), crop_from_landmarks(face.landmarks))


def crop_misfit(face: Face) -> float:
    """Mismatch between the crop that the network saw and the landmarks that it found there; 0 is a perfect fit.

    It tells how far a third crop would differ from the second.
    """
    return _misfit(face.crop, crop_from_landmarks(face.landmarks))


def of_faces(faces: Sequence[Face], predict_crops: PredictCrops | None = None) -> list[dict[str, float]]:
    """The signs of each face by name: all that need no run of the network, and with `predict_crops` all.

    The faces are those of one predictor, of any photos; many at once take less time. Quality is measured on the part
    of the face that lies in the photo. `predict_crops` is as for `flip_consistency`.
    """
    if not faces:
        return []
    model = faces[0].model
    heads, weights, parameters, landmarks = (
        np.stack([getattr(face, name) for face in faces])
        for name in ("heads", "head_weights", "parameters", "landmarks")
    )
    greys, placed = [_grey(face.image) for face in faces], _crop_pixels(faces)
    regions = [face_region(points) for points in placed]
    insides = [_inside(region, face) for region, face in zip(regions, faces, strict=True)]
    # Shares of the area within the landmarks.
    seen, whole = ([np.count_nonzero(one) for one in masks] for masks in (insides, regions))
    _, identity, expression = split(parameters)
    columns = {
        "head_spread": head_spread(model, heads, weights),
        "identity_distance": mahalanobis(identity),
        "expression_distance": mahalanobis(expression),
        "edge_agreement": edge_agreement(greys, placed),
        "box_misfit": [box_misfit(face) for face in faces],
        "crop_misfit": [crop_misfit(face) for face in faces],
        "turn": [turn(face) for face in faces],
        "size": face_size(landmarks),
        "outside": 1 - np.array(seen) / np.maximum(1, whole),
        **qualities(greys, insides),
    }
    if predict_crops is not None:
        columns["flip_consistency"] = flip_consistency(faces, predict_crops)
        columns["jitter_consistency"] = jitter_consistency(faces, predict_crops)
    rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def quality(image: np.ndarray) -> dict[str, float]:
    """`qualities` of one picture (H, W, 3) uint8, shrunk to `PHOTO_SIDE`, by name."""
    image = check_image(image, name="signs")
    height, width = image.shape[:2]
    scale = PHOTO_SIDE / (height * width) ** 0.5
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return {name: float(value) for name, (value,) in qualities([_grey(image)], [None]).items()}


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


def face_region(landmarks: np.ndarray) -> np.ndarray:
    """Pixels of a crop within the landmarks (68, 2) in it, without background, (120, 120) bool."""
    region = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    cv2.fillConvexPoly(region, cv2.convexHull(np.round(landmarks).astype(np.int32)), 1)
    return region.view(bool)


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


def _inside(region: np.ndarray, face: Face) -> np.ndarray:
    """Those pixels of a region (120, 120) bool of a face's crop that lie in the photo."""
    crop, (height, width) = face.crop, face.origin.image.shape[:2]
    centres = (np.arange(CROP_SIZE) + 0.5) * crop.scale
    columns, rows = (
        (start + centres >= -0.5) & (start + centres < side - 0.5)
        for start, side in ((crop.left, width), (crop.top, height))
    )
    return region & rows[:, None] & columns


def _misfit(crop: Crop, other: Crop) -> float:
    """sqrt(log(ratio of the sides)^2 + (distance of the centres, in sides)^2) of two crops."""
    apart = math.dist(crop.centre, other.centre) / crop.size
    return math.hypot(math.log(max(other.size, _LEAST_SIDE) / crop.size), apart)


def _moved(crop: Crop, across: float, down: float, larger: float) -> Crop:
    size = crop.size * larger
    margin = (crop.size - size) / 2
    return Crop(crop.left + margin + across * crop.size, crop.top + margin + down * crop.size, size)


def _crop_pixels(faces: Sequence[Face]) -> np.ndarray:
    """The landmarks (n, 68, 2) of faces in the pixels of their crops, y down."""
    return np.stack([face.crop.to_square(face.landmarks[:, :2], CROP_SIZE) for face in faces])


def _contour_normals(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places and unit normals (n, m, 2) on the contours through landmarks (n, 68, 2), three per segment.

    The third array (n, m) bool tells which of them count: very short segments have no direction.
    """
    start, end = landmarks[:, _SEGMENTS[:, 0]], landmarks[:, _SEGMENTS[:, 1]]
    way = end - start
    length = np.linalg.norm(way, axis=2)
    known = length > 0.5
    normals = np.stack([-way[..., 1], way[..., 0]], axis=2) / np.where(known, length, np.inf)[..., None]
    places = np.concatenate([start + share * way for share in (0, 1 / 3, 2 / 3)], axis=1)
    return places, np.tile(normals, (1, 3, 1)), np.tile(known, (1, 3))


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _slopes(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient to the right and down, (h, w) each, in eighths of grey levels per pixel."""
    return cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)


def _steepness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Magnitude of the gradient (h, w), in grey levels per pixel, from its `_slopes`."""
    return cv2.magnitude(x, y) / 8


def _edges(grey: np.ndarray, inside: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The stronger half of the ridges above the noise: flat indices (m,) and values (4, m).

    The values are `_slopes` and `_steepness`, and `_steepness` after a second blur.
    """
    values = grey.astype(np.float32)
    # Immerkaer's filter (CVIU 1996) responds to noise and not to straight edges; the median ignores corners.
    response = np.abs(
        cv2.filter2D(grey, cv2.CV_16S, np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32))
    )
    noise = _median(response.ravel()) / (6 * 0.6745)
    slopes = _slopes(cv2.GaussianBlur(values, (0, 0), _FINE))
    steep = _steepness(*slopes)
    ridge = (steep >= cv2.dilate(steep, np.ones((3, 3), np.uint8))) & (steep > max(_LEAST_EDGE, noise))
    if inside is not None:
        ridge &= inside
    places = np.flatnonzero(ridge)
    if len(places):
        heights = steep.ravel()[places]
        places = places[heights >= _median(heights)]
    coarse = _steepness(*_slopes(cv2.GaussianBlur(values, (0, 0), float(np.hypot(_FINE, _COARSE)))))
    return places, np.stack([one.ravel()[places] for one in (*slopes, steep, coarse)])


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
