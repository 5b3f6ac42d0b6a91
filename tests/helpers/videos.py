"""Small videos made with OpenCV, and damaged or odd ones made from them."""

import struct
from pathlib import Path

import cv2
import numpy as np

from m4kit.camera import Crop, cut_square
from m4kit.images import load_image

from helpers.paths import SAMPLES

FPS = 25


def write_video(path: Path, pictures, *, fps: float = FPS, size: tuple[int, int] | None = None) -> Path:
    """Write pictures (H, W, 3) uint8 RGB as MJPEG in .avi or MPEG-4 in .mp4; returns the path.

    `size` (width, height) is that of the pictures, unless there are none.
    """
    code = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, size or pictures[0].shape[1::-1])
    for picture in pictures:
        writer.write(picture[..., ::-1])
    writer.release()
    return path


def greys(count: int = 10, *, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Pictures of one grey each; picture i has the grey 20 i + 10."""
    return [np.full((size[1], size[0], 3), 20 * number + 10, np.uint8) for number in range(count)]


def pan(shifts, *, photo: str = "astronaut.jpg", size: tuple[int, int] = (240, 180)) -> list[np.ndarray]:
    """A sample photo seen through a window that moves: one picture for each shift (x, y) in photo pixels."""
    image = load_image(SAMPLES / photo)
    side = 260
    square = [cut_square(image, Crop(110 + x, 10 + y, side), 240) for x, y in shifts]
    return [np.ascontiguousarray(picture[: size[1], : size[0]]) for picture in square]


def turned_by_tag(path: Path, target: Path) -> Path:
    """The same .mp4 with a tag that says: turn by 90 degrees."""
    content = bytearray(path.read_bytes())
    # The matrix of a track header, ISO/IEC 14496-12, 8.3.2.
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    target.write_bytes(content)
    return target


def with_durations(path: Path, target: Path, factors) -> Path:
    """The same .mp4 with frames that last so many times as long: a variable frame rate."""
    content = path.read_bytes()
    at = content.index(b"stts") - 4
    size, _, _, entries, _, unit = struct.unpack(">I4sIIII", content[at : at + 24])
    assert entries == 1
    table = b"".join(struct.pack(">II", 1, unit * factor) for factor in factors)
    box = struct.pack(">I4sII", 16 + len(table), b"stts", 0, len(factors)) + table
    content = bytearray(content[:at] + box + content[at + size :])
    # The boxes around it grow as much.
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = content.index(name) - 4
        (old,) = struct.unpack(">I", content[place : place + 4])
        content[place : place + 4] = struct.pack(">I", old + len(box) - size)
    # An edit list would cut what lasts longer than before.
    place = content.index(b"edts")
    content[place : place + 4] = b"free"
    target.write_bytes(content)
    return target
