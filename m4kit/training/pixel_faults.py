"""Faults of cameras and files that change pixels and move nothing: colour, blur, resolution, noise, JPEG.

Images are (H, W, 3) uint8 RGB; each function returns a new one. The training of M4Net (`augmentation`) and of the
detector (`detector_scenes`) draws their strengths at random.
"""

from __future__ import annotations

import cv2
import numpy as np


def tone(
    image: np.ndarray,
    *,
    gamma: float = 1.0,
    contrast: float = 1.0,
    brightness: float = 0.0,
    tint: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Change gamma, then contrast about mid-grey, then brightness, then the gain `tint` of all or each channel (3,).

    All act on values from 0 to 1.
    """
    levels = (np.arange(256)[:, None] / 255) ** gamma
    levels = (levels - 0.5) * contrast + 0.5 + brightness
    table = np.clip(levels * np.broadcast_to(tint, 3) * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None])


def saturate(image: np.ndarray, saturation: float) -> np.ndarray:
    """Scale the distance of each pixel's colour from grey; 0 makes a grey image."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)


def defocus(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a Gaussian of standard deviation `sigma` in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def shake(image: np.ndarray, length: int, degrees: float) -> np.ndarray:
    """Blur along a line of `length` pixels at an angle, as if the camera moved during the exposure."""
    # An odd length has its centre on a pixel, so the blur does not shift the image.
    length = max(length, 3) | 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), degrees, 1)
    line = np.zeros((length, length), dtype=np.float32)
    line[length // 2] = 1
    kernel = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def lose_resolution(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrink the image by `factor` and enlarge it again."""
    size = image.shape[1::-1]
    small = [max(1, int(side / factor)) for side in size]
    return cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), size)


def add_noise(
    image: np.ndarray, sigma: float, random: np.random.Generator, *, grey: bool = False
) -> np.ndarray:
    """Add Gaussian noise of standard deviation `sigma`, from 0 to 255; with `grey` the same in all channels."""
    noise = random.standard_normal((*image.shape[:2], 1 if grey else 3), dtype=np.float32)
    return cv2.add(image, np.broadcast_to(noise, image.shape) * np.float32(sigma), dtype=cv2.CV_8U)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Encode the image as JPEG of a quality from 0 to 100 and decode it."""
    # OpenCV works in BGR, and JPEG does not treat red and blue alike.
    _, packed = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return cv2.cvtColor(cv2.imdecode(packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
