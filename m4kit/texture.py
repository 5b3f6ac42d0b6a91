"""Colours a face's mesh from the photo, and with the skin's tone where the photo does not show the skin."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import Delaunay

from m4kit.landmarks import face_size
from m4kit.render import depth_map, vertex_normals

if TYPE_CHECKING:
    from m4kit.face_model import FaceModel
    from m4kit.prediction import Face

SKIN = (205, 200, 195)
"""A plain tone, for a face outside its photo and for vertices without a region."""

DEPTH_TOLERANCE = 0.02
"""A vertex at most this far behind the nearest surface counts as visible, as a share of the face's size."""

GRAZING = 0.25
"""A vertex whose unit normal has a smaller z does not count as visible."""

FADED = (6, 14)
"""Edges from the photo's part up to which filled colours are those of their neighbours, and from which not at all."""

_INNER = slice(17, 68)
"""Landmarks of brows, nose, eyes and lips."""

_CHIN = (6, 7, 8, 9, 10, 56, 57, 58)
"""Landmarks around the chin."""

_FOREIGN = 26.0
"""A colour at least this far from the skin's tone is not skin, in CIELAB."""

_CONTINUED = 0.6
"""Colours nearer to the skin's tone than this share of the limit go on in what is hidden beside them."""

_FEW = 3
"""Skin has at least so many neighbours that are."""

_OUTLINE = 0.5
"""A vertex whose unit normal has a smaller z is near the outline."""

_SHADOW = 0.6
"""The weight of a difference in lightness, because shadows fall on skin."""


