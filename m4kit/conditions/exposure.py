"""Simulates bad illumination: underexposed, overexposed, backlit, lit from one side, or with a colour cast."""

from __future__ import annotations

import math

import cv2
import numpy as np

from m4kit.conditions.linear_light import blurred, clouds, coloured, three_channels, unit

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)

_FULL_WELL = 6000.0
"""Electrons in a full pixel of a small sensor (light of 1); sets the shot noise."""


def illumination(
    light: np.ndarray, strength: float, random: np.random.Generator, depth: np.ndarray | None
) -> np.ndarray:
    """Wrong light of a random one of `KINDS`, with strength s.

    - `under`: -0.95 s stops, of which the camera's gain restores 30 % and so amplifies the shot noise (Poisson).
    - `over`: +0.7 s stops.
    - `backlight`: a bright background, whose glare veils a dark subject.
    - `side`: hard light from one side. With `depth` (H, W) in metres, surfaces are shaded by their normals (Lambert);
      without it, a shadow's edge crosses the picture.
    - `cast`: the light of a sodium lamp, a screen or leaves.

    Light beyond the sensor's range is clipped later, by `to_srgb`.
    """
    kind = list(KINDS)[random.integers(len(KINDS))]
    return KINDS[kind](light, strength, random, depth)


def _luminance(light: np.ndarray) -> np.ndarray:
    return cv2.transform(light, _LUMINANCE[None])


def _under(light, strength, random, _depth):
    stops = 0.95 * strength
    electrons = light * np.float32(_FULL_WELL * 2.0**-stops)
    # Above some ten electrons a normal distribution is close to Poisson's, and faster.
    noise = random.standard_normal(light.shape, dtype=np.float32)
    electrons = electrons + np.sqrt(electrons + 16) * noise
    return electrons * np.float32(2.0 ** (0.3 * stops) / _FULL_WELL)


def _over(light, strength, random, _depth):
    return light * np.float32(2.0 ** (0.7 * strength)) + np.float32(0.012 * strength)


def _backlight(light, strength, random, _depth):
    height, width = light.shape[:2]
    x = (np.arange(width, dtype=np.float32) / width)[None]
    y = (np.arange(height, dtype=np.float32) / height)[:, None]
    centre = random.uniform(0.3, 0.7), random.uniform(0.05, 0.35)
    behind = np.exp(-((y - centre[1]) ** 2) / 0.10) * np.exp(-((x - centre[0]) ** 2) / 0.12)
    # The subject hides the light: only bright areas count as the shining background.
    bright = blurred(_luminance(light), 6 * unit(light))
    source = behind * np.clip(2.5 * bright, 0.05, 1)
    dark = light * np.float32(2.0 ** (-0.62 * strength))
    glare = blurred(source.astype(np.float32), 0.06 * width)
    return dark + coloured(strength * (0.30 * source + 0.12 * glare), (1, 0.96, 0.9))


def _side(light, strength, random, depth):
    height, width = light.shape[:2]
    angle = random.choice([0.0, np.pi]) + random.uniform(-0.5, 0.5)
    towards = math.cos(angle), math.sin(angle)
    if depth is None:
        x = (np.arange(width, dtype=np.float32) / width - 0.5)[None]
        y = ((np.arange(height, dtype=np.float32) - height / 2) / width)[:, None]
        edge = 0.12 * (clouds(light.shape, random, cells=3) - 0.5)
        lit = np.clip((x * towards[0] + y * towards[1] + edge) / 0.10 + 0.5, 0, 1)
    else:
        across = blurred(depth.astype(np.float32), 1.2 * unit(light))
        # Metres of depth per metre across: pixels at the subject's distance are about d / (1.2 max side).
        metres = np.maximum(across, 0.3) / (1.2 * max(height, width))
        slope_y, slope_x = np.gradient(across)
        normal = np.stack([slope_x / metres, slope_y / metres, np.ones_like(across)], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        direction = np.array([towards[0] * 0.95, towards[1] * 0.95, 0.31], np.float32)
        lit = np.clip(normal @ direction, 0, 1).astype(np.float32) / 0.6
    dark, bright = 2.0 ** (-0.85 * strength), 1 + 0.28 * strength
    return light * three_channels(dark + (bright - dark) * lit)


def _cast(light, strength, random, _depth):
    lamps = np.array([[1.0, 0.42, 0.06], [0.25, 0.5, 1.0], [0.45, 1.0, 0.35], [1.0, 0.2, 0.7]], np.float32)
    lamp = lamps[random.integers(len(lamps))]
    lamp = lamp / (lamp @ _LUMINANCE)
    share = np.float32(min(0.22 * strength, 1.0))
    grey = _luminance(light)
    # A lamp of one colour shows no other colour, so saturation falls.
    own = light * (1 - 0.6 * share) + three_channels(grey * (0.6 * share))
    tint = ((1 - share) + share * lamp) * np.float32(2.0 ** (-0.28 * strength))
    return cv2.transform(own, np.diag(tint))


KINDS = {"under": _under, "over": _over, "backlight": _backlight, "side": _side, "cast": _cast}
"""The kinds of wrong light, with the arguments of `illumination`."""
