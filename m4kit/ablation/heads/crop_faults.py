"""Degraded crops: out of focus, or partly hidden."""

from __future__ import annotations

import numpy as np

from m4kit.camera import CROP_SIZE
from m4kit.conditions.linear_light import to_linear, to_srgb, unit
from m4kit.conditions.optics import focus

FACE_SIDE = CROP_SIZE / 2**0.5
"""Side in crop pixels of the face's square, in the middle of a crop around landmarks."""


def out_of_focus(crop: np.ndarray, radius: float) -> np.ndarray:
    """Defocus a crop (S, S, 3) uint8 RGB: each point becomes a disc of `radius` crop pixels.

    Computed in linear light, as in `conditions.degrade`. A radius of 0 returns a copy of the crop.
    """
    if not 0 <= radius <= FACE_SIDE / 2:
        raise ValueError(f"expected a radius from 0 to {FACE_SIDE / 2:.0f} crop pixels, got {radius}")
    if radius == 0:
        return crop.copy()
    # The severity whose circle of confusion, 0.6 s + 0.24 s^2 in a photo of 640 x 480, has this radius here.
    severity = (-0.6 + (0.36 + 0.96 * radius / unit(crop)) ** 0.5) / 0.48
    return to_srgb(focus(to_linear(crop), severity, np.random.default_rng(0)))


def partly_hidden(crop: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Hide a share of the face in a crop (S, S, 3) uint8 RGB behind a square patch of one colour.

    The patch's centre lies anywhere in the face's square, so part of the patch may lie outside it. Colour and centre
    depend on the `seed` alone, so a larger patch covers a smaller one.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share of the face from 0 to 1, got {share}")
    random = np.random.default_rng(seed)
    colour, centre = random.integers(0, 256, 3), random.uniform(-0.5, 0.5, 2) * FACE_SIDE + CROP_SIZE / 2
    reach = FACE_SIDE * share**0.5 / 2
    left, top = np.clip(np.rint(centre - reach), 0, CROP_SIZE).astype(int)
    right, bottom = np.clip(np.rint(centre + reach), 0, CROP_SIZE).astype(int)
    hidden = crop.copy()
    hidden[top:bottom, left:right] = colour
    return hidden
