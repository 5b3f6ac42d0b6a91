"""Measures signs that a prediction may be wrong, without the truth.

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
from m4kit.confidence.quality import grey_of, qualities, slopes
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

IDENTITY_LIMIT, EXPRESSION_LIMIT = 1.355, 1.720
"""Limits of `mahalanobis` that only one in a thousand random faces of the model exceeds.

The root of the 99.9th percentile of chi-squared with 40 and 10 degrees of freedom, divided by the degrees of freedom.
"""

_SEGMENTS = np.array(
    [pair for contours, _ in LANDMARK_GROUPS.values() for contour in contours for pair in pairwise(contour)]
)
_REACH, _ON_EDGE = 10, 2
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
        for axis, slope in enumerate(slopes(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.2))):
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
    greys, placed = [grey_of(face.image) for face in faces], _crop_pixels(faces)
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


def face_region(landmarks: np.ndarray) -> np.ndarray:
    """Pixels of a crop within the landmarks (68, 2) in it, without background, (120, 120) bool."""
    region = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    cv2.fillConvexPoly(region, cv2.convexHull(np.round(landmarks).astype(np.int32)), 1)
    return region.view(bool)


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
