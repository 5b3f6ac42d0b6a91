"""Signs that a prediction may be wrong, measured without the truth.

Lengths are in percent of the landmarks' size, sqrt(w * h) of their box, as for `metrics.nme`. `failure` combines the
signs into a probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from m4kit import metrics
from m4kit.camera import CROP_SIZE, Crop, crop_from_box, crop_from_landmarks, cut_crop
from m4kit.images import check_image
from m4kit.landmarks import LANDMARK_GROUPS, MIRROR_68, face_size
from m4kit.parameters import head_spread
from m4kit.views import PredictCrops

if TYPE_CHECKING:
    from m4kit.prediction import Face

JITTER = ((0.04, 0, 1), (-0.04, 0, 1), (0, 0.04, 1), (0, -0.04, 1), (0, 0, 1.07), (0, 0, 1 / 1.07))
"""Crops beside the one that was used: shift in x and y, in sides of the crop, and scale.

About the difference between two detections of the same face. The pattern is fixed, so that a face's value depends
neither on chance nor on the other faces.
"""

PHOTO_SIDE = 240
"""Quality is measured on pictures of at most 240 x 240 pixels in area, whatever the photo's size."""

IDENTITY_LIMIT, EXPRESSION_LIMIT = 1.355, 1.720
"""Limits of `mahalanobis` that only one in a thousand random faces of the model exceeds.

The root of the 99.9th percentile of chi-squared with 40 and 10 degrees of freedom, divided by the degrees of freedom.
"""

_SEGMENTS = np.array(
    [pair for contours, _ in LANDMARK_GROUPS.values() for contour in contours for pair in pairwise(contour)]
)
_REACH, _ON_EDGE = 10, 2
_FINE, _COARSE = 0.7, 1.4
_LEAST_EDGE = 1.0
_FEWEST_EDGES = 12
_LEAST_SIDE = 1e-6
"""Photo pixels; landmarks that collapse to a point have a crop without a side."""


def flip_consistency(image: np.ndarray, faces: Sequence[Face], predict_crops: PredictCrops) -> np.ndarray:
    """How far the landmarks move when the crop is mirrored, (n,), in percent; 0 is no difference.

    The mean distance between each face's landmarks and those of the mirrored crop, mirrored back. `image` (H, W, 3)
    is the photo. `predict_crops` runs the network (`views.crop_predictor`), with as many views as for the faces:
    views that contain the mirror image leave little difference.
    """
    if not faces:
        return np.zeros(0)
    crops = np.stack([cut_crop(image, face.crop)[:, ::-1] for face in faces])
    mirrored = np.asarray(predict_crops(crops)[0], dtype=float)[:, MIRROR_68, :2] * [-1, 1]
    own = np.stack([face.crop.from_photo(face.landmarks)[:, :2] for face in faces])
    return metrics.nme(mirrored, own)


def jitter_consistency(image: np.ndarray, faces: Sequence[Face], predict_crops: PredictCrops) -> np.ndarray:
    """How far the landmarks move when the crop is shifted and scaled by `JITTER`, (n,), in percent.

    The mean distance to the face's landmarks in the photo, over all these crops. Arguments as for `flip_consistency`.
    """
    if not faces:
        return np.zeros(0)
    crops = [_moved(face.crop, *move) for face in faces for move in JITTER]
    points = predict_crops(np.stack([cut_crop(image, crop) for crop in crops]))[0]
    placed = np.stack([crop.to_photo(one)[:, :2] for crop, one in zip(crops, points, strict=True)])
    own = np.repeat([face.landmarks[:, :2] for face in faces], len(JITTER), axis=0)
    return metrics.nme(placed, own).reshape(len(faces), len(JITTER)).mean(axis=1)


