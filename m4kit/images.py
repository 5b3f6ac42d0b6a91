"""Loads images of many kinds as (H, W, 3) uint8 RGB.

The EXIF orientation is applied, grey becomes three equal channels, 16 bits are scaled to 8, CMYK is converted, and
transparent pixels are blended with white. Of an animation only the first frame is loaded, with a warning. Colour
profiles are not applied. An image that cannot be loaded raises `ImageError` with the reason.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from m4kit.files import outputs_in

ImageSource = str | PathLike | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray
"""The types that `load_image` accepts."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""`list_images` finds the files of a folder that end in one of these, in lower or upper case."""

MAX_PIXELS = 400_000_000
"""The largest image that is loaded, in pixels: 20,000 x 20,000, which takes 1.2 GB as RGB."""

_LONGEST_SHOWN = 300
_FORMATS = "JPEG, PNG, WebP, BMP, GIF or TIFF"
# Pillow's decoders raise these for broken files.
_DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError),
    *(struct.error, zlib.error),
)
# In these formats the other frames belong to the same picture: a phone's preview, a drawing's layers.
_STILL_FORMATS = ("MPO", "PSD")
_bomb_limit_lock = threading.Lock()


class ImageError(ValueError):
    """An image cannot be used."""


class MissingImageError(ImageError, FileNotFoundError):
    """A file or folder does not exist."""


def source_name(source: ImageSource) -> str:
    """The name of an image in messages and in `Prediction.source`: its path, or `<array>`, `<bytes>`, ..."""
    if isinstance(source, str | PathLike):
        return str(source)
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "<image>")
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<file>"


def load_image(source: ImageSource) -> np.ndarray:
    """Load an image as a new (H, W, 3) uint8 RGB array.

    `source` is a path, a file's bytes, a binary file object, a PIL image or a numpy array. Arrays are (H, W) or
    (H, W, 1) grey, (H, W, 2) grey + alpha, (H, W, 3) RGB or (H, W, 4) RGBA, with values of type uint8, uint16 (0 to
    65535), float (0 to 1) or bool.

    Raises `ImageError` for an image that cannot be loaded. A path that does not exist raises `MissingImageError`,
    which is also a `FileNotFoundError`.
    """
    name = source_name(source)
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source, name)
    if isinstance(source, Image.Image):
        with _decoding(name):
            return _pil_to_rgb(source, name)
    if isinstance(source, str | PathLike):
        with _on_disk(Path(source)):
            content = Path(source).read_bytes()
    elif isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
    elif hasattr(source, "read"):
        content = source.read()
    else:
        raise ImageError(
            "expected a path, bytes, a binary file, a PIL image or a numpy array, "
            f"got {type(source).__name__}; convert it, for example with numpy.asarray"
        )
    return _decode(content, name)


def list_images(paths: str | PathLike | Iterable[str | PathLike]) -> list[Path]:
    """List image files: each file itself, and the images of each folder sorted by name.

    Images of a folder are the files directly in it that end in one of `IMAGE_SUFFIXES`, except hidden files and the
    results that an m4kit command wrote there (`files.outputs_in`).

    Raises `ImageError` for a folder without images and for an empty list, `MissingImageError` for a path that does
    not exist.
    """
    files = []
    for path in [Path(paths)] if isinstance(paths, str | PathLike) else [Path(path) for path in paths]:
        with _on_disk(path):
            found = _images_in(path) if path.is_dir() else [path]
            path.stat()  # Raises if nothing is there.
        if not found:
            raise ImageError(
                f"{path}: expected a folder with images, found no file in it that ends in "
                f"{', '.join(IMAGE_SUFFIXES)}; give another folder, or the files themselves"
            )
        files += found
    if not files:
        raise ImageError("expected at least one image file or folder, got an empty list; give a path")
    return files


def check_image(image: np.ndarray, *, name: str) -> np.ndarray:
    """Return the image as an array if it is (H, W, 3) uint8 with at least one pixel, else raise `ValueError`.

    The error starts with `name`, which tells what needs the image.
    """
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        came = f"{array.dtype} {array.shape}" if array.ndim else type(image).__name__
        raise ValueError(
            f"{name}: expected an image (H, W, 3) uint8 RGB of at least one pixel, got {came}; "
            "m4kit.load_image makes one"
        )
    return array


def _images_in(folder: Path) -> list[Path]:
    results = outputs_in(folder)
    return sorted(path for path in folder.iterdir() if _is_image_file(path) and path.name not in results)


