"""Arrays for a live page, as one gzip'd block that browsers decompress by themselves.

Numbers of two bytes are stored as a plane of their low bytes and one of their high bytes, which compresses better.
Fields over a mesh, such as modes, are smooth: each vertex is stored as its difference from the mean of its neighbours
with lower numbers. `js/page_data.js` decodes all of it.
"""

from __future__ import annotations

import base64
import gzip

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

_TYPES = {"u1": np.uint8, "u2": np.uint16, "i2": np.int16, "f4": np.float32}


class Packer:
    """Collects arrays; each is added once and described by a dictionary for the page's JSON."""

    def __init__(self):
        self._parts: list[bytes] = []
        self._length = 0
        self._known: dict[tuple[str, bytes], dict] = {}

    def add(self, array: np.ndarray, kind: str) -> dict:
        """Add an array as "u1", "u2", "i2" or "f4"; raises `ValueError` for whole numbers that do not fit."""
        given = np.asarray(array)
        array = np.ascontiguousarray(given, dtype=_TYPES[kind])
        if kind != "f4" and not np.array_equal(array, given):
            raise ValueError(f"expected whole numbers of type {kind}, got {given.min()} to {given.max()}")
        content = array.tobytes()
        key = (kind, content)
        if key not in self._known:
            stored = content
            if array.itemsize == 2:
                stored = array.astype(array.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, 2).T.tobytes()
            self._known[key] = {"at": self._length, "type": kind, "length": array.size}
            self._parts.append(stored)
            self._length += len(stored)
        return self._known[key]

    def text(self) -> str:
        """Return all arrays, gzip'd, in base64."""
        return base64.b64encode(gzip.compress(b"".join(self._parts), 6, mtime=0)).decode()


def page_order(triangles: np.ndarray, count: int) -> np.ndarray:
    """Order a mesh's vertices, (V,), so that neighbours have similar numbers (Cuthill and McKee, 1969)."""
    return reverse_cuthill_mckee(_edges(triangles, count), symmetric_mode=True)[::-1].astype(np.int64)


def lower_neighbours(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """Tell which neighbours of each vertex have lower numbers, (V, V), of 0 and 1."""
    return sparse.tril(_edges(triangles, count), -1).tocsr()


def smooth_rest(fields: np.ndarray, step: float, lower: sparse.csr_matrix) -> np.ndarray:
    """Encode fields (n, V, 3) as small whole numbers (3 n, V): each vertex minus the mean of its lower neighbours.

    In multiples of `step`; 0, -1, 1, -2 ... become 0, 1, 2, 3. `lower` is `lower_neighbours` of the mesh.
    """
    whole = np.rint(fields.transpose(1, 0, 2).reshape(fields.shape[1], -1) / step).astype(np.int32)
    number = np.maximum(np.diff(lower.indptr), 1)[:, None]
    # The rounded mean, in whole numbers, so that Python and JavaScript round alike.
    rest = (whole - (2 * (lower @ whole) + number) // (2 * number)).T
    return np.where(rest < 0, -2 * rest - 1, 2 * rest)


def packed_triangles(triangles: np.ndarray) -> np.ndarray:
    """Encode triangles (T, 3) as small whole numbers (3, T).

    Sorted by their lowest vertex, which comes first: its difference from the triangle before, and the other two minus
    it.
    """
    first = triangles.argmin(axis=1)[:, None]
    turned = np.take_along_axis(triangles, (first + np.arange(3)) % 3, axis=1)
    turned = turned[np.lexsort(turned.T[::-1])]
    lowest = turned[:, 0]
    return np.stack([np.diff(lowest, prepend=0), turned[:, 1] - lowest, turned[:, 2] - lowest])


def _edges(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    pairs = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    matrix = sparse.csr_matrix((np.ones(len(pairs)), pairs.T), shape=(count, count))
    return (matrix + matrix.T > 0).astype(np.int32)
