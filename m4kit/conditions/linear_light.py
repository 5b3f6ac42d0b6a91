"""Converts between sRGB and linear light, and holds the image operations that all conditions share."""

from __future__ import annotations

import cv2
import numpy as np

_LEVELS = 4096
_REFERENCE = (640 * 480) ** 0.5

_DIRECT = 11
"""Largest side of a kernel that OpenCV convolves directly; larger ones are much slower."""

_CODES = np.arange(256) / 255
_TO_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)

_LIGHT = np.arange(_LEVELS) / (_LEVELS - 1)
# Squared steps are finer in the dark, as the sRGB levels are.
_LIGHT = _LIGHT**2
_TO_SRGB = np.where(_LIGHT <= 0.0031308, 12.92 * _LIGHT, 1.055 * _LIGHT ** (1 / 2.4) - 0.055)
_TO_SRGB = np.round(255 * _TO_SRGB).astype(np.uint8)


def to_linear(image: np.ndarray) -> np.ndarray:
    """Convert sRGB (H, W, 3) uint8 to linear light (H, W, 3) float32 in [0, 1] (IEC 61966-2-1)."""
    return cv2.LUT(image, _TO_LINEAR)


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Convert linear light to sRGB (H, W, 3) uint8; light above 1 is clipped, as by a sensor."""
    root = cv2.sqrt(np.clip(light, 0, 1, dtype=np.float32))
    # No level is out of range; mode="clip" is faster than the check.
    return np.take(
        _TO_SRGB, (root * np.float32(_LEVELS - 1) + np.float32(0.5)).astype(np.uint16), mode="clip"
    )


def unit(image: np.ndarray) -> float:
    """Unit of length in pixels, proportional to the picture's size: 1 for 640 x 480."""
    return float((image.shape[0] * image.shape[1]) ** 0.5 / _REFERENCE)


def blurred(light: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with `sigma` in pixels; a wide blur works on a smaller picture, to save time."""
    factor = 1
    while sigma / factor > 2 and min(light.shape[:2]) // (2 * factor) >= 8:
        factor *= 2
    height, width = light.shape[:2]
    small = light
    if factor > 1:
        small = cv2.resize(light, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(sigma / factor, 1e-3))
    return small if factor == 1 else cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def clouds(shape: tuple[int, ...], random: np.random.Generator, *, cells: int = 4) -> np.ndarray:
    """Smooth noise (H, W) float32 in [0, 1] with about `cells` patches along the longer side."""
    height, width = shape[:2]
    # Nothing in it is finer than a 16th of a patch.
    side = min(1.0, 16 * cells / max(height, width))
    small = max(2, round(width * side)), max(2, round(height * side))
    total = np.zeros(small[::-1], np.float32)
    for octave in range(3):
        across = cells * 2**octave + 2
        down = max(2, round(across * height / max(height, width))) + 1
        grid = random.random((down, across + 1), dtype=np.float32)
        total += cv2.resize(grid, small, interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = float(total.min()), float(total.max())
    total = (total - low) / max(high - low, 1e-6)
    return cv2.resize(total, (width, height), interpolation=cv2.INTER_LINEAR)


def mixed(light: np.ndarray, other: np.ndarray | float, share: np.ndarray) -> np.ndarray:
    """Mix `light` (H, W, 3) with another picture, a colour (3,) or a grey; `share` (H, W) is that of the other."""
    share = np.asarray(share, np.float32)
    if np.ndim(other) < 3:
        other = coloured(np.ones(light.shape[:2], np.float32), np.broadcast_to(other, 3))
    return cv2.blendLinear(light, np.asarray(other, np.float32), 1 - share, share)


def three_channels(values: np.ndarray) -> np.ndarray:
    """Repeat values (H, W) as (H, W, 3) float32: arithmetic with it is much faster than with (H, W, 1)."""
    return cv2.merge([np.asarray(values, np.float32)] * 3)


def coloured(values: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Multiply values (H, W) with a colour (3,), as (H, W, 3) float32."""
    values = np.asarray(values, np.float32)
    return cv2.merge([values * np.float32(part) for part in colour])


def convolved(light: np.ndarray, kernel_of, extent: float) -> np.ndarray:
    """Convolve with the kernel `kernel_of(scale)`, which fits a picture resized by `scale`.

    `extent` is the kernel's side in pixels. A large kernel works on a smaller picture; the blur would remove the lost
    detail anyway.
    """
    factor = 1
    while extent / factor > _DIRECT and min(light.shape[:2]) // (2 * factor) >= 16:
        factor *= 2
    height, width = light.shape[:2]
    small = light
    if factor > 1:
        small = cv2.resize(light, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    small = cv2.filter2D(small, -1, kernel_of(1 / factor), borderType=cv2.BORDER_REPLICATE)
    return small if factor == 1 else cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
