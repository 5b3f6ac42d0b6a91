"""Simulates weather between camera and face: haze, snow and rain."""

from __future__ import annotations

import cv2
import numpy as np

from m4kit.conditions.depth import NEAREST, ground_depth
from m4kit.conditions.linear_light import blurred, clouds, mixed, unit
from m4kit.conditions.optics import drops

_SHIFT = 4


def haze(
    light: np.ndarray, strength: float, random: np.random.Generator, depth: np.ndarray | None
) -> np.ndarray:
    """Atmospheric scattering, I = J t + A (1 - t) with t = exp(-beta d) (Koschmieder, 1924).

    `depth` (H, W) is d in metres, for None that of flat ground; what is nearer than two metres counts as two metres
    away. beta is 0.09 s per metre, so a face two metres away or nearer keeps exp(-0.18 s) of its light, however large
    it is in the photo. That is denser than real haze, which takes as much from faces farther away. The airlight A is
    grey, slightly blue or yellow, and the fog lies in banks.
    """
    banks = 0.75 + 0.5 * clouds(light.shape, random, cells=3)
    away = np.maximum(ground_depth(light.shape) if depth is None else depth, np.float32(NEAREST))
    share = 1 - cv2.exp(np.float32(-0.09 * strength) * banks * away)
    tint = random.uniform(-1, 1) * np.array([0.05, 0.0, -0.07])
    air = (random.uniform(0.5, 0.7) * (1 + tint)).astype(np.float32)
    return mixed(light, air, share)


def snow(
    light: np.ndarray, strength: float, random: np.random.Generator, depth: np.ndarray | None
) -> np.ndarray:
    """Falling flakes in layers, a veil, and white ground.

    Flakes twice as near are twice as large, fall twice as far while the shutter is open, and are fewer. Near ones are
    blurred.
    """
    light = haze(light, 0.2 * strength, random, depth)
    height, width = light.shape[:2]
    # Ground and shoulders, low in the picture, collect snow.
    row = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    lying = np.clip(1.6 * row - 1.0, 0, 1) * (0.4 + 0.6 * clouds(light.shape, random, cells=8))
    light = mixed(light, 0.75, 0.13 * strength * lying)
    slant, seen_past = random.uniform(-0.5, 0.5), np.ones((height, width), np.float32)
    for nearness in (1.0, 2.0, 4.0, 8.0):
        count = random.poisson(140 * strength**1.15 / nearness**1.35)
        size = 0.75 * nearness * (0.8 + 0.1 * strength) * unit(light)
        fall = 1.6 * nearness * unit(light)
        canvas = np.zeros((height, width), np.uint8)
        starts = random.uniform([-fall, -fall], [width, height], (count, 2))
        sizes = size * random.lognormal(0, 0.3, count)
        _strokes(canvas, starts, starts + np.array([slant * fall, fall]), 2 * sizes, np.full(count, 255))
        flakes = blurred(canvas.astype(np.float32) / 255, 0.35 * size)
        seen_past *= 1 - np.float32(0.95 - 0.05 * nearness) * flakes
    return mixed(light, 0.86, 1 - seen_past)


def rain(
    light: np.ndarray, strength: float, random: np.random.Generator, depth: np.ndarray | None
) -> np.ndarray:
    """Streaks in layers, a veil, darker (wet) surfaces, and some drops on the lens.

    A falling drop refracts light from a wide field towards the camera, so its streak is brighter than the background
    (Garg and Nayar, IJCV 2007). Drop diameters follow the exponential law of Marshall and Palmer (1948): most drops
    are small. Heavier rain has more drops and longer streaks.
    """
    light = light * np.float32(1 - 0.07 * strength)
    light = haze(light, 0.28 * strength, random, depth)
    height, width = light.shape[:2]
    sky = 0.35 + 0.5 * float(light.mean())
    slant = random.normal(0, 0.12) * (1 + 0.2 * strength)
    seen_past = np.ones((height, width), np.float32)
    for nearness in (1.0, 2.5, 6.0):
        count = random.poisson(115 * strength**1.2 / nearness)
        length = (9 + 2.5 * strength) * nearness**0.8 * unit(light)
        canvas = np.zeros((height, width), np.uint8)
        starts = random.uniform([-0.2 * width, -length], [1.2 * width, height], (count, 2))
        diameters, reaches = random.exponential(1.0, count), length * random.uniform(0.7, 1.3, count)
        thickness = (0.45 + 0.28 * diameters) * nearness**0.6 * unit(light)
        ends = starts + np.column_stack([slant * reaches, reaches])
        _strokes(canvas, starts, ends, thickness, 130 + 40 * np.minimum(diameters, 3))
        streaks = blurred(canvas.astype(np.float32) / 255, 0.28 * nearness * unit(light))
        seen_past *= 1 - np.float32(0.5 + 0.05 * strength) * streaks
    light = mixed(light, sky, 1 - seen_past)
    return drops(light, unit(light) * random.uniform(4, 9, random.poisson(1.2 * strength)), random)


def _strokes(canvas, starts, ends, thickness, values) -> None:
    """Draw lines (n,); a line thinner than a pixel is drawn fainter."""
    whole = np.maximum(1, np.rint(thickness))
    faint = np.rint(values * np.minimum(1, thickness / whole))
    points = np.rint(np.hstack([starts, ends]) * 2**_SHIFT)
    rows = np.column_stack([points, faint, whole]).astype(int).tolist()
    for left, top, right, bottom, ink, width in rows:
        cv2.line(canvas, (left, top), (right, bottom), ink, width, cv2.LINE_AA, _SHIFT)
