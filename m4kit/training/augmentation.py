"""Changes to a crop that keep its labels exact.

What moves the face (mirror, rotation, scale, shift) moves the camera and the annotated points with it; what
only changes pixels leaves them alone. A crop of another side than 120 pixels is the same square seen coarser: its
labels stay in the crop frame, which reaches from -60 to 60, and all lengths in pixels shrink with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from m4kit.camera import CROP_SIZE
from m4kit.conditions import CONDITIONS, HARDEST, degrade
from m4kit.landmarks import MIRROR_68, mirror_order

MIRROR_21 = mirror_order(
    21, ((1, 6), (2, 5), (3, 4), (7, 12), (8, 11), (9, 10), (13, 17), (14, 16), (18, 20))
)
"""The index of the mirror partner of each of AFLW's 21 points."""


class Sample(NamedTuple):
    """A crop (S, S, 3) uint8 RGB, its raw parameters (62,), annotated points in the crop frame or NaN; S is 120."""

    crop: np.ndarray
    parameters: np.ndarray
    points21: np.ndarray
    points68: np.ndarray


@dataclass(frozen=True)
class Augmentation:
    """How much to change, and how often.

    `rotation` is the largest turn in the picture's plane in degrees, `scale` the range of the crop's side
    in units of the given crop's (above 1 the face gets smaller), `shift` the largest move in pixels; all
    three fall off linearly from no change to that limit. The rest are probabilities: `lying` of any angle at all in
    place of `rotation`'s, `conditions` of one of the seven of `conditions.degrade`, at any severity.
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


def mirror(sample: Sample, symmetry: np.ndarray) -> Sample:
    """The mirrored face. `symmetry` (50,) are the face model's signs of its modes."""
    parameters = sample.parameters.copy()
    # diag(-1, 1, 1) on both sides of the rotation and on the translation.
    parameters[[1, 2, 3, 4, 8]] *= -1
    parameters[12:] *= symmetry
    flip = np.array([-1, 1], dtype=np.float32)
    return Sample(
        np.ascontiguousarray(sample.crop[:, ::-1]),
        parameters,
        sample.points21[MIRROR_21] * flip,
        sample.points68[MIRROR_68] * flip,
    )


def warp(
    sample: Sample,
    *,
    angle: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    border: int = cv2.BORDER_CONSTANT,
) -> Sample:
    """The face turned anticlockwise by `angle` degrees, made `1 / scale` times as large, moved by `shift`.

    All about the crop's centre; `shift` is in units of the crop frame, y up.
    """
    side = len(sample.crop)
    c, s = np.cos(np.radians(angle)) / scale, np.sin(np.radians(angle)) / scale
    move = np.array([[c, -s], [s, c]])
    shift = np.asarray(shift, dtype=np.float64)
    camera = sample.parameters[:12].reshape(3, 4).astype(np.float64)
    camera = np.vstack([move @ camera[:2], camera[2:] / scale])
    camera[:2, 3] += shift
    # The same in pixels: y turns round, and the origin lies at the centre of the upper left pixel.
    down = np.array([1.0, -1.0])
    in_pixels = down[:, None] * move * down
    centre = np.full(2, (side - 1) / 2)
    offset = centre + down * shift * (side / CROP_SIZE) - in_pixels @ centre
    crop = cv2.warpAffine(
        sample.crop,
        np.column_stack([in_pixels, offset]),
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=border,
    )
    points21, points68 = (
        (points @ move.T + shift).astype(np.float32) for points in (sample.points21, sample.points68)
    )
    parameters = np.concatenate([camera.ravel(), sample.parameters[12:]]).astype(np.float32)
    return Sample(crop, parameters, points21, points68)


def augment(sample: Sample, how: Augmentation, symmetry: np.ndarray, random: np.random.Generator) -> Sample:
    """The face mirrored, moved and seen under other conditions, all by chance."""
    if random.random() < how.flip:
        sample = mirror(sample, symmetry)
    low, high = np.log(how.scale)
    # What is not asked for draws nothing, so that a run without it can be repeated.
    lying = how.lying > 0 and random.random() < how.lying
    sample = warp(
        sample,
        angle=random.uniform(-180, 180) if lying else _triangular(random, -how.rotation, how.rotation),
        scale=float(np.exp(_triangular(random, low, high))),
        shift=(_triangular(random, -how.shift, how.shift), _triangular(random, -how.shift, how.shift)),
        border=(cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)[random.integers(3)],
    )
    crop = sample.crop
    if how.conditions > 0 and random.random() < how.conditions:
        crop = _degrade(crop, random)
    for probability, change in (
        (how.patches, _cover),
        (how.colour, _recolour),
        (how.grey, _grey),
        (how.blur, _blur),
        (how.shrink, _shrink),
        (how.noise, _add_noise),
        (how.jpeg, _compress),
    ):
        if random.random() < probability:
            crop = change(crop, random)
    return sample._replace(crop=crop)


def _degrade(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    condition = CONDITIONS[random.integers(len(CONDITIONS))]
    return degrade(crop, condition, random.uniform(0, HARDEST), seed=int(random.integers(2**32)))


def _in_pixels(crop: np.ndarray, lengths):
    """Lengths in units of the crop frame as whole pixels of a crop (S, S, 3)."""
    return lengths * len(crop) // CROP_SIZE


def _triangular(random: np.random.Generator, low: float, high: float) -> float:
    return float(random.triangular(low, 0.0, high)) if low < high else low


def _cover(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One to three patches of one colour, of noise, or of another place of the same picture."""
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
    """Another gamma, contrast, brightness and tint through one table, then another saturation."""
    tint = random.uniform(0.85, 1.15, size=3)
    levels = (np.arange(256)[:, None] / 255) ** np.exp(random.uniform(-0.4, 0.4))
    levels = (levels - 0.5) * random.uniform(0.6, 1.3) + 0.5 + random.uniform(-0.15, 0.15)
    table = np.clip(levels * tint * 255, 0, 255).astype(np.uint8)
    crop = cv2.LUT(crop, table[None])
    saturation = random.uniform(0.4, 1.4)
    return cv2.addWeighted(crop, saturation, _grey(crop, random), 1 - saturation, 0)


def _grey(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _blur(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Out of focus, or moved while the shutter was open."""
    if random.random() < 0.5:
        return cv2.GaussianBlur(crop, (0, 0), random.uniform(0.5, 2.5) * len(crop) / CROP_SIZE)
    # Odd, so that the line turns about the pixel that it blurs, and the face stays where its labels are.
    length = max(int(_in_pixels(crop, random.integers(3, 12))), 3) | 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), random.uniform(0, 180), 1)
    line = np.zeros((length, length), dtype=np.float32)
    line[length // 2] = 1
    kernel = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(crop, -1, kernel / kernel.sum())


def _shrink(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """As if the face had been small in its photo."""
    side = int(_in_pixels(crop, random.integers(30, 100)))
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, crop.shape[:2], interpolation=cv2.INTER_LINEAR)


def _add_noise(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    noise = random.standard_normal(crop.shape, dtype=np.float32) * np.float32(random.uniform(2, 15))
    return cv2.add(crop, noise, dtype=cv2.CV_8U)


def _compress(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    # OpenCV packs BGR, and JPEG does not treat red and blue alike.
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(15, 80))]
    _, packed = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), quality)
    return cv2.cvtColor(cv2.imdecode(packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
