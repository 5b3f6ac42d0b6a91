"""A face model's mesh with fewer triangles, for pictures of faces whose vertices are closer than pixels."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m4kit.camera import decompose

if TYPE_CHECKING:
    from m4kit.face_model import FaceModel
    from m4kit.prediction import Face

CELL = 2.0
"""The largest side of a cell in photo pixels. One of its vertices is kept."""


class CoarseMesh(NamedTuple):
    """Some of a mesh's vertices (v,) by their numbers, and triangles (t, 3) between these."""

    kept: np.ndarray
    triangles: np.ndarray


def coarse_mesh(face: Face) -> CoarseMesh:
    """Return the mesh that shows a face at its size in the photo; a large face has the whole mesh."""
    pixels = decompose(face.camera)[0] * face.crop.scale
    if not (math.isfinite(pixels) and pixels > 0):
        return clustered(face.model, 0.0)
    # Steps of the root of two, because each mesh is made once and kept.
    step = math.floor(2 * math.log2(CELL / pixels))
    return clustered(face.model, 2 ** (min(step, 6) / 2) if step >= 0 else 0.0)


@lru_cache(maxsize=8)
def clustered(model: FaceModel, side: float) -> CoarseMesh:
    """Merge vertices of the model's mesh that lie in one cube of `side` mm of the mean face; 0 merges none.

    They must belong to the same region and be connected, so parts that only touch, such as lips, stay apart. The
    vertex nearest to their middle is kept.
    """
    count, triangles = len(model.mean), model.triangles
    if side == 0:
        return CoarseMesh(np.arange(count), triangles)
    regions = np.zeros(count, dtype=np.int64)
    for bit, mask in enumerate(model.regions.values()):
        regions |= mask.astype(np.int64) << bit
    cells = np.column_stack([np.floor(model.mean / side).astype(np.int64), regions])
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    one, other = ends[(cells[ends[:, 0]] == cells[ends[:, 1]]).all(axis=1)].T
    # Each vertex takes the lowest number among its neighbours until none changes.
    lowest, before = np.arange(count), None
    while not np.array_equal(lowest, before):
        before = lowest.copy()
        np.minimum.at(lowest, one, before[other])
        np.minimum.at(lowest, other, before[one])
        lowest = lowest[lowest]
    _, cluster, sizes = np.unique(lowest, return_inverse=True, return_counts=True)
    middles = np.stack([np.bincount(cluster, axis) / sizes for axis in model.mean.T], axis=1)
    order = np.lexsort([((model.mean - middles[cluster]) ** 2).sum(axis=1), cluster])
    kept = order[np.cumsum(sizes) - sizes]
    corners = cluster[triangles]
    whole = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    return CoarseMesh(kept, corners[whole])
