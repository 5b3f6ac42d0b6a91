"""Degrades a photo by one of the seven conditions of UFDD."""

from __future__ import annotations

import zlib
from numbers import Real

import numpy as np

from m4kit.checks import check_shape, check_whole
from m4kit.conditions.exposure import illumination
from m4kit.conditions.linear_light import to_linear, to_srgb
from m4kit.conditions.optics import focus, lens, motion
from m4kit.conditions.weather import haze, rain, snow
from m4kit.images import check_image

CONDITIONS = ("focus", "haze", "illumination", "lens", "motion", "snow", "rain")
"""UFDD's conditions, in the order of the paper's figures."""

HARDEST = 5.0
"""The largest severity."""

STRENGTHS = {
    "focus": 1.7,
    "haze": 1.0,
    "illumination": 0.72,
    "lens": 0.88,
    "motion": 1.35,
    "snow": 0.38,
    "rain": 1.1,
}
"""Strength, the s of the conditions' formulas, at severity 1; it grows in proportion to the severity.

At severity 3 each condition adds 0.7 to 1.0 % of the face's size to the error of 3DDFA-V2's mb1, on people who are
held out of our training (`benchmarks/severities.py`).
"""

# OpenCV's, for the picture that `cv2.remap` reads.
_LONGEST = 32766

_FURTHEST_METRES = 1e9


def check_condition(condition: str, place: str) -> None:
    """Raise `ValueError` for a condition that is none of `CONDITIONS`; `place` begins the message."""
    if not isinstance(condition, str) or condition not in CONDITIONS:
        raise ValueError(f"{place}: expected a condition out of {', '.join(CONDITIONS)}, got {condition!r}")


def check_severity(severity: float, place: str) -> None:
    """Raise `ValueError` for a severity that is not from 0 to 5; `place` begins the message."""
    if not isinstance(severity, Real) or not 0 <= severity <= HARDEST:
        came = f"{severity:g}" if isinstance(severity, Real) else repr(severity)
        raise ValueError(f"{place}: expected a severity from 0 to {HARDEST:g}, got {came}")


def degrade(
    image: np.ndarray, condition: str, severity: float, *, seed: int, depth: np.ndarray | None = None
) -> np.ndarray:
    """Simulate a bad condition on a photo (H, W, 3) uint8 RGB.

    - `condition`: one of `CONDITIONS`.
    - `severity`: any number from 0 (returns a copy of the photo) to 5.
    - `seed`: a whole number from 0; the same seed gives the same picture.
    - `depth` (H, W) in metres, from `scene_depth` or `landmark_depth`: puts haze behind faces, and shades them in
      side light. By default the photo counts as flat ground, which runs through its faces.

    At severity 3 each condition adds the same to the error of a network that is not ours (see `STRENGTHS`).

    All lengths grow with the photo, so that severity means the same at any size.

    Raises `ValueError` for an unknown condition, a severity outside 0 to 5, a negative seed, a photo with a side of
    more than 32,766 pixels, or a depth of another shape or below 0; `TypeError` for what is no number.
    """
    check_condition(condition, "degrade")
    check_severity(severity, "degrade")
    image = check_image(image, name="degrade")
    seed = check_whole(seed, "seed")
    if max(image.shape) > _LONGEST:
        raise ValueError(
            f"degrade: expected sides of at most {_LONGEST:,} pixels, got {image.shape[1]} x {image.shape[0]}; "
            "scale the photo down, or cut it"
        )
    depth = None if depth is None else _checked_depth(depth, image.shape[:2])
    if severity == 0:
        return image.copy()
    return at_strength(image, condition, STRENGTHS[condition] * float(severity), seed=seed, depth=depth)


def at_strength(
    image: np.ndarray, condition: str, strength: float, *, seed: int, depth: np.ndarray | None = None
) -> np.ndarray:
    """Simulate a condition at a strength from 0, the s of the conditions' formulas; the rest is as in `degrade`."""
    # Each condition has its own random numbers, whatever the order of calls.
    random = np.random.default_rng([seed, zlib.crc32(condition.encode())])
    return to_srgb(FORMULAS[condition](to_linear(image), strength, random, depth))


FORMULAS = {
    "focus": focus,
    "haze": haze,
    "illumination": illumination,
    "lens": lens,
    "motion": motion,
    "snow": snow,
    "rain": rain,
}
"""Each condition as a function of linear light (H, W, 3), strength, random numbers and depth (H, W) in m or None."""


def _checked_depth(depth: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Depth (H, W) float32 in metres; `ValueError` unless it has that shape and is finite and from 0."""
    depth = check_shape(depth, "depth", shape, "a finite depth in metres")
    if not 0 <= depth.min() <= depth.max() < _FURTHEST_METRES:
        raise ValueError(
            f"depth: expected metres from 0, got {depth.min():g} to {depth.max():g}; scene_depth estimates one"
        )
    return depth.astype(np.float32)
