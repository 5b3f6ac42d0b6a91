"""Loads images of many kinds as (H, W, 3) uint8 RGB.

The EXIF orientation is applied, grey becomes three equal channels, 16 bits are scaled to 8, CMYK is converted, and
transparent pixels are blended with white. Of an animation only the first frame is loaded, with a warning. Colour
profiles are not applied. An image that cannot be loaded raises `ImageError` with the reason.

A hostile file does no harm. Only `FORMATS` are tried, whose decoders start no other program. A file may have 512 MB
(`reading.MOST_BYTES`) and as many pixels as Pillow allows, 2 x `PIL.Image.MAX_IMAGE_PIXELS`, by default 179 million;
in WebP, AVIF and progressive JPEG half as many, in JPEG 2000 a third, because their decoders need more memory.
Larger files are refused before they are decoded. None is read at a reduced size, because boxes and landmarks count
the photo's own pixels.
"""

from __future__ import annotations

import io
import os
import re
import reprlib
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from m4kit.files import has_results, outputs_in
from m4kit.pixels import (
    Block,
    ImageError,
    MissingImageError,
    array_to_rgb,
    check_size,
    in_blocks,
    most_pixels,
    plain_array,
)
from m4kit.reading import begins_like_video, read_all, read_file

ImageSource = str | PathLike | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray
"""The types that `load_image` accepts."""

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "JPEG2000": (".jp2", ".j2k"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""The formats that are read, by Pillow's names, and the endings of their files."""

IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""`list_images` finds the files of a folder that end in one of these, in lower or upper case."""

_NAMES = "JPEG, PNG, WebP, AVIF, TIFF, JPEG 2000, BMP, GIF or PPM"
_LONGEST_SHOWN = 300

# How files with the photos of iPhones begin.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")

# Programs write some 10 scans.
_MOST_SCANS = 100

# Pillow's warnings name no file, and concern what does not change the pixels, such as broken EXIF.
_PILLOWS_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def source_name(source: ImageSource) -> str:
    """Name an image in messages and in `Prediction.source`: by its path, or `<array>`, `<bytes>`, ..."""
    if isinstance(source, str | PathLike):
        return os.fsdecode(source)
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "<image>")
    name = getattr(source, "name", None)
    return str(name) if isinstance(name, str | PathLike) and str(name) else "<file>"


def load_image(source: ImageSource) -> np.ndarray:
    """Load an image as a new (H, W, 3) uint8 RGB array.

    `source` is a path, a file's bytes, a binary file object, a PIL image or a numpy array. Arrays are (H, W) or
    (H, W, 1) grey, (H, W, 2) grey + alpha, (H, W, 3) RGB or (H, W, 4) RGBA, with values of type uint8, uint16 (0 to
    65535), float (0 to 1) or bool.

    16-bit values, of a file or an array, that are all at most 255 count as 8-bit values. If they are all below 4096,
    as those of a camera with 10 or 12 bits are, the picture comes out dark, with a warning. Arrays that come out
    black, because they were scaled twice or cast without scaling, give a warning, too.

    A JPEG, PNG or GIF that lacks its last bytes is read if no pixel depends on them. Any other truncated file is an
    error.

    Raises `ImageError` for an image that cannot be loaded. A path that does not exist raises `MissingImageError`,
    which is also a `FileNotFoundError`.
    """
    name = source_name(source)
    if isinstance(source, np.ndarray):
        return array_to_rgb(source, name)
    if isinstance(source, Image.Image):
        with _decoding(name, remedy="open it again, and load it before you close it"):
            return _pil_to_rgb(source, name)
    if isinstance(source, str | PathLike):
        path = _path(source)
        with _on_disk(path):
            content = read_file(path)
    elif isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "read"):
        content = _content(source, name)
    else:
        raise ImageError(
            "expected a path, bytes, a binary file, a PIL image or a numpy array, "
            f"got {type(source).__name__}; convert it, for example with numpy.asarray"
        )
    return _decode(content, name)


def list_images(paths: str | PathLike | Iterable[str | PathLike], *, recursive: bool = False) -> list[Path]:
    """List image files: each file itself, and the images of each folder sorted by name.

    Images of a folder are the files directly in it that end in one of `IMAGE_SUFFIXES`, except hidden files and the
    results that an m4kit command wrote there (`files.outputs_in`). With `recursive`, those of its subfolders follow,
    except hidden folders, links to folders, and folders of results.

    Raises `ImageError` for a folder without images and for an empty list, `MissingImageError` for a path that does
    not exist.
    """
    files = []
    try:
        given = [_path(path) for path in ([paths] if isinstance(paths, str | PathLike) else paths)]
    except TypeError as error:
        raise ImageError(
            f"expected a path or several, got {reprlib.repr(paths)}; give text or Path"
        ) from error
    for path in given:
        with _on_disk(path):
            found = _images_in(path, recursive) if path.is_dir() else [path]
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
    array = plain_array(image, name)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        came = f"{array.dtype} {array.shape}" if array.ndim else type(image).__name__
        raise ValueError(
            f"{name}: expected an image (H, W, 3) uint8 RGB of at least one pixel, got {came}; "
            "m4kit.load_image makes one"
        )
    return array


def jpeg(picture: np.ndarray, *, quality: int) -> bytes:
    """Encode a picture (H, W, 3) uint8 RGB as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def _images_in(folder: Path, recursive: bool) -> list[Path]:
    results = outputs_in(folder)
    inside = sorted(path for path in folder.iterdir() if path.name not in results)
    images = [
        path
        for path in inside
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    for path in inside if recursive else ():
        if path.is_dir() and not (path.is_symlink() or path.name.startswith(".") or has_results(path)):
            images += _images_in(path, recursive)
    return images


def _path(source: str | PathLike) -> Path:
    name = os.fsdecode(source)
    # An empty path would mean the current folder.
    if not name:
        raise ImageError("expected the path of an image, got an empty text; check where it comes from")
    return Path(name)


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


def _content(source: bytes | bytearray | memoryview | BinaryIO, name: str) -> bytes:
    """Return the bytes, or read what is left in a file object."""
    if isinstance(source, io.TextIOBase):
        raise ImageError(
            f"{name}: expected a file opened in binary mode, got one in text mode; open it with mode 'rb'"
        )
    is_file = hasattr(source, "read")
    try:
        content = read_all(source if is_file else io.BytesIO(bytes(source)))
        was_read = is_file and not content and source.tell() > 0
    # A file object of another library may raise anything.
    except Exception as error:
        raise ImageError(
            f"{name}: expected {'a file' if is_file else 'bytes'} that can be read, got {_reason(error)}; "
            "open it again in binary mode, or give its path"
        ) from error
    if was_read:
        raise ImageError(
            f"{name}: expected an image, got a file that was read to its end; go back with seek(0)"
        )
    return content


def _decode(content: bytes, name: str) -> np.ndarray:
    if not content:
        raise ImageError(f"{name}: expected an image, got an empty file (0 bytes); save or download it again")
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC:
        raise ImageError(
            f"{name}: expected an image ({_NAMES}), got HEIC; save it as JPEG, or give the PIL image that "
            "pillow-heif opens"
        )
    if begins_like_video(content):
        raise ImageError(f"{name}: expected an image ({_NAMES}), got a video; m4kit.predict_video reads it")
    with _decoding(name, remedy="copy or download it again"), _opened(content) as image:
        # The number of frames may be false, and takes long to find. The other frames of an MPO belong to the same
        # photo: a phone's preview, a second lens.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            warnings.warn(f"{name}: has several frames, the first one is used", stacklevel=3)
            image.seek(0)
        if image.info.get("progressive") and _scans(content) > _MOST_SCANS:
            raise ImageError(
                f"{name}: expected a JPEG of at most {_MOST_SCANS} scans, got {_scans(content):,}, which would take "
                "very long; save it again as a JPEG that is not progressive"
            )
        try:
            return _pil_to_rgb(image, name)
        except OSError:
            if image.format not in ("JPEG", "MPO"):
                raise
            whole = _without_its_end(content, name)
            if whole is None:
                raise
            return whole


def _opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=tuple(FORMATS))


def _scans(content: bytes) -> int:
    """Count the scans of a JPEG, each of which passes over the whole photo."""
    at, scans = 2, 0
    while 0 <= (at := content.find(b"\xff", at)) < len(content) - 3:
        marker = content[at + 1]
        if marker == 0xD9:
            break
        # Fill bytes, escaped data, restarts.
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            at += 1
        else:
            scans += marker == 0xDA
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return scans


def _without_its_end(content: bytes, name: str) -> np.ndarray | None:
    """Read a JPEG that lacks its last bytes; None if pixels depend on what is missing.

    libjpeg takes whatever stands before the end marker for the missing data, so pixels that depend on it differ
    between two endings.
    """
    digest = None
    for ending in (b"", b"\x55\xa5\x33\x5a" * 64):
        # A marker cut in half would join the bytes that follow.
        with _opened(content.rstrip(b"\xff") + ending + b"\xff\xd9") as image:
            picture = _pil_to_rgb(image, name)
        before, digest = digest, zlib.crc32(picture)
    return picture if digest == before else None


@contextmanager
def _decoding(name: str, *, remedy: str) -> Iterator[None]:
    """Turn errors of Pillow into `ImageError`, and keep its warnings back."""
    # Unlike `warnings.catch_warnings`, this can run in several threads at once.
    filters = warnings.filters
    filters.insert(0, _PILLOWS_WARNINGS)
    try:
        yield
    except (ImageError, Warning):
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: expected an image ({_NAMES}), got another kind of file or a broken header; "
            "open it in an image viewer and save it again as PNG or JPEG"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name}: expected at most {most_pixels():,} pixels, got more; scale it down first, "
            "or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except MemoryError as error:
        raise ImageError(
            f"{name}: expected an image that fits into the memory, got a larger one; scale it down first"
        ) from error
    # Which error a decoder raises depends on which byte is wrong.
    except Exception as error:
        raise ImageError(
            f"{name}: expected a complete image, got one that is truncated or broken ({_reason(error)}); {remedy}"
        ) from error
    finally:
        # Another thread may have reset all filters.
        with suppress(ValueError):
            filters.remove(_PILLOWS_WARNINGS)


