"""Crops made worse by a known amount: out of focus, and partly hidden."""

from __future__ import annotations

import numpy as np

from m4kit.camera import CROP_SIZE
from m4kit.conditions.linear_light import to_linear, to_srgb, unit
from m4kit.conditions.optics import focus

FACE_SIDE = CROP_SIZE / 2**0.5
"""Side in crop pixels of the square that a crop around landmarks leaves to the face, in its middle."""


def out_of_focus(crop: np.ndarray, radius: float) -> np.ndarray:
    """A crop (S, S, 3) uint8 RGB out of focus: every point a disc of `radius` crop pixels.

    As `conditions.degrade` has it, in linear light. A radius of 0 gives the crop back.
    """
    if not 0 <= radius <= FACE_SIDE / 2:
        raise ValueError(f"expected a radius from 0 to {FACE_SIDE / 2:.0f} crop pixels, got {radius}")
    if radius == 0:
        return crop.copy()
    # The severity whose circle of confusion, 0.6 s + 0.24 s^2 in a photo of 640 x 480, has this radius here.
    severity = (-0.6 + (0.36 + 0.96 * radius / unit(crop)) ** 0.5) / 0.48
    return to_srgb(focus(to_linear(crop), severity, np.random.default_rng(0)))


def partly_hidden(crop: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """A crop (S, S, 3) uint8 RGB with a square patch of one colour over a share of the face's square.

    The patch's centre lies anywhere on the face, so part of it may lie beside. Colour and place come from the
    `seed`, whatever the share: a larger patch covers the smaller one.
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
