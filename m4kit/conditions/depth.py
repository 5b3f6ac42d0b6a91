"""Estimates the depth of a photo, for haze and side light: a flat ground with the faces standing on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from m4kit.camera import decompose
from m4kit.exaggeration import fit_face
from m4kit.face_model import packaged_model
from m4kit.prediction import Face, check_faces

FOCAL = 1.2
"""Focal length divided by the photo's longer side: 45 degrees, between a phone and a portrait lens."""

NEAREST, FURTHEST = 2.0, 6.0
"""Default depth in metres of the lower edge of a photo, and of its background."""

# Distance and relief hardly change after so many.
_ITERATIONS = 20


def ground_depth(
    shape: tuple[int, ...], *, nearest: float = NEAREST, furthest: float = FURTHEST
) -> np.ndarray:
    """Depth (H, W) float32 in metres of flat ground, up to a background at `furthest`.

    On level ground depth is proportional to 1 / (row - horizon). The horizon lies a quarter below the upper edge.
    """
    height, width = shape[:2]
    row = np.linspace(0, 1, height, dtype=np.float32)
    below = np.maximum(row - 0.25, 1e-3) / 0.75
    return np.repeat(np.minimum(nearest / below, furthest)[:, None], width, axis=1)


def scene_depth(shape: tuple[int, ...], faces: Sequence[Face]) -> np.ndarray:
    """Depth (H, W) float32 in metres of a photo of that shape with faces in front of flat ground.

    A face's distance follows from its scale (pixels per millimetre) and an assumed focal length, its relief from the
    mesh. The body below a face is as far away as the face.
    """
    faces = check_faces(faces, "scene_depth")
    height, width = shape[:2]
    focal = FOCAL * max(height, width)
    distances = [focal / (1000 * _pixels_per_mm(face)) for face in faces]
    depth = ground_depth(
        shape, nearest=min([NEAREST, *distances]), furthest=max([FURTHEST, *(3 * d for d in distances)])
    )
    for distance, face in sorted(zip(distances, faces, strict=True), key=lambda pair: -pair[0]):
        _stand(depth, face, distance)
    # The relief of a face that fills the photo may reach behind the camera.
    return np.maximum(depth, np.float32(0))


def landmark_depth(shape: tuple[int, ...], landmarks: Sequence[np.ndarray]) -> np.ndarray | None:
    """The `scene_depth` of faces with true landmarks (68, 2 or 3) in photo pixels; None without landmarks.

    The faces are the packaged face model fitted to the landmarks, so no network is involved. Raises `ValueError` for
    landmarks that are not finite or span no area.
    """
    if not len(landmarks):
        return None
    faces = [_true_face(np.asarray(points, dtype=float)[..., :2].tobytes()) for points in landmarks]
    return scene_depth(shape, faces)


@lru_cache(maxsize=64)
def _true_face(landmarks: bytes) -> Face:
    """The face model fitted to landmarks (68, 2), kept because all versions of a photo have the same."""
    points = np.frombuffer(landmarks).reshape(-1, 2)
    return fit_face(packaged_model(), points, iterations=_ITERATIONS)


def _pixels_per_mm(face: Face) -> float:
    return decompose(face.camera)[0] * face.crop.scale


def _stand(depth: np.ndarray, face: Face, distance: float) -> None:
    """Write a face and the body below it into the depth."""
    low, high = face.vertices[:, :2].min(axis=0), face.vertices[:, :2].max(axis=0)
    centre, size = (low + high) / 2, high - low
    body = np.zeros(depth.shape, np.uint8)
    shift = 4
    places = centre, centre + np.array([0, 2.4 * size[1]])
    at = [tuple(int(v) for v in np.round(place * 2**shift)) for place in places]
    for place, axes in zip(at, ((0.65, 0.75), (1.5, 1.7)), strict=True):
        radii = tuple(int(v) for v in np.round(np.multiply(axes, size) * 2**shift))
        cv2.ellipse(body, place, radii, 0, 0, 360, 255, -1, cv2.LINE_8, shift)
    depth[body > 0] = np.minimum(depth[body > 0], distance)
    _lay_relief(depth, face, distance)


def _lay_relief(depth: np.ndarray, face: Face, distance: float) -> None:
    """Write the mesh's depth over the pixels that it covers."""
    points = np.round(face.vertices[:, :2]).astype(int)
    low = np.maximum(points.min(axis=0), 0)
    high = np.minimum(points.max(axis=0) + 1, depth.shape[1::-1])
    inside = ((points >= low) & (points < high)).all(axis=1)
    if not inside.any():
        return
    column, row = (points[inside] - low).T
    metres = distance - (face.vertices[:, 2] - face.vertices[:, 2].mean()) / (1000 * _pixels_per_mm(face))
    # Written last: the nearest vertex of each pixel.
    order = np.argsort(-metres[inside])
    seen = np.full((high - low)[::-1], np.nan, np.float32)
    seen[row[order], column[order]] = metres[inside][order]
    covered = np.zeros(seen.shape, np.uint8)
    cv2.fillConvexPoly(covered, cv2.convexHull((points - low).astype(np.int32)), 1)
    # In a large face, pixels between vertices take the depth of the next vertex.
    known = np.isfinite(seen)
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(nearest.max() + 1, np.float32)
    by_label[nearest[known]] = seen[known]
    part = depth[low[1] : high[1], low[0] : high[0]]
    part[covered > 0] = by_label[nearest[covered > 0]]
