"""Reads files up to a size limit, because a file may be endless, or huge when unpacked."""

from __future__ import annotations

import errno
import io
import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from m4kit.files import reason_of

MOST_BYTES = 1 << 29
"""The largest file that is read, in bytes; also what the arrays of a `.npz` may take when they are unpacked."""

_PART = 1 << 24

# How containers of videos begin, and where. An MP4 has a brand at byte 8, as have photos of the same container.
_VIDEOS = (
    (4, b"ftyp"),
    (8, b"AVI "),
    (0, b"\x1a\x45\xdf\xa3"),
    (0, b"OggS"),
    (0, b"FLV"),
    (0, b"\0\0\1\xba"),
)
_PHOTO_BRANDS = (b"hei", b"hev", b"mif1", b"msf1", b"avi")


def begins_like_video(content: bytes) -> bool:
    """Tell whether a file's first 12 bytes or more are a video's: MP4, MOV, AVI, Matroska, WebM, Ogg, FLV, MPEG."""
    if content[4:8] == b"ftyp" and content[8:12].startswith(_PHOTO_BRANDS):
        return False
    return any(content.startswith(word, place) for place, word in _VIDEOS)


def read_file(path: Path, *, most: int | None = None) -> bytes:
    """Read a regular file of at most `most` bytes (default: `MOST_BYTES`); raise `OSError` for anything else.

    A device or a pipe is not opened, because it may block or never end.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "a device or a pipe; save what comes from it to a file first")
    with path.open("rb") as file:
        return read_all(file, most=most)


def read_all(file: BinaryIO, *, most: int | None = None) -> bytes:
    """Read the rest of a binary file of at most `most` bytes (default: `MOST_BYTES`); raise `OSError` for more."""
    most = MOST_BYTES if most is None else most
    content, size = io.BytesIO(), 0
    while part := file.read(min(_PART, most + 1)):
        if not isinstance(part, bytes):
            raise TypeError(f"{type(part).__name__} instead of bytes")
        content.write(part)
        size += len(part)
        if size > most:
            raise OSError(errno.EFBIG, f"more than {most:,} bytes")
    return content.getvalue()


def unpack_arrays(content: bytes) -> dict[str, np.ndarray] | np.ndarray:
    """Read the arrays of a `.npz`, or the array of a `.npy`, without pickles; raise `ValueError` if it is broken."""
    file = io.BytesIO(content)
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"{size:,} bytes when unpacked, more than {MOST_BYTES:,}")
        file.seek(0)
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            return arrays
        with arrays:
            return dict(arrays)
    # What numpy raises depends on which byte is wrong.
    except Exception as error:
        raise ValueError(reason_of(error)) from error
