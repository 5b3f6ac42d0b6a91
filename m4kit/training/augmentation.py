"""Random changes to a crop that keep its labels exact.

Mirror, rotation, scale and shift move the camera and the annotated points with the face; changes of pixels leave the
labels alone. A crop may have another side than 120 pixels: it is the same square at another resolution. Its labels
stay in the crop frame, which reaches from -60 to 60, and lengths in pixels scale with the side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from m4kit.camera import CROP_SIZE
from m4kit.conditions import CONDITIONS, HARDEST, degrade
from m4kit.landmarks import MIRROR_68, mirror_order
from m4kit.parameters import join, split_camera
from m4kit.training import pixel_faults

MIRROR_21 = mirror_order(
    21, ((1, 6), (2, 5), (3, 4), (7, 12), (8, 11), (9, 10), (13, 17), (14, 16), (18, 20))
)
"""The index of the mirror partner of each of AFLW's 21 points."""


class TrainingCrop(NamedTuple):
    """A crop (S, S, 3) uint8 RGB with raw parameters (62,) and annotated points (21, 2) and (68, 2).

    Points are in the crop frame, NaN where there is no annotation. S is 120 unless the network takes other crops.
    """

    crop: np.ndarray
    parameters: np.ndarray
    points21: np.ndarray
    points68: np.ndarray


@dataclass(frozen=True)
class Augmentation:
    """Strength and probability of each random change.

    - `rotation`: largest turn in the image plane, in degrees. `scale`: range of the crop's side relative to the given
      one (above 1 the face gets smaller). `shift`: largest move in pixels. The probability of all three falls
      linearly from no change to the limit.
    - `flip`: probability of the mirror image. `lying`: that of a turn by any angle in place of `rotation`.
      `conditions`: that of one of the seven conditions of `m4kit.conditions`, at any severity.
    - The others are probabilities of single faults (see `pixel_faults`); `patches` covers parts of the face.
    """

    rotation: float = 35.0
    scale: tuple[float, float] = (0.85, 1.3)
    shift: float = 8.0
    flip: float = 0.5
    lying: float = 0.0
    conditions: float = 0.0
    colour: float = 0.8
    grey: float = 0.1
    patches: float = 0.3
    blur: float = 0.15
    shrink: float = 0.15
    noise: float = 0.2
    jpeg: float = 0.25


def mirror(face: TrainingCrop, symmetry: np.ndarray) -> TrainingCrop:
    """Mirror a face; `symmetry` (50,) holds the signs of the face model's modes."""
    parameters = face.parameters.copy()
    # diag(-1, 1, 1) on both sides of the rotation, and on the translation.
    parameters[[1, 2, 3, 4, 8]] *= -1
    split_camera(parameters)[1][:] *= symmetry
    flip = np.array([-1, 1], dtype=np.float32)
    return TrainingCrop(
        np.ascontiguousarray(face.crop[:, ::-1]),
        parameters,
        face.points21[MIRROR_21] * flip,
        face.points68[MIRROR_68] * flip,
    )


def warp(
    face: TrainingCrop,
    *,
    angle: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    border: int = cv2.BORDER_CONSTANT,
) -> TrainingCrop:
    """Turn a face anticlockwise by `angle` degrees, resize it by `1 / scale` and move it by `shift`.

    All changes are about the crop's centre; `shift` is in units of the crop frame, y up.
    """
    side = len(face.crop)
    c, s = np.cos(np.radians(angle)) / scale, np.sin(np.radians(angle)) / scale
    move = np.array([[c, -s], [s, c]])
    shift = np.asarray(shift, dtype=np.float64)
    camera, coefficients = split_camera(face.parameters)
    camera = np.vstack([move @ camera[:2], camera[2:].astype(np.float64) / scale])
    camera[:2, 3] += shift
    # The same in pixels: y points down, and the origin is the centre of the upper left pixel.
    down = np.array([1.0, -1.0])
    in_pixels = down[:, None] * move * down
    centre = np.full(2, (side - 1) / 2)
    offset = centre + down * shift * (side / CROP_SIZE) - in_pixels @ centre
    crop = cv2.warpAffine(
        face.crop,
        np.column_stack([in_pixels, offset]),
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=border,
    )
    points21, points68 = (
        (points @ move.T + shift).astype(np.float32) for points in (face.points21, face.points68)
    )
    return TrainingCrop(crop, join(camera, coefficients).astype(np.float32), points21, points68)