def mahalanobis(coefficients: np.ndarray) -> np.ndarray:
    """Distance of coefficients c (..., k) from the face model's mean, (...): sqrt(c . c / k).

    The coefficients are in standard deviations and uncorrelated, so sqrt(c . c) is the Mahalanobis distance. Divided
    by sqrt(k) it is about 1 for random faces of the model, for any k.
    """
    coefficients = np.asarray(coefficients, dtype=float)
    return np.sqrt((coefficients**2).mean(axis=-1))


def edge_agreement(image: np.ndarray, face: Face) -> float:
    """How well the landmarks' contours lie on edges of the picture; 1 is no better than beside them, more is better.

    The gradient is measured along normals of the contours, up to 10 crop pixels to both sides. The value is the mean,
    over all normals, of the gradient within 2 pixels of the contour divided by the mean gradient on that normal, so
    that contrast cancels. One grey level is added to both, so that a picture without edges gives 1. A weak sign: the
    jaw of a turned face has no edge, and beards and shirts have edges of their own.
    """
    return _edge_agreement(_grey(cut_crop(image, face.crop)), face)


def _edge_agreement(grey: np.ndarray, face: Face) -> float:
    """`edge_agreement`, from the grey values of the crop."""
    slopes = [slope / 8 for slope in _slopes(cv2.GaussianBlur(grey, (0, 0), 1.2))]
    places, normals = _contour_normals(_crop_pixels(face))
    if not len(places):
        return 1.0
    offsets = np.arange(-_REACH, _REACH + 1)
    along = (places[:, None] + offsets[None, :, None] * normals[:, None]).astype(np.float32)
    change = sum(
        cv2.remap(slope, along[..., 0], along[..., 1], cv2.INTER_LINEAR) * normals[:, axis, None]
        for axis, slope in enumerate(slopes)
    )
    change = np.abs(change) + 1
    near = np.abs(offsets) <= _ON_EDGE
    return float((change[:, near].mean(axis=1) / change.mean(axis=1)).mean())


def outside(image: np.ndarray, face: Face) -> float:
    """Share of the area within the landmarks, 0 to 1, that lies outside the photo."""
    return _share_outside(face_region(face), _within(image, face.crop))


def _share_outside(region: np.ndarray, within: np.ndarray) -> float:
    whole = np.count_nonzero(region)
    return 1 - np.count_nonzero(region & within) / max(1, whole)


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


def of_face(image: np.ndarray, face: Face) -> dict[str, float]:
    """All signs of a face in a photo (H, W, 3) uint8 RGB that need no run of the network, by name.

    Quality is measured on the part of the face that lies in the photo.
    """
    grey, region, within = _grey(cut_crop(image, face.crop)), face_region(face), _within(image, face.crop)
    return {
        "head_spread": float(head_spread(face.model, face.heads[None], face.head_weights[None])[0]),
        "identity_distance": float(mahalanobis(face.identity)),
        "expression_distance": float(mahalanobis(face.expression)),
        "edge_agreement": _edge_agreement(grey, face),
        "box_misfit": box_misfit(face),
        "crop_misfit": crop_misfit(face),
        "turn": turn(face),
        "size": float(face_size(face.landmarks)),
        "outside": _share_outside(region, within),
        **_quality(grey, region & within),
    }


def of_faces(image: np.ndarray, faces: Sequence[Face], predict_crops: PredictCrops) -> list[dict[str, float]]:
    """All signs of each face by name, with the two that run the network: `of_face`, and flip and jitter consistency.

    Arguments as for `flip_consistency`.
    """
    flip = flip_consistency(image, faces, predict_crops)
    jitter = jitter_consistency(image, faces, predict_crops)
    return [
        of_face(image, face)
        | {"flip_consistency": float(flip[number]), "jitter_consistency": float(jitter[number])}
        for number, face in enumerate(faces)
    ]


def quality(image: np.ndarray, *, inside: np.ndarray | None = None) -> dict[str, float]:
    """`sharpness`, `contrast`, `exposure` and `clipped` of a picture, by name."""
    return _quality(*_prepared(image, inside))


