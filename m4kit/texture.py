"""Colours a face's mesh from the photo, and with the skin's tone where the photo does not show the skin."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay, cKDTree

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

_INNER = slice(17, 68)
"""Landmarks of brows, nose, eyes and lips."""

_CHIN = (6, 7, 8, 9, 10, 48, 54)
"""Landmarks around the chin, where a beard may be."""

_IN_MOUTH = ("mouth_inside", "teeth", "tongue")
"""Regions that are no skin."""

_COVERED = ("scalp", "neck")
"""Regions where a photo mostly shows hair and clothes."""

_OUTLINE = 0.5
"""Pixels at a vertex whose unit normal has a smaller z may show what is behind the face."""

_GRID = 100
"""The face's size, in pixels, in the small picture where it is told from hair and background."""

_FADE = 3
"""Beside hair and background, the photo's colours turn into filled ones over this many edges."""

_LEAK = 0.03
"""How fast filled colours turn from their neighbours' to the skin's tone: by half in about five vertices."""


def photo_colours(face: Face, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour a face's vertices, (V, 3) uint8, from its photo (H, W, 3), and tell which are `filled` (V,) bool.

    Filled are vertices that the photo hides, and those where it shows hair, a hat or the background. Near the photo's
    part they continue its colours; further on they have the skin's tone in the light that falls on the visible side,
    with the details of the mirrored vertex.
    """
    vertices, triangles, model = face.vertices, face.triangles, face.model
    height, width = image.shape[:2]
    inside = (vertices[:, :2] > -0.5).all(1) & (vertices[:, :2] < [width - 0.5, height - 0.5]).all(1)
    seen = visible(vertices, triangles) & inside & ~_in(model, _COVERED)
    if not seen.any():
        return np.tile(np.uint8(SKIN), (len(vertices), 1)), ~seen
    sampled, normals = _sampled(image, vertices), vertex_normals(vertices, triangles)
    inner = seen & _inner(model) & (normals[:, 2] > _OUTLINE)
    foreign = seen & ~inner & ~_shown(image, vertices, triangles, inner)
    known, edges = seen & ~foreign, _neighbours(model)
    share, degree = known.astype(np.float32), edges.sum(axis=1)
    for _ in range(_FADE):
        # The photo's share falls towards hair and background, not towards lids and nostrils.
        share[known] = (edges @ np.where(foreign, 0, np.maximum(share, ~seen)) / degree)[known]
    tone, plain = _tone(sampled, normals, inner if inner.sum() > 50 else seen)
    colours = tone + _filled(sampled - tone, share, known & plain, inner, model)
    hidden = ~known & _in(model, _IN_MOUTH)
    colours[hidden] = _mouth_inside(image, face)[hidden]
    return np.rint(np.clip(colours, 0, 255)).astype(np.uint8), ~known


def visible(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Tell which vertices (V,) of a mesh over its photo face the viewer and are not hidden by another part."""
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


def _in(model: FaceModel, names: tuple[str, ...]) -> np.ndarray:
    """Mark the vertices (V,) of those regions that the model has."""
    nowhere = np.zeros(len(model.mean), bool)
    return np.any([model.regions.get(name, nowhere) for name in names], axis=0)


def _sampled(image: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Sample the photo's colours (V, 3) at the vertices, between pixels."""
    height, width = image.shape[:2]
    # OpenCV reads from pictures of less than 32,767 pixels a side, and at no more places in a row.
    start = np.clip(vertices[:, :2].min(axis=0).astype(int) - 1, 0, [width - 1, height - 1])
    start = start if max(height, width) > 32766 else np.zeros(2, int)
    places = (vertices[:, :2] - start).astype(np.float32)
    part = image[start[1] :, start[0] :][:32766, :32766]
    sampled = [
        cv2.remap(part, some[:, :1], some[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for some in np.split(places, range(32766, len(places), 32766))
    ]
    return np.concatenate(sampled)[:, 0].astype(np.float32)


def _shown(image: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Tell where (V,) the photo shows the face, not hair or background: GrabCut (Rother et al., SIGGRAPH 2004).

    It learns the face's colours from the `inner` vertices (V,), the others from what is beside and above the mesh.
    """
    scale = _GRID / float(face_size(vertices))
    low, high = vertices[:, :2].min(axis=0), vertices[:, :2].max(axis=0)
    # Not below the mesh, where the neck is.
    reach = [0.3, 0.3, 0.3, 0] * np.tile(high - low, 2)
    corners = np.concatenate([low, high]) + reach * [-1, -1, 1, 1]
    left, top, right, bottom = np.clip(corners, 0, np.tile(image.shape[1::-1], 2)).astype(int)
    size = [max(1, round(length * scale)) for length in (right - left, bottom - top)]
    picture = cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    points = (vertices - [left - 0.5, top - 0.5, 0]) * scale - [0.5, 0.5, 0]
    covered = np.isfinite(depth_map(points, triangles, region=(0, 0, *size)).depth)
    around = cv2.dilate(covered.astype(np.uint8), np.ones((5, 5)))
    parts = np.where(around, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    columns, rows = np.clip(np.rint(points[:, :2]).astype(int), 0, np.subtract(size, 1)).T
    parts[rows[inner], columns[inner]] = cv2.GC_FGD
    if not inner.any() or around.all():
        return np.ones(len(vertices), bool)
    # The first clusters are random.
    cv2.setRNGSeed(0)
    cv2.grabCut(picture, parts, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    # Pixels at the border are mixed.
    return cv2.erode(parts & 1, np.ones((3, 3)))[rows, columns] > 0


def _mouth_inside(image: np.ndarray, face: Face) -> np.ndarray:
    """Sample what the photo shows between the lips nearest to each vertex, (V, 3)."""
    points = face.landmarks[:, :2]
    down = np.linspace(0.1, 0.9, 5)[:, None, None]
    between = ((1 - down) * points[61:64] + down * points[[67, 66, 65]]).reshape(-1, 2)
    nearest = cKDTree(between).query(face.vertices[:, :2], k=3)[1]
    return _sampled(image, between)[nearest].mean(axis=1)


def _tone(colours: np.ndarray, normals: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the skin's colour (V, 3) in the light of the photo, and which colours (V,) are about that.

    The colour is linear in the normal, as under one soft light, and fitted to the `skin` vertices (V,) without the
    eyes, brows and lips among them, which lie far off. Beyond the skin's normals it does not change.
    """
    low, high = np.quantile(normals[skin], [0.05, 0.95], axis=0)
    basis = np.column_stack([np.ones(len(normals)), np.clip(normals, low, high)])
    kept = skin
    for _ in range(6):
        # Few normals or one colour leave the slope open; it is 0 then.
        square = basis[kept].T @ basis[kept] + np.diag([0, 1, 1, 1]) * 0.01 * kept.sum()
        slope = np.linalg.solve(square, basis[kept].T @ colours[kept])
        off = np.abs(colours - basis @ slope).max(axis=1)
        limit = max(2.0 * np.median(off[skin]), 4.0)
        kept = skin & (off <= limit)
    tone = np.clip(basis @ slope, 0, 255).astype(np.float32)
    return tone, off < np.maximum(2 * limit, 0.2 * tone.max(axis=1))


def _filled(colours, share, sources, inner, model: FaceModel) -> np.ndarray:
    """Fill colours (V, 3) relative to the tone: a `share` (V,) of the photo's `colours`, the rest continued.

    A filled colour is that of the mirrored vertex plus a difference, which continues from the `sources` (V,): it is a
    little less than the mean of the neighbours' differences, and so goes to 0 far from the photo's part.
    """
    hidden = ~sources
    edges = _neighbours(model)[hidden]
    solve = splu((diags_array(edges.sum(axis=1) + _LEAK) - edges[:, hidden]).tocsc()).solve

    def completed(details: np.ndarray, share: np.ndarray) -> np.ndarray:
        rest = colours - details
        rest[hidden] = solve(edges[:, sources] @ rest[sources])
        return share[:, None] * colours + (1 - share)[:, None] * (details + rest)

    details, mirror = np.zeros_like(colours), model.mirror
    if len(mirror):
        # A strand of hair has no twin.
        details = completed(details, share * (sources | inner))[mirror]
    return completed(details, share)


@lru_cache(maxsize=2)
def _neighbours(model: FaceModel) -> csr_array:
    """Return 1 where two vertices share an edge, (V, V)."""
    pairs, count = model.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), len(model.mean)
    edges = csr_array((np.ones(len(pairs), np.float32), pairs.T), shape=(count, count))
    return (edges + edges.T > 0).astype(np.float32)


@lru_cache(maxsize=2)
def _inner(model: FaceModel) -> np.ndarray:
    """Mark the vertices (V,) of the inner face and of the chin, in the mean face."""
    points, plane = model.landmarks()[:, :2], model.mean[:, :2]
    # Larger by a margin, because brows and lips reach beyond their landmarks.
    around = points[_INNER] + 0.05 * (points[_INNER] - points[_INNER].mean(axis=0))
    return np.any([Delaunay(part).find_simplex(plane) >= 0 for part in (around, points[list(_CHIN)])], axis=0)