def photo_colours(face: Face, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours (V, 3) uint8 of a face's vertices in its photo (H, W, 3), and which of them are `filled` (V,) bool.

    Filled are vertices that the photo hides, and those outside the inner face (from the brows to the lips) where it
    shows something else than skin, such as hair or the wall: a colour far from the skin's tone. A beard, which the
    chin has, too, stays. Near the photo's part a filled vertex continues its colours; further on it has the skin's
    tone in the light that falls on the visible side, with the details of its mirrored vertex.
    """
    vertices, triangles, model = face.vertices, face.triangles, face.model
    sampled = _sampled(image, vertices)
    height, width = image.shape[:2]
    inside = (vertices[:, :2] > -0.5).all(1) & (vertices[:, :2] < [width - 0.5, height - 0.5]).all(1)
    seen = visible(vertices, triangles) & inside
    normals = vertex_normals(vertices, triangles)
    if not seen.any():
        return np.tile(np.uint8(SKIN), (len(vertices), 1)), ~seen
    inner, lower, chin = _parts(model)
    skin = seen & inner if (seen & inner).sum() > 50 else seen
    tone, spread = _tone(sampled, normals, skin)
    neighbours = _neighbours(model)
    limit = max(_FOREIGN, 2.5 * spread)
    mean = _averaged(sampled, seen, neighbours)
    distance = _distance(mean, tone)
    if len(mirror := model.mirror.numpy()):
        # Where the outline of a turned face is beside the photo's, the wall is on its nose or its eye.
        twin_is_skin = seen[mirror] & (distance[mirror] < _CONTINUED * limit)
        inner = inner & ~((normals[:, 2] < _OUTLINE) & twin_is_skin)
    if (chin & seen).any():
        beard = np.broadcast_to(np.median(sampled[chin & seen], axis=0), mean.shape)
        distance = np.where(lower, np.minimum(distance, _distance(mean, beard)), distance)
    known = seen & ~_foreign(distance > limit, seen, inner, neighbours)
    # Brows and lips do not go on in what is hidden beside them.
    skin = known & (_distance(_averaged(sampled, known, neighbours), tone) < _CONTINUED * limit)
    return np.rint(_filled(sampled, tone, known, skin, model)).astype(np.uint8), ~known


def visible(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Which vertices (V,) of a mesh over its photo face the viewer and are not hidden by another part."""
    size = float(face_size(vertices))
    # The test runs on a grid of about 200 x 200 pixels, however large the photo is.
    scale = 200 / size
    seen = depth_map(vertices * scale, triangles)
    column, row = (
        np.clip(np.rint(vertices[:, k] * scale).astype(int) - start, 0, seen.depth.shape[1 - k] - 1)
        for k, start in ((0, seen.left), (1, seen.top))
    )
    front = cv2.dilate(np.nan_to_num(seen.depth, nan=-1e9), np.ones((3, 3), np.uint8))[row, column]
    near = vertices[:, 2] * scale > front - DEPTH_TOLERANCE * 200
    # Where the surface is seen edge-on, half of the pixels show the background.
    return near & (vertex_normals(vertices, triangles)[:, 2] > GRAZING)


def _sampled(image: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The photo's colours (V, 3) at the vertices, between pixels."""
    height, width = image.shape[:2]
    # OpenCV reads from pictures of less than 32,767 pixels a side.
    start = np.clip(vertices[:, :2].min(axis=0).astype(int) - 1, 0, [width - 1, height - 1])
    start = start if max(height, width) > 32766 else np.zeros(2, int)
    places = (vertices[:, :2] - start).astype(np.float32)
    sampled = cv2.remap(
        image[start[1] :, start[0] :][:32766, :32766],
        *(places[:, :1], places[:, 1:], cv2.INTER_LINEAR),
        borderMode=cv2.BORDER_REPLICATE,
    )
    return sampled[:, 0].astype(np.float32)


def _tone(colours: np.ndarray, normals: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, float]:
    """The skin's colour (V, 3) in the light of the photo, and how far skin is from it (CIELAB).

    The colour is linear in the normal, as under one soft light, and fitted to the `skin` vertices (V,) without the
    eyes, brows and lips among them, which lie far off. Beyond the skin's normals it does not change.
    """
    low, high = np.quantile(normals[skin], [0.05, 0.95], axis=0)
    basis = np.column_stack([np.ones(len(normals)), np.clip(normals, low, high)])
    chosen, kept = np.flatnonzero(skin), slice(None)
    for _ in range(6):
        rows = chosen[kept]
        # Few normals or one colour leave the slope open; it is 0 then.
        square = basis[rows].T @ basis[rows] + np.diag([0, 1, 1, 1]) * 0.01 * len(rows)
        slope = np.linalg.solve(square, basis[rows].T @ colours[rows])
        off = np.abs(colours[chosen] - basis[chosen] @ slope).max(axis=1)
        kept = off <= max(2.0 * np.median(off), 4.0)
    tone = np.clip(basis @ slope, 0, 255).astype(np.float32)
    return tone, float(np.median(_distance(colours[chosen], tone[chosen])))


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The distance (n,) of colours (n, 3) in CIELAB, lightness weighing less."""
    first, second = (
        cv2.cvtColor(np.float32(one)[:, None] / 255, cv2.COLOR_RGB2LAB)[:, 0] for one in (first, second)
    )
    return np.linalg.norm((first - second) * [_SHADOW, 1, 1], axis=1)


def _foreign(far: np.ndarray, seen: np.ndarray, inner: np.ndarray, neighbours) -> np.ndarray:
    """Which seen vertices (V,) outside the inner face are not skin, from those with a colour `far` (V,) from it."""
    outer = seen & ~inner
    far = far & outer
    # Pixels at the border are mixed.
    for _ in range(2):
        far |= (neighbours @ far.astype(np.float32) > 0) & outer
    # Single vertices between them are no skin, either.
    for _ in range(3):
        few = neighbours @ (seen & ~far).astype(np.float32) < _FEW
        far |= outer & few & (neighbours @ far.astype(np.float32) > 0)
    return far


def _filled(colours, tone, known, skin, model: FaceModel) -> np.ndarray:
    """Colours (V, 3) of all vertices from those `known` (V,), of which those of `skin` (V,) go on beside them."""
    neighbours = _neighbours(model)
    rings = np.where(known, 0, FADED[1])
    spread, reached = np.where(known[:, None], colours, 0), skin.copy()
    for ring in range(1, FADED[1]):
        new = (neighbours @ reached.astype(np.float32) > 0) & ~reached & ~known
        spread[new] = _averaged(spread, reached, neighbours)[new]
        rings[new], reached = ring, reached | new
    # Without this, each pixel at the border would draw a streak.
    for _ in range(3):
        spread = np.where(known[:, None], spread, _averaged(spread, reached, neighbours))
    near = np.clip((FADED[1] - rings) / (FADED[1] - FADED[0]), 0, 1)[:, None]
    mirror = model.mirror.numpy()
    details = ((spread - tone) * near)[mirror] if len(mirror) else 0
    return np.clip(near * spread + (1 - near) * (tone + details), 0, 255)


def _averaged(colours: np.ndarray, mask: np.ndarray, neighbours) -> np.ndarray:
    """Mean colours (V, 3) of each vertex and its neighbours in the mask (V,); 0 where there is none."""
    weight = mask.astype(np.float32)
    total = neighbours @ (colours * weight[:, None]) + colours * weight[:, None]
    return total / np.maximum(neighbours @ weight + weight, 1)[:, None]


@lru_cache(maxsize=2)
def _neighbours(model: FaceModel) -> csr_array:
    """1 where two vertices share an edge, (V, V)."""
    triangles = model.triangles.numpy()
    first, second = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).T
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    count = len(model.mean)
    matrix = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(count, count))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


@lru_cache(maxsize=2)
def _parts(model: FaceModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks (V,) of the inner face, of what lies below the upper lip, and of the chin, in the mean face."""
    points, plane = model.landmarks().numpy()[:, :2], model.mean.numpy()[:, :2]
    # Larger by a margin, because brows and lips reach beyond their landmarks.
    around = points[_INNER] + 0.12 * (points[_INNER] - points[_INNER].mean(axis=0))
    inner, chin = (Delaunay(part).find_simplex(plane) >= 0 for part in (around, points[list(_CHIN)]))
    return inner, plane[:, 1] < points[51, 1], chin