def _is_image_file(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into `ImageError`."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        is_address = path.parts[:1] in (("http:",), ("https:",))
        remedy = "download it first and give the file's path" if is_address else "check the path"
        raise MissingImageError(
            f"{path}: expected an image file, found nothing there; {remedy} ({path.absolute()})"
        ) from error
    except IsADirectoryError as error:
        raise ImageError(
            f"{path}: expected an image file, got a folder; give one of its files, or use list_images"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        name = str(path)
        shown = name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}..."
        raise ImageError(
            f"{shown}: expected a readable file or folder, got {reason}; check the path and its permissions"
        ) from error


def _decode(content: bytes, name: str) -> np.ndarray:
    if not isinstance(content, bytes):
        raise ImageError(
            f"{name}: expected a file opened in binary mode, it gave {type(content).__name__}; "
            "open it with mode 'rb'"
        )
    if not content:
        raise ImageError(f"{name}: expected an image, got an empty file (0 bytes); save or download it again")
    with _without_bomb_limit(), _decoding(name), Image.open(io.BytesIO(content)) as image:
        _check_size(image.width, image.height, name)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format not in _STILL_FORMATS:
            warnings.warn(f"{name}: has {frames} frames, the first one is used", stacklevel=3)
            image.seek(0)
        return _pil_to_rgb(image, name)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn errors of Pillow into `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: expected an image ({_FORMATS}), got another kind of file or a broken header; "
            "open it in an image viewer and save it again as PNG or JPEG"
        ) from error
    except _DECODING_ERRORS as error:
        raise ImageError(
            f"{name}: expected a complete image, got one that is truncated or broken ({error}); "
            "copy or download it again"
        ) from error


@contextmanager
def _without_bomb_limit() -> Iterator[None]:
    """Switch off Pillow's global limit of 179 million pixels. `_check_size` applies `MAX_PIXELS` instead."""
    with _bomb_limit_lock:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(
            f"{name}: expected at least one pixel, got {width} x {height}; check how the image was made"
        )
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: expected at most {MAX_PIXELS:,} pixels, got {width} x {height}; scale it down first"
        )


def _pil_to_rgb(image: Image.Image, name: str) -> np.ndarray:
    _check_size(image.width, image.height, name)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(
                f"{name}: expected 8 or 16 bits per channel, got 32-bit values from {values.min()} to "
                f"{values.max()}; scale them to 0..65535 first"
            )
        return _array_to_rgb(values.astype(np.uint16), name)
    if image.mode == "F":
        return _array_to_rgb(np.asarray(image), name)
    if image.has_transparency_data:
        return _array_to_rgb(np.asarray(image.convert("RGBA")), name)
    return np.array(image.convert("RGB"))


def _array_to_rgb(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        remedy = (
            "put the channels last with transpose(1, 2, 0)" if channels_first else "give one image at a time"
        )
        raise ImageError(
            f"{name}: expected shape (H, W) or (H, W, 1 to 4), RGB order, got {array.shape}; {remedy}"
        )
    _check_size(array.shape[1], array.shape[0], name)
    pixels = _to_8_bits(array, name)
    if pixels.shape[2] in (2, 4):
        pixels = _over_white(pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.array(pixels, order="C")


def jpeg(picture: np.ndarray, *, quality: int) -> bytes:
    """Encode a picture (H, W, 3) uint8 RGB as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def _to_8_bits(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.newbyteorder("=") == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"{name}: expected uint8, uint16, float or bool values, got {array.dtype}; "
            "use array.astype(numpy.uint8) if they are from 0 to 255"
        )
    if not np.isfinite(array).all():
        raise ImageError(
            f"{name}: expected finite values, got NaN or infinity; numpy.nan_to_num replaces them with numbers"
        )
    # Resampling in float can leave values slightly outside.
    if array.min() < -1e-3 or array.max() > 1 + 1e-3:
        raise ImageError(
            f"{name}: expected float values from 0 to 1, got {array.min():g} to {array.max():g}; "
            "divide by 255, or convert with astype(numpy.uint8)"
        )
    return (np.clip(array, 0, 1) * 255).round().astype(np.uint8)


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """Blend pixels, whose last channel is alpha, with white: (H, W, 1 or 3)."""
    colour, alpha = pixels[..., :-1].astype(np.uint16), pixels[..., -1:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