def augment(
    face: TrainingCrop, how: Augmentation, symmetry: np.ndarray, random: np.random.Generator
) -> TrainingCrop:
    """Apply all random changes to a face; the same state of `random` gives the same result."""
    if random.random() < how.flip:
        face = mirror(face, symmetry)
    low, high = np.log(how.scale)
    # A change of probability 0 draws no number, so that a run without it stays repeatable.
    lying = how.lying > 0 and random.random() < how.lying
    face = warp(
        face,
        angle=random.uniform(-180, 180) if lying else _triangular(random, -how.rotation, how.rotation),
        scale=float(np.exp(_triangular(random, low, high))),
        shift=(_triangular(random, -how.shift, how.shift), _triangular(random, -how.shift, how.shift)),
        border=(cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)[random.integers(3)],
    )
    crop = face.crop
    if how.conditions > 0 and random.random() < how.conditions:
        condition = CONDITIONS[random.integers(len(CONDITIONS))]
        crop = degrade(crop, condition, random.uniform(0, HARDEST), seed=int(random.integers(2**32)))
    for probability, change in (
        (how.patches, _cover),
        (how.colour, _recolour),
        (how.grey, lambda crop, random: pixel_faults.saturate(crop, 0.0)),
        (how.blur, _blur),
        (how.shrink, _shrink),
        (how.noise, lambda crop, random: pixel_faults.add_noise(crop, random.uniform(2, 15), random)),
        (how.jpeg, lambda crop, random: pixel_faults.compress(crop, int(random.integers(15, 80)))),
    ):
        if random.random() < probability:
            crop = change(crop, random)
    return face._replace(crop=crop)


def _in_pixels(crop: np.ndarray, lengths):
    """Convert lengths in units of the crop frame to whole pixels of a crop (S, S, 3)."""
    return lengths * len(crop) // CROP_SIZE


def _triangular(random: np.random.Generator, low: float, high: float) -> float:
    return float(random.triangular(low, 0.0, high)) if low < high else low


def _cover(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Cover one to three patches with one colour, with noise, or with another part of the crop."""
    crop = crop.copy()
    for _ in range(random.integers(1, 4)):
        width, height = _in_pixels(crop, random.integers(10, 50, size=2))
        left, top = _in_pixels(crop, random.integers(-10, CROP_SIZE - 10, size=2))
        area = crop[max(top, 0) : top + height, max(left, 0) : left + width]
        kind = random.integers(3)
        if kind == 0:
            area[:] = random.integers(0, 256, size=3)
        elif kind == 1:
            area[:] = random.integers(0, 256, size=area.shape)
        else:
            y, x = (int(random.integers(0, len(crop) - side + 1)) for side in area.shape[:2])
            area[:] = crop[y : y + area.shape[0], x : x + area.shape[1]].copy()
    return crop


def _recolour(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    tint, gamma = random.uniform(0.85, 1.15, size=3), np.exp(random.uniform(-0.4, 0.4))
    contrast, brightness = random.uniform(0.6, 1.3), random.uniform(-0.15, 0.15)
    crop = pixel_faults.tone(crop, gamma=gamma, contrast=contrast, brightness=brightness, tint=tint)
    return pixel_faults.saturate(crop, random.uniform(0.4, 1.4))


def _blur(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if random.random() < 0.5:
        return pixel_faults.defocus(crop, random.uniform(0.5, 2.5) * len(crop) / CROP_SIZE)
    return pixel_faults.shake(crop, int(_in_pixels(crop, random.integers(3, 12))), random.uniform(0, 180))


def _shrink(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return pixel_faults.lose_resolution(crop, CROP_SIZE / random.integers(30, 100))
