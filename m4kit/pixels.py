"""Converts decoded pixels of any kind to (H, W, 3) uint8 RGB, for `images.load_image`.

Pixels are converted in blocks, so that no copy in a wider type is as large as the photo.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

Block = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of a photo, in pixels."""

_BLOCK = 1 << 18

# Kinds of files whose decoders need more memory than the others, 8 bytes per pixel, and about how many times more.
_COSTLY = {"WEBP": 2, "AVIF": 2, "progressive JPEG": 2, "JPEG2000": 3}


class ImageError(ValueError):
    """An image cannot be used."""


class MissingImageError(ImageError, FileNotFoundError):
    """A file or folder does not exist."""


def most_pixels(kind: str | None = None) -> float:
    """The largest number of pixels of an image: where Pillow raises its error, or less for a costly kind of file."""
    most = math.inf if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS
    return most // _COSTLY.get(kind, 1)


def check_size(width: int, height: int, name: str, *, kind: str | None = None) -> None:
    """Raise `ImageError` for an image without pixels, or with more than `most_pixels`."""
    if width < 1 or height < 1:
        raise ImageError(
            f"{name}: expected at least one pixel, got {width} x {height}; check how the image was made"
        )
    if width * height > most_pixels(kind):
        enough = math.ceil(width * height * _COSTLY.get(kind, 1) / 2)
        raise ImageError(
            f"{name}: expected at most {most_pixels(kind):,} pixels, got {width} x {height}; "
            f"scale it down first, or set PIL.Image.MAX_IMAGE_PIXELS = {enough:_} if you trust it"
        )


def plain_array(array: object, name: str) -> np.ndarray:
    """A plain array; `ImageError` for a masked array with masked pixels."""
    if np.ma.is_masked(array):
        raise ImageError(
            f"{name}: expected an array without a mask, got {np.ma.count_masked(array):,} masked values; "
            "fill them, for example with array.filled(0)"
        )
    return np.asarray(array)


def array_to_rgb(array: np.ndarray, name: str) -> np.ndarray:
    """The picture of an array, (H, W) or (H, W, 1 to 4); `ImageError` for another shape or type of values."""
    array = plain_array(array, name)
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
    height, width = array.shape[:2]
    check_size(width, height, name)
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16, bool) and array.dtype.kind != "f":
        raise ImageError(
            f"{name}: expected uint8, uint16, float or bool values, got {array.dtype}; "
            "use array.astype(numpy.uint8) if they are from 0 to 255"
        )
    # The first pixel rules out most photos, without a look at the others.
    if array.dtype == np.uint8 and array.flat[0] <= 1 and array.max() == 1:
        warnings.warn(
            f"{name}: is black, because its values are only 0 and 1 of 255; if they were floats from 0 to 1, "
            "multiply by 255 before astype(numpy.uint8), or give the floats",
            stacklevel=3,
        )
    return in_blocks(lambda block: array[block[1] : block[3], block[0] : block[2]], height, width, name)


def in_blocks(
    read: Callable[[Block], np.ndarray],
    height: int,
    width: int,
    name: str,
    *,
    orientation: int = 1,
    transparent: int | None = None,
) -> np.ndarray:
    """The upright picture (H, W, 3) uint8 of pixels that `read` gives for a block, (h, w, 1 to 4).

    Grey of the value `transparent` becomes white.
    """
    across = min(width, _BLOCK)
    down = max(1, _BLOCK // across)
    blocks = [
        (left, top, min(left + across, width), min(top + down, height))
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]
    first = read(blocks[0])
    to_8_bits = _scaling(first, (read(block) for block in blocks[1:]), name)
    upright = (width, height) if orientation > 4 else (height, width)
    picture = np.empty((*upright, 3), np.uint8)
    stored = _as_stored(picture, orientation)
    for block in blocks:
        values = first if block is blocks[0] else read(block)
        pixels = to_8_bits(values)
        if pixels.shape[2] in (2, 4):
            pixels = _over_white(pixels)
        if transparent is not None:
            pixels = np.where(values == transparent, np.uint8(255), pixels)
        stored[block[1] : block[3], block[0] : block[2]] = pixels
    return picture


def _scaling(
    first: np.ndarray, others: Iterator[np.ndarray], name: str
) -> Callable[[np.ndarray], np.ndarray]:
    """The function that makes values uint8, which depends on their type and their range."""
    kind = first.dtype.kind
    if first.dtype == np.uint8:
        return lambda values: values
    if kind == "b":
        return lambda values: values.astype(np.uint8) * np.uint8(255)
    # Alpha does not tell how many bits the colours have.
    colours = first.shape[2] if kind == "f" else (1, 1, 3, 3)[first.shape[2] - 1]
    # NaN stays NaN in a minimum.
    low, high = first[..., :colours].min(), first[..., :colours].max()
    for block in others:
        low, high = np.minimum(low, block[..., :colours].min()), np.maximum(high, block[..., :colours].max())
    return _floats_to_8_bits(low, high, name) if kind == "f" else _deep_to_8_bits(low, high, name)


def _deep_to_8_bits(low: int, high: int, name: str) -> Callable[[np.ndarray], np.ndarray]:
    if low < 0 or high > 65535:
        raise ImageError(
            f"{name}: expected 8 or 16 bits per channel, got 32-bit values from {low} to {high}; "
            "scale them to 0..65535 first"
        )

    def nearest(values: np.ndarray) -> np.ndarray:
        """The nearest of 256 levels: 65535 / 257 = 255."""
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)

    # At 16 bits these colours would be black, whatever they show. A larger value is alpha.
    if high <= 255:
        return lambda values: np.where(values > 255, nearest(values), values.astype(np.uint8))
    if high < 4096:
        bits = int(high).bit_length()
        warnings.warn(
            f"{name}: is dark, because its 16-bit values are at most {high} of 65535; if it has {bits} bits, "
            f"multiply its values by {2 ** (16 - bits)}",
            stacklevel=6,
        )
    return nearest


def _floats_to_8_bits(low: float, high: float, name: str) -> Callable[[np.ndarray], np.ndarray]:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(
            f"{name}: expected finite values, got NaN or infinity; numpy.nan_to_num replaces them with numbers"
        )
    # Resampling in float can leave values slightly outside.
    if low < -1e-3 or high > 1 + 1e-3:
        raise ImageError(
            f"{name}: expected float values from 0 to 1, got {low:g} to {high:g}; "
            "divide by 255, or convert with astype(numpy.uint8)"
        )
    if 0 < high <= 1 / 255:
        warnings.warn(
            f"{name}: is black, because its float values are at most {high:g} of 1; if they were divided by 255 "
            "twice, do so once",
            stacklevel=6,
        )
    return lambda values: (np.clip(values, 0, 1) * 255).round().astype(np.uint8)


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """Blend pixels, whose last channel is alpha, with white: (H, W, 1 or 3)."""
    colour, alpha = pixels[..., :-1].astype(np.uint16), pixels[..., -1:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _as_stored(picture: np.ndarray, orientation: int) -> np.ndarray:
    """A view of an upright picture as a camera stores it under an EXIF orientation, 1 to 8."""
    if orientation > 4:
        picture = picture.swapaxes(0, 1)
    if orientation in (3, 4, 6, 7):
        picture = picture[::-1]
    return picture[:, ::-1] if orientation in (2, 3, 7, 8) else picture
