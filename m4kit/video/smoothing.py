"""Smooths a tracked face over time with One-Euro filters.

The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) is a low-pass filter whose cutoff frequency grows with the
speed: it smooths much while nothing moves, where jitter is seen, and little in fast motion, where lag is seen. It
uses only the past.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from m4kit.camera import decompose
from m4kit.face_model import IDENTITY_MODES
from m4kit.parameters import join, split
from m4kit.prediction import Face

_SPEED_CUTOFF = 1.0
"""Cutoff frequency of the speed, in Hz, as in the paper."""

# Lowest cutoff frequency in Hz, and what a unit of speed adds to it; chosen on other drawn faces than
# those of `benchmarks/video.py`.
PLACE = (0.5, 0.4)
"""Place: mm per second."""
SIZE = (0.3, 10.0)
"""Logarithm of the size: per second."""
TURN = (0.5, 40.0)
"""Rotation: radians per second."""
EXPRESSION = (0.5, 4.0)
"""Expression: standard deviations per second."""


class OneEuro:
    """A One-Euro filter of a vector (n,) or, with other `minus` and `plus`, of another quantity.

    `cutoff` is the lowest cutoff frequency in Hz, `gain` what a unit of speed adds to it. `minus(a, b)` is the
    difference of two values as a vector, and `plus(b, difference)` adds it again.
    """

    def __init__(
        self,
        cutoff: float,
        gain: float,
        *,
        minus: Callable[[np.ndarray, np.ndarray], np.ndarray] = np.subtract,
        plus: Callable[[np.ndarray, np.ndarray], np.ndarray] = np.add,
    ):
        self.cutoff, self.gain, self._minus, self._plus = cutoff, gain, minus, plus
        self._seconds: float | None = None

    def __call__(self, value: np.ndarray, seconds: float) -> np.ndarray:
        """The smoothed value at a time in seconds, which must grow from call to call."""
        if self._seconds is None:
            self._raw = self._smooth = value
            self._speed = 0.0
        else:
            step = seconds - self._seconds
            moved = self._minus(value, self._raw) / step
            self._speed = self._speed + _share(_SPEED_CUTOFF, step) * (moved - self._speed)
            share = _share(self.cutoff + self.gain * float(np.linalg.norm(self._speed)), step)
            self._raw = value
            self._smooth = self._plus(self._smooth, share * self._minus(value, self._smooth))
        self._seconds = seconds
        return self._smooth


class FaceSmoother:
    """Smooths the faces of one track: the identity is averaged, place, size, turn and expression are filtered.

    The heads' answers move all by the same difference, so that the face's `parameters` are the smoothed ones and the
    heads disagree as before.
    """

    def __init__(self):
        self._place = OneEuro(
            *PLACE, minus=lambda a, b: (a - b) / self._pixels, plus=lambda b, mm: b + mm * self._pixels
        )
        self._size, self._expression = OneEuro(*SIZE), OneEuro(*EXPRESSION)
        self._turn = OneEuro(*TURN, minus=_turned, plus=_turn_by)
        self._pixels = 1.0
        self._identity, self._skew, self._count = np.zeros(IDENTITY_MODES), np.zeros((3, 3)), 0

    def __call__(self, face: Face, seconds: float) -> Face:
        """The smoothed face at a time in seconds, which must grow from call to call."""
        camera, identity, expression = split(face.parameters.astype(float))
        scale, rotation, _ = decompose(camera)
        # A network's camera is only close to a scaled rotation; what is left hardly changes.
        skew = rotation.T @ camera[:, :3] / scale
        self._count += 1
        self._identity = self._identity + (identity - self._identity) / self._count
        self._skew = self._skew + (skew - self._skew) / self._count
        # When only the head turns, the middle of the landmarks moves less than the model's origin.
        middle = face.model.landmark_mean.astype(float).mean(axis=0)
        crop = face.crop
        self._pixels = math.exp(self._size(np.array(math.log(scale * crop.scale)), seconds))
        place = self._place(crop.to_photo(camera[:, :3] @ middle + camera[:, 3]), seconds)
        rotation = self._turn(rotation, seconds)
        matrix = self._pixels / crop.scale * rotation @ self._skew
        camera = np.column_stack([matrix, crop.from_photo(place) - matrix @ middle])
        smooth = join(camera, self._identity, self._expression(expression, seconds))
        moved = (smooth - face.parameters).astype(face.heads.dtype)
        return replace(face, heads=face.heads + moved)


def _share(cutoff: float, step: float) -> float:
    """Compute how far a low-pass filter of a cutoff frequency in Hz follows within a step in seconds, 0 to 1."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))


def _turned(rotation: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Compute the rotation vector (3,) in radians from one rotation (3, 3) to another."""
    return cv2.Rodrigues(before.T @ rotation)[0].ravel()


def _turn_by(before: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Turn a rotation (3, 3) by a rotation vector (3,) in radians."""
    return before @ cv2.Rodrigues(vector)[0]