def _quality(grey: np.ndarray, inside: np.ndarray | None) -> dict[str, float]:
    """`quality`, from prepared grey values."""
    seen = _seen(grey, inside)
    low, high = np.percentile(seen, [5, 95])
    return {
        "sharpness": _sharpness(grey, inside),
        "contrast": float((high - low) / 255),
        "exposure": float(seen.mean() / 255),
        "clipped": float(((seen < 4) | (seen > 251)).mean()),
    }


def face_region(face: Face) -> np.ndarray:
    """Pixels of the face's crop within its landmarks, without background, (120, 120) bool."""
    region = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    hull = cv2.convexHull(np.round(_crop_pixels(face)).astype(np.int32))
    cv2.fillConvexPoly(region, hull, 1)
    return region.astype(bool)


def sharpness(image: np.ndarray, *, inside: np.ndarray | None = None) -> float:
    """Sharpness of a picture (H, W, 3) uint8, 1 / (1 + s) from 0 to 1, where s is the blur of its edges in pixels.

    An edge blurred by a Gaussian of standard deviation s has a gradient of c / s at its steepest place. Blurring it
    again with two known deviations gives a ratio of gradients from which s follows; the contrast c cancels (Zhuo and
    Sim, Pattern Recognition 2011). s is the median over the stronger half of the edges above the noise, in the
    direction where it is largest, since motion blurs only one direction. Pixel grid and filter add blur: a perfect
    step has s = 0.7, fine lines less. Blurs of more than about five pixels give nearly the same value.

    Only edges count, so a plain background has no influence. A large picture is first shrunk to 240 x 240 pixels in
    area, so that the value does not depend on its size. `inside` (H, W) bool selects where edges count. The value is
    0 if there is no edge.
    """
    return quality(image, inside=inside)["sharpness"]


def _sharpness(grey: np.ndarray, inside: np.ndarray | None) -> float:
    """`sharpness`, from prepared grey values."""
    slopes, steep, edges = _edges(grey, inside)
    if len(edges[0]) < _FEWEST_EDGES:
        return 0.0
    coarse = _steepness(*_slopes(cv2.GaussianBlur(grey, (0, 0), float(np.hypot(_FINE, _COARSE)))))
    ratio = np.clip(coarse[edges] / steep[edges], 0, 0.999) ** 2
    blur = np.sqrt(np.clip((ratio * (_FINE**2 + _COARSE**2) - _FINE**2) / (1 - ratio), 0, None))
    x, y = (slope[edges] for slope in slopes)
    direction = np.arctan2(y, x)
    medians = [np.median(blur)]
    for angle in np.arange(4) * np.pi / 4:
        across = np.abs(np.cos(direction - angle)) > 0.9
        if across.sum() >= _FEWEST_EDGES:
            medians.append(np.median(blur[across]))
    return float(1 / (1 + max(medians)))


def contrast(image: np.ndarray, *, inside: np.ndarray | None = None) -> float:
    """Contrast of a picture (H, W, 3) uint8: the share of the range from black to white that it uses, 0 to 1.

    The distance between the 5th and 95th percentile of the grey values inside `inside` (H, W) bool, by default within
    2 % of the picture's size of an edge. So a plain background does not count.
    """
    return quality(image, inside=inside)["contrast"]


def exposure(image: np.ndarray, *, inside: np.ndarray | None = None) -> float:
    """Mean grey value of a picture (H, W, 3) uint8, 0 to 1; `inside` as for `contrast`."""
    return quality(image, inside=inside)["exposure"]


def clipped(image: np.ndarray, *, inside: np.ndarray | None = None) -> float:
    """Share of pixels, 0 to 1, that are black or white (grey below 4 or above 251); `inside` as for `contrast`."""
    return quality(image, inside=inside)["clipped"]


def _within(image: np.ndarray, crop: Crop) -> np.ndarray:
    """Pixels of a crop that lie in the photo, (120, 120) bool."""
    centres = (np.arange(CROP_SIZE) + 0.5) * crop.scale
    columns, rows = (
        (start + centres >= -0.5) & (start + centres < side - 0.5)
        for start, side in ((crop.left, image.shape[1]), (crop.top, image.shape[0]))
    )
    return rows[:, None] & columns


