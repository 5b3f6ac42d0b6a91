"""One labelled face, the same for every data set, and how faces that cannot be read are told of."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from m4kit.camera import CROP_SIZE, Crop, HeadPose
from m4kit.landmarks import face_box

_NAMED_IN_WARNINGS = 5
_NUMBER = re.compile(r"#\d+$")

DISTRACTOR = "distractor"
"""The condition of UFDD's photos that show no face, only things that look like one."""


class DatasetError(ValueError):
    """A data set that cannot be read: the message says what was expected where, and what came."""


class PublishedBox(NamedTuple):
    """The box (left, top, right, bottom) in photo pixels that a published 120x120 crop shows.

    The set's own convention, without half pixels: x_photo = crop_x * (right - left) / 120 + left, and y
    alike. A box that the photo's edge clipped is not square.
    """

    left: float
    top: float
    right: float
    bottom: float

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2 or 3) from the crop frame (y up, origin at the centre) to photo pixels (y down).

        The crop frame's (-60, 60) is crop pixel (0, 0). A third coordinate is scaled like x.
        """
        points = np.asarray(points, dtype=float)
        scale_x, scale_y = (self.right - self.left) / CROP_SIZE, (self.bottom - self.top) / CROP_SIZE
        photo = points * scale_x
        photo[..., 0] = (points[..., 0] + CROP_SIZE / 2) * scale_x + self.left
        photo[..., 1] = (CROP_SIZE / 2 - points[..., 1]) * scale_y + self.top
        return photo


# Arrays have no truth value, so samples cannot be compared field by field.
@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One face of a data set with its labels, or one photo without a labelled face. What is not known is None.

    All coordinates are photo pixels, x right and y down, counted from 0 at pixel centres. Of a set that has
    crops alone, the crop picture is the photo.

    - `name`: the face's own in its set: the picture's path below the set, without its ending unless another
      picture's differs by that alone (`files.picture_names`); `#1`, `#2` follow where a picture has several faces.
    - `image()` reads the photo, (H, W, 3) uint8 RGB.
    - `landmarks`: (68, 3) where the set has depth (photo pixels towards the viewer), else (68, 2).
    - `points21`: AFLW's 21 points, (21, 2), NaN where a point is not visible.
    - `pose`: degrees; an angle that the set leaves out is NaN.
    - `crop`: the square that an ideal detector would give. It may reach beyond the photo.
    - `box`: the annotated face box, (4,): left, top, right, bottom.
    - `person`: who it is, to keep one person's pictures on one side of a split.
    - `shape_para` (199,) and `exp_para` (29,): 3DMM coefficients in the units of 300W-LP's Basel Face Model.
      They are not `m4kit.face_model`'s identity and expression.
    - `published_crop()` reads the crop that comes with a photo, (120, 120, 3) uint8 RGB, and `published_box`
      says what it shows.

    Photos taken in bad conditions also have:

    - `condition`: one of `conditions.CONDITIONS`, `DISTRACTOR`, or None for a clean photo.
    - `severity` (0 to 5) and `seed`: the arguments of `conditions.degrade`; None for a real photo.
    - `clean`: the name of the clean photo of the same scene, which `clean_image()` reads, (H, W, 3) uint8 RGB.
    - `all_labelled`: whether every face of the photo is labelled. Only then is any other detection a false alarm.

    `image`, `published_crop` and `clean_image` raise `ImageError` for a broken picture.
    """

    name: str
    image: Callable[[], np.ndarray] = field(repr=False)
    landmarks: np.ndarray | None = field(default=None, repr=False)
    points21: np.ndarray | None = field(default=None, repr=False)
    pose: HeadPose | None = None
    crop: Crop | None = None
    box: np.ndarray | None = None
    person: str | None = None
    shape_para: np.ndarray | None = field(default=None, repr=False)
    exp_para: np.ndarray | None = field(default=None, repr=False)
    published_crop: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    published_box: PublishedBox | None = None
    condition: str | None = None
    severity: float | None = None
    seed: int | None = None
    clean: str | None = None
    clean_image: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    all_labelled: bool = False

    @property
    def true_box(self) -> np.ndarray | None:
        """The face's box (4,): the annotated one, else that of the landmarks, else None."""
        if self.box is not None or self.landmarks is None:
            return self.box
        return face_box(self.landmarks)


def warn_left_out(source: object, faces: list[str], *, stacklevel: int = 3) -> None:
    """One warning that counts and names the faces of a data set that are left out; none if there are none."""
    if faces:
        named = ", ".join(faces[:_NAMED_IN_WARNINGS]) + (", ..." if len(faces) > _NAMED_IN_WARNINGS else "")
        warnings.warn(
            f"{source}: {len(faces)} face{'s' * (len(faces) > 1)} left out: {named}", stacklevel=stacklevel
        )


def collected(
    source: object, samples: list[Sample], left_out: list[str], *, expected: str, unit: str = "faces"
) -> tuple[Sample, ...]:
    """What a reader returns: the samples, after one warning that names those left out.

    To be called right from the reader, so that the warning points to the reader's caller. Raises
    `DatasetError`, which says that `expected` was expected, if there is no sample.
    """
    warn_left_out(source, left_out, stacklevel=4)
    if not samples:
        got = f"got {len(left_out)} {unit} that are all broken" if left_out else "found none"
        raise DatasetError(f"{source}: expected {expected}, {got}")
    return tuple(samples)


def checked_landmarks(points: object) -> np.ndarray:
    """The landmarks (68, 2 or 3) as floats; `DatasetError` if of another shape, not finite, or without a box."""
    array = np.asarray(points)
    if array.shape not in ((68, 2), (68, 3)) or array.dtype.kind not in "fiu":
        raise DatasetError(f"expected 68 points of numbers, got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise DatasetError("expected finite points, got NaN or infinity")
    if not np.ptp(array[:, :2], axis=0).all():
        raise DatasetError("expected 68 points of a face, got points without width or height")
    return array.astype(float)


def distinct(names: list[str]) -> list[str]:
    """The names, with `#1`, `#2`, ... after those that come more than once.

    >>> distinct(["a", "b", "a"])
    ['a#1', 'b', 'a#2']
    """
    often, seen, result = Counter(names), Counter(), []
    for name in names:
        seen[name] += 1
        result.append(f"{name}#{seen[name]}" if often[name] > 1 else name)
    return result


def picture_of(name: str) -> str:
    """The name of the photo that a sample's face is in.

    >>> picture_of("haze/a#2")
    'haze/a'
    """
    return _NUMBER.sub("", name)
