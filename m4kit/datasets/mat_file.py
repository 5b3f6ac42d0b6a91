"""Reads matrices from MATLAB's `.mat` files (level 5, which `-v6` and `-v7` write).

Format: "MAT-File Format", The MathWorks. `scipy.io.loadmat` is no choice for files from elsewhere: a wrong number in
a file makes it read outside its memory (scipy 1.17), and a file of 200 bytes can make it take gigabytes.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Container, Iterator
from itertools import islice

import numpy as np

_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""numpy's types by the numbers of MATLAB's."""

_NUMERIC, _COMPLEX = range(6, 16), 0x800
_HEADER = 128
_MOST_BYTES = 1 << 16


def read_matrices(content: bytes, names: Container[str]) -> dict[str, np.ndarray]:
    """Read the real matrices of these names, as far as the file has them, of at most 64 kB each.

    Variables of other kinds, such as cells and texts, are skipped. Raises `ValueError` for a broken file.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise ValueError("expected a file that MATLAB saved with -v7")
    found = {}
    for element in _elements(content[_HEADER:], order):
        kind, data = _unpacked(element[1], order) if element[0] == _COMPRESSED else element
        if kind != _MATRIX:
            raise ValueError(f"expected variables, got an element of type {kind}")
        name, matrix = _matrix(data, order, names)
        if matrix is not None:
            found[name] = matrix
    return found


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and data of each element."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:
            # Up to four bytes of data stand in the second word.
            kind, size = kind & 0xFFFF, min(kind >> 16, 4)
            yield kind, data[at + 4 : at + 4 + size]
            at += 8
        else:
            at += 8
            yield kind, data[at : at + size]
            at += size if kind == _COMPRESSED else -(-size // 8) * 8


def _unpacked(data: bytes, order: str) -> tuple[int, bytes]:
    """Type and data of the element that another one holds compressed, without what is beyond the limit."""
    try:
        unpacked = zlib.decompressobj().decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return next(_elements(unpacked, order), (0, b""))


def _matrix(data: bytes, order: str, names: Container[str]) -> tuple[str, np.ndarray | None]:
    """A variable's name, and its numbers if it is a real matrix with one of these names."""
    parts = list(islice(_elements(data, order), 4))
    if len(parts) < 3 or len(parts[0][1]) < 4:
        raise ValueError("expected flags, size and name of a variable")
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    name = parts[2][1].decode("latin-1")
    if name not in names or flags & 0xFF not in _NUMERIC or flags & _COMPLEX or len(parts) < 4:
        return name, None
    kind, numbers = parts[3]
    shape = np.frombuffer(parts[1][1][: len(parts[1][1]) // 4 * 4], f"{order}i4").tolist()
    if kind not in _TYPES:
        raise ValueError(f"{name}: expected numbers, got type {kind}")
    dtype = np.dtype(f"{order}{_TYPES[kind]}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(numbers):
        raise ValueError(f"{name}: expected {shape} numbers, got {len(numbers)} bytes")
    return name, np.frombuffer(numbers, dtype).reshape(shape, order="F")
