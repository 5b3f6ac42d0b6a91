"""Reads and writes videos, with OpenCV's copy of FFmpeg.

Frames come upright, whatever the file's rotation tag says, with the time at which each is shown, also where the
frame rate varies. Frames of another size than the first are scaled to it.
"""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fsdecode
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from m4kit.files import append_whole, whole_file
from m4kit.images import IMAGE_SUFFIXES
from m4kit.reading import begins_like_video

CODECS = {".mp4": "mp4v", ".webm": "VP80", ".avi": "MJPG", ".mkv": "mp4v"}
"""Endings of the videos that are written, and their codecs. Browsers play only `.webm`."""

ANIMATIONS = (".gif", ".webp", ".avif")
"""Endings of images that may also hold several frames."""

_CONVERT = "convert it, for example with `ffmpeg -i IN OUT.mp4`"
_MOST_FPS = 1000
_EARLY = 0.03
_ROOM = 1 << 16


class VideoError(ValueError):
    """A video that cannot be read or written: the message says why and what to do."""


class RawFrame(NamedTuple):
    """A frame of a video: its number from 0, the time in seconds at which it is shown, and its picture.

    `image` is (H, W, 3) uint8 RGB.
    """

    number: int
    seconds: float
    image: np.ndarray


class VideoReader:
    """A video's frames from its start, an iterator of `RawFrame`.

    `source` is a path, or the number of a camera (0 is the first one). Only every `every`-th frame is decoded to a
    picture. `name` is the source in words, `size` (width, height) in pixels, `fps` the mean number of frames a
    second and `count` the number of frames that the file promises, None if it does not say.

    Raises `VideoError` for what is no video, and for one without frames or without a frame rate. A video that ends
    before its promised end gives a warning, after its last frame.
    """

    def __init__(self, source: str | PathLike | int, *, every: int = 1):
        self.camera = isinstance(source, int)
        self.name = f"camera {source}" if self.camera else fsdecode(source)
        self.every = every
        self._capture = _open_camera(source) if self.camera else _open_file(Path(self.name))
        ask = self._capture.get
        self.fps = float(ask(cv2.CAP_PROP_FPS))
        if self.camera and not 0 < self.fps <= _MOST_FPS:
            self.fps = 30.0
        count = ask(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if math.isfinite(count) and count > 0 and not self.camera else None
        if not self._capture.grab():
            raise VideoError(f"{self.name}: expected a video with frames, got one without; {_CONVERT}")
        if not 0 < self.fps <= _MOST_FPS:
            raise VideoError(
                f"{self.name}: expected a frame rate above 0 and up to {_MOST_FPS}, got {self.fps:g}; write the "
                "rate into it, for example with `ffmpeg -r 25 -i IN OUT.mp4`"
            )
        self.size = self._picture().shape[1::-1]

    def __iter__(self) -> Iterator[RawFrame]:
        number, start, seconds = 0, None, 0.0
        grabbed = True
        try:
            while grabbed:
                told = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                start = told if start is None else start
                # A file may lack the times of frames: they follow at the frame rate then.
                following = told - start if told > start else number / self.fps
                seconds = max(following, seconds + 1e-3) if number else 0.0
                if number % self.every == 0:
                    yield RawFrame(number, seconds, self._picture())
                number, grabbed = number + 1, self._capture.grab()
        finally:
            self._capture.release()
        self._warn_if_early(number, seconds)

    def _picture(self) -> np.ndarray:
        whole, picture = self._capture.retrieve()
        if not whole:
            raise VideoError(f"{self.name}: a frame cannot be decoded; {_CONVERT}")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)

    def _warn_if_early(self, number: int, seconds: float) -> None:
        if self.count is None or number >= self.count:
            return
        # For some files the promised number is only an estimate from the duration.
        promised, read = self.count / self.fps, seconds + 1 / self.fps
        if promised - read > max(2 / self.fps, _EARLY * promised):
            warnings.warn(
                f"{self.name}: ends after frame {number} of {self.count}, because the rest is broken or missing; all "
                "frames before it are kept. Copy or download it again",
                stacklevel=3,
            )


@contextmanager
def video_writer(
    path: str | PathLike, *, size: tuple[int, int], fps: float
) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Write pictures into a video file of a constant frame rate: gives the function that takes one after another.

    The ending of `path` decides the codec (`CODECS`). The function takes a picture (H, W, 3) uint8 RGB of `size`
    (width, height) and the time at which it is shown; a picture stays until the next one's time. An existing file is
    replaced when all is written, and stays as it is if the block raises. Raises `VideoError` if the disk is full.
    """
    path = Path(path)
    if path.suffix.lower() not in CODECS:
        raise VideoError(f"{path}: expected a name that ends in {', '.join(CODECS)}")
    if not path.parent.is_dir():
        raise VideoError(f"{path}: expected an existing folder to write into; make it first")
    last, written = None, 0

    def fill(until: int) -> None:
        """Repeat the last picture until so many are written."""
        nonlocal written
        for _ in range(0 if last is None else max(1, until - written)):
            writer.write(last)
            written += 1

    def write(picture: np.ndarray, seconds: float) -> None:
        nonlocal last
        fill(round(seconds * fps))
        last = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)

    with whole_file(path) as part:
        code = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])
        with _utf8(part) as name:
            writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, code, fps, size)
        if not writer.isOpened():
            raise VideoError(
                f"{path}: cannot be written; check that the folder is writable, or take the ending .avi"
            )
        try:
            yield write
            fill(0)
        finally:
            writer.release()
        if full := _full(part):
            raise VideoError(f"{path}: {full.strerror or full}; make room, and save it again")


@contextmanager
def _utf8(path: Path) -> Iterator[str]:
    """Give a name of a file that OpenCV can open: it ends the process at one with bytes that are not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / f"video{path.suffix.encode(errors='ignore').decode()}"
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)


def _full(path: Path) -> OSError | None:
    """Find out why a file has no room for more: OpenCV does not tell that a disk is full."""
    size = path.stat().st_size
    try:
        append_whole(path, bytes(_ROOM))
    except OSError as error:
        return error
    os.truncate(path, size)
    return None


def _open_camera(number: int) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise VideoError(
            f"camera {number}: expected a camera, found none; connect one, close other programs that use it, or give "
            "the path of a video"
        )
    return capture


def _open_file(path: Path) -> cv2.VideoCapture:
    if path.is_dir():
        raise VideoError(f"{path}: expected a video, got a folder; give one of its files")
    if not path.is_file():
        raise VideoError(f"{path}: expected a video, found nothing there; check the path ({path.absolute()})")
    if path.suffix.lower() in IMAGE_SUFFIXES and path.suffix.lower() not in ANIMATIONS:
        raise VideoError(f"{path}: expected a video, got a photo; m4kit.predict reads it")
    try:
        with path.open("rb") as file:
            beginning = file.read(12)
    except OSError as error:
        raise VideoError(
            f"{path}: expected a readable file, got {error.strerror or error}; check its permissions"
        ) from error
    if not beginning:
        raise VideoError(f"{path}: expected a video, got an empty file (0 bytes); save or download it again")
    with _utf8(path) as name:
        # OpenCV's other readers take a name with digits for a series of pictures.
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    if capture.isOpened():
        return capture
    if begins_like_video(beginning):
        raise VideoError(
            f"{path}: expected a video that OpenCV can read, got one that is broken, has no frames, or has a codec "
            f"that is missing here; try it in a video player, and {_CONVERT}"
        )
    raise VideoError(
        f"{path}: expected a video, got another kind of file; give an .mp4, .webm, .mov, .avi or .mkv"
    )