def _reason(error: Exception) -> str:
    """Return what an error says, with its type if that is a word at most."""
    text = getattr(error, "strerror", None) or str(error)
    return text if " " in text else f"{type(error).__name__} {text}".strip()


def _pil_to_rgb(image: Image.Image, name: str) -> np.ndarray:
    kind = "progressive JPEG" if image.info.get("progressive") else image.format
    check_size(image.width, image.height, name, kind=kind)
    if image.format == "EPS" and getattr(image, "tile", None):
        raise ImageError(
            f"{name}: expected an image of pixels, got EPS, which another program must draw; save it as PNG"
        )
    image.load()
    deep, transparent = image.mode[0] in "IF", image.info.get("transparency")
    mode = None if deep else "RGBA" if image.has_transparency_data else "RGB"
    # Premultiplied grey is converted to no other mode.
    mode = "LA" if image.mode == "La" else mode

    # Of colours with 16 bits, Pillow keeps the high bytes, but all of the transparent colour.
    too_deep = isinstance(transparent, tuple) and max(transparent) > 255

    def read(block: Block) -> np.ndarray:
        # Cutting a small photo out of itself would copy it.
        part = image if block == (0, 0, *image.size) and not too_deep else image.crop(block)
        if too_deep:
            part.info["transparency"] = tuple(value >> 8 for value in transparent)
        pixels = np.asarray(part if mode in (None, part.mode) else part.convert(mode))
        return pixels if pixels.ndim == 3 else pixels[..., None]

    return in_blocks(
        read,
        image.height,
        image.width,
        name,
        orientation=_orientation(image),
        transparent=transparent if deep else None,
    )


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8: 1 if there is none or if the EXIF data is broken."""
    # Which error a broken tag raises depends on which byte is wrong.
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return 1
    return orientation if orientation in range(1, 9) else 1