def _misfit(crop: Crop, other: Crop) -> float:
    """sqrt(log(ratio of the sides)^2 + (distance of the centres, in sides)^2) of two crops."""
    apart = np.linalg.norm(crop.centre - other.centre) / crop.size
    return float(np.hypot(math.log(max(other.size, _LEAST_SIDE) / crop.size), apart))


def _moved(crop: Crop, across: float, down: float, larger: float) -> Crop:
    size = crop.size * larger
    margin = (crop.size - size) / 2
    return Crop(crop.left + margin + across * crop.size, crop.top + margin + down * crop.size, size)


def _crop_pixels(face: Face) -> np.ndarray:
    """The landmarks (68, 2) in the crop's pixels, y down."""
    return face.crop.from_photo(face.landmarks)[:, :2] * [1, -1] + (CROP_SIZE - 1) / 2


def _contour_normals(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 2) on the contours through the landmarks, three per segment, and unit normals (n, 2)."""
    start, way = landmarks[_SEGMENTS[:, 0]], landmarks[_SEGMENTS[:, 1]] - landmarks[_SEGMENTS[:, 0]]
    length = np.linalg.norm(way, axis=1)
    long = length > 0.5
    start, way = start[long], way[long]
    normal = np.stack([-way[:, 1], way[:, 0]], axis=1) / length[long, None]
    places = np.concatenate([start + share * way for share in (0, 1 / 3, 2 / 3)])
    return places, np.tile(normal, (3, 1))


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _prepared(image: np.ndarray, inside: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey values (h, w) float32 and `inside`, shrunk to `PHOTO_SIDE`."""
    image = check_image(image, name="signs")
    if inside is not None and inside.shape != image.shape[:2]:
        raise ValueError(f"signs: expected inside as {image.shape[:2]} bool, got {inside.shape}")
    height, width = image.shape[:2]
    scale = PHOTO_SIDE / (height * width) ** 0.5
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        if inside is not None:
            inside = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return _grey(image), inside


def _slopes(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient to the right and down, (h, w) each, in eighths of grey levels per pixel."""
    return cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)


def _steepness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Magnitude of the gradient (h, w), in grey levels per pixel, from its `_slopes`."""
    return cv2.magnitude(x, y) / 8


class _Edges(NamedTuple):
    """`_slopes` and `_steepness`, and the rows and columns of the stronger half of their ridges above the noise."""

    slopes: tuple[np.ndarray, np.ndarray]
    steep: np.ndarray
    places: tuple[np.ndarray, np.ndarray]


def _edges(grey: np.ndarray, inside: np.ndarray | None) -> _Edges:
    # Immerkaer's filter (CVIU 1996) responds to noise and not to straight edges; the median ignores corners.
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    noise = float(np.median(np.abs(cv2.filter2D(grey, -1, kernel)))) / (6 * 0.6745)
    slopes = _slopes(cv2.GaussianBlur(grey, (0, 0), _FINE))
    steep = _steepness(*slopes)
    ridge = (steep >= cv2.dilate(steep, np.ones((3, 3), np.uint8))) & (steep > max(_LEAST_EDGE, noise))
    if inside is not None:
        ridge &= inside
    if ridge.any():
        ridge &= steep >= np.median(steep[ridge])
    return _Edges(slopes, steep, np.nonzero(ridge))


def _seen(grey: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    """The grey values (n,) inside `inside` or near edges; all of them if there are none."""
    if inside is None:
        near = np.zeros(grey.shape, np.uint8)
        near[_edges(grey, None).places] = 1
        reach = 2 * max(1, round(0.02 * (grey.size**0.5))) + 1
        inside = cv2.dilate(near, np.ones((reach, reach), np.uint8)) > 0
    return grey[inside] if inside.any() else grey.ravel()
