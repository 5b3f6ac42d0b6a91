"""Defines `Sample`, one labelled face of any data set, and what all readers share: checks, names, warnings."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from m4kit.camera import CROP_SIZE, Crop, HeadPose
from m4kit.files import text_of
from m4kit.landmarks import face_box

_NAMED_IN_WARNINGS = 5
# Beyond these, in pixels, coordinates and their quotients would overflow, and mean nothing.
_FURTHEST, _SMALLEST = 1e9, 1e-3
_NUMBER = re.compile(r"#\d+$")

DISTRACTOR = "distractor"
"""The condition of UFDD's photos that show no face, only things that look like one."""


class DatasetError(ValueError):
    """A data set or a part of it cannot be read."""


class PublishedBox(NamedTuple):
    """The box (left, top, right, bottom) in photo pixels that a published 120x120 crop shows.

    It follows the set's own convention, without half pixels: x_photo = crop_x * (right - left) / 120 + left, and the
    same for y. A box that was clipped at the photo's edge is not square.
    """

    left: float
    top: float
    right: float
    bottom: float

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Map points (..., 2 or 3) from the crop frame (y up, origin at the centre) to photo pixels (y down).

        (-60, 60) of the crop frame is crop pixel (0, 0). A third coordinate is scaled like x.
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

    All coordinates are photo pixels, x right and y down, counted from 0 at pixel centres. In sets of crops, the crop
    picture is the photo.

    - `name`: the picture's path below the set, without its ending unless only the ending tells two pictures apart
      (`files.picture_names`). `#1`, `#2` follow if the picture has several faces.
    - `image()` reads the photo, (H, W, 3) uint8 RGB.
    - `landmarks`: (68, 3) if the set has depth (photo pixels towards the viewer), else (68, 2).
    - `points21`: AFLW's 21 points, (21, 2), NaN where a point is not visible.
    - `pose`: in degrees, NaN for an angle that is not known.
    - `crop`: the square that an ideal detector would give. It may reach beyond the photo.
    - `box`: the annotated face box, (4,): left, top, right, bottom.
    - `person`: identity, to keep one person's pictures on one side of a split.
    - `artist`: who made the picture, or its style, for results by artist.
    - `published_crop()` reads the crop that comes with the photo, (120, 120, 3) uint8 RGB; `published_box` is the
      part of the photo that it shows.

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
    artist: str | None = None
    published_crop: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    published_box: PublishedBox | None = None
    condition: str | None = None
    severity: float | None = None
    seed: int | None = None
    clean: str | None = None
    clean_image: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    all_labelled: bool = False

    def __post_init__(self) -> None:
        # Tables and pages hold text, and a file's name may have bytes that are none.
        for field_name in ("name", "clean"):
            name = getattr(self, field_name)
            if name is not None:
                object.__setattr__(self, field_name, text_of(name))

    @property
    def true_box(self) -> np.ndarray | None:
        """The face's box (4,): the annotated one, else that of the landmarks, else None."""
        if self.box is not None or self.landmarks is None:
            return self.box
        return face_box(self.landmarks)


def warn_left_out(source: object, faces: list[str], *, stacklevel: int = 3) -> None:
    """Give one warning that counts and names the faces that are left out, if there are any."""
    if faces:
        named = ", ".join(faces[:_NAMED_IN_WARNINGS]) + (", ..." if len(faces) > _NAMED_IN_WARNINGS else "")
        warnings.warn(
            f"{source}: {len(faces)} face{'s' * (len(faces) > 1)} left out: {named}", stacklevel=stacklevel
        )


def collect(
    source: object,
    faces: Iterable[tuple],
    read_face: Callable[..., Sample],
    *,
    expected: str,
    unit: str = "faces",
    left_out: Iterable[str] = (),
) -> tuple[Sample, ...]:
    """Read all faces, as the last step of a reader, and warn once of those that cannot be read.

    `faces` has one tuple per face: its name in the warning, and the arguments of `read_face`, which raises
    `DatasetError` for a face to leave out. `left_out` names more such faces. Raises `DatasetError`, with what was
    `expected`, if no face can be read. The warning points to the caller of the function that calls this one.
    """
    samples, left_out = [], list(left_out)
    for name, *arguments in faces:
        try:
            samples.append(read_face(*arguments))
        except DatasetError as error:
            left_out.append(f"{name} ({error})")
    warn_left_out(source, left_out, stacklevel=4)
    if not samples:
        got = f"got {len(left_out)} {unit} that are all broken" if left_out else "found none"
        raise DatasetError(f"{source}: expected {expected}, {got}")
    return tuple(samples)


def numbers(words: Iterable[object], kind: type = float) -> np.ndarray:
    """Convert words to numbers (n,) of a kind; raise `DatasetError` for a word that is no such number."""
    try:
        return np.array([kind(word) for word in words])
    except (TypeError, ValueError) as error:
        raise DatasetError(f"expected numbers ({error})") from error


def check_points(points: np.ndarray) -> None:
    """Raise `DatasetError` unless all coordinates are finite and within any photo."""
    if not np.isfinite(points).all():
        raise DatasetError("expected finite points, got NaN or infinity")
    if np.abs(points).max() > _FURTHEST:
        raise DatasetError(f"expected points in pixels, got {np.abs(points).max():g}")


def checked_landmarks(points: object) -> np.ndarray:
    """Return landmarks (68, 2 or 3) as floats; raise `DatasetError` if they are not finite or span no box."""
    array = np.asarray(points)
    if array.shape not in ((68, 2), (68, 3)) or array.dtype.kind not in "fiu":
        raise DatasetError(f"expected 68 points of numbers, got {array.dtype} {array.shape}")
    check_points(array)
    if np.ptp(array[:, :2], axis=0).min() < _SMALLEST:
        raise DatasetError("expected 68 points of a face, got points without width or height")
    return array.astype(float)


def checked_box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Return a box (4,); raise `DatasetError` if it is not finite or has no area."""
    box = np.array([left, top, right, bottom], dtype=float)
    if not ((np.abs(box) <= _FURTHEST).all() and (box[2:] - box[:2] > _SMALLEST).all()):
        raise DatasetError(f"expected a box with left < right and top < bottom, got {box.tolist()}")
    return box


def distinct(names: Iterable[str]) -> list[str]:
    """Append `#1`, `#2`, ... to names that occur more than once.

    >>> distinct(["a", "b", "a"])
    ['a#1', 'b', 'a#2']
    """
    names = list(names)
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
