"""Weak-perspective camera, head pose as Euler angles, and crops of a photo.

The conventions (see also `docs/conventions.md`):

- Pixels: x to the right, y down, integer coordinates at pixel centres, so a picture of width W covers
  -0.5 to W - 0.5.
- Model frame: millimetres, right-handed, x to the right and y up as the viewer sees a face that looks at them,
  z towards the viewer.
- Camera: a (3, 4) matrix from the model frame to the *crop frame*: crop pixels, x right, y **up**, z towards the
  viewer, origin at the crop's centre. The flip to pixels (y down) is the last step.
- Angles: degrees, of R = Rx(pitch) Ry(yaw) Rz(roll), the order of AFLW2000-3D.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

CROP_SIZE = 120
"""Side of the network's input, in pixels."""

_MOST_SAMPLES = 32
"""The most samples along each side of a crop pixel that are averaged, which bounds the memory."""

_ENOUGH = 4
"""A photo is halved first while a crop pixel keeps this many photo pixels along each side."""

_FEW = 3
"""With fewer photo pixels along each side, a crop pixel is the mean of 2x2 samples, up to 1.5 pixels apart."""

_MARGIN = 4
"""Pixels beside a square that interpolation may read."""

_STARTS, _OFF = np.arange(1, 49), 1 / 64
"""How many samples before a square cv2.resize may start, and how far off they may lie, in crop pixels."""

_CROP_GROWTH, _CROP_DROP = 1.58, 0.14
"""3DDFA-V2's rule: side of the crop, and how far its centre lies below the box's, relative to the box's mean side."""


class HeadPose(NamedTuple):
    """Head pose in degrees, R = Rx(pitch) Ry(yaw) Rz(roll).

    Positive yaw turns the nose to the photo's left, positive pitch turns it up, positive roll turns the head
    clockwise in the photo. All three are 0 for a face that looks straight into the camera.
    """

    yaw: float
    pitch: float
    roll: float


def rotation_from_euler(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Compute the rotation (3, 3) in the model frame of angles in degrees, R = Rx(pitch) Ry(yaw) Rz(roll).

    The factors are Rx = [[1,0,0],[0,c,s],[0,-s,c]], Ry = [[c,0,-s],[0,1,0],[s,0,c]] and
    Rz = [[c,s,0],[-s,c,0],[0,0,1]], as in AFLW2000-3D and 300W-LP (Zhu et al., CVPR 2016).
    """
    (cy, cp, cr), (sy, sp, sr) = (f(np.radians([yaw, pitch, roll])) for f in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def euler_from_rotation(rotation: np.ndarray) -> HeadPose:
    """Compute the angles in degrees of a rotation matrix (3, 3), the inverse of `rotation_from_euler`.

    Yaw is in [-90, 90]. In gimbal lock (yaw of exactly +-90 degrees) only pitch + roll or pitch - roll is determined;
    roll is then 0.
    """
    return HeadPose(*euler_angles(np.asarray(rotation, dtype=float)).tolist())


def euler_angles(r: np.ndarray) -> np.ndarray:
    """Compute yaw, pitch and roll (..., 3) in degrees of rotations (..., 3, 3), as `euler_from_rotation` of each."""
    sin_yaw = -np.clip(r[..., 0, 2], -1, 1)
    sign, locked = np.sign(sin_yaw), np.hypot(r[..., 0, 0], r[..., 0, 1]) < 1e-9
    pitch = np.where(
        locked, np.arctan2(sign * r[..., 1, 0], r[..., 1, 1]), np.arctan2(r[..., 1, 2], r[..., 2, 2])
    )
    yaw = np.where(locked, sign * np.pi / 2, np.arcsin(sin_yaw))
    roll = np.where(locked, 0, np.arctan2(r[..., 0, 1], r[..., 0, 0]))
    return np.degrees(np.stack([yaw, pitch, roll], axis=-1))


def decompose(camera: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Split a camera (3, 4), or (..., 3, 4), into scale (pixels per mm), rotation (3, 3) and translation (3,).

    A network's camera is a free 3x4 matrix, so its left part is only close to a scaled rotation. The rotation is
    built from the first two rows, which determine the picture: the nearest pair of orthonormal rows in the
    Frobenius norm (polar decomposition), and their cross product. The scale is the mean of the two rows' singular
    values.
    """
    camera = np.asarray(camera, dtype=float)
    u, singular, vt = np.linalg.svd(camera[..., :2, :3], full_matrices=False)
    rows = u @ vt
    third = np.cross(rows[..., :1, :], rows[..., 1:, :])
    return singular.mean(axis=-1)[()], np.concatenate([rows, third], axis=-2), camera[..., 3]


def head_pose(camera: np.ndarray) -> HeadPose:
    """Compute the head pose of a camera (3, 4), in degrees."""
    return head_poses(camera[None])[0]


def head_poses(cameras: np.ndarray) -> list[HeadPose]:
    """Compute the head poses of cameras (n, 3, 4), in degrees."""
    return [HeadPose(*angles) for angles in euler_angles(decompose(cameras)[1]).tolist()]


class Crop(NamedTuple):
    """A square of the photo, such as the network's input.

    `left` and `top` are the square's upper left corner and `size` is its side, all in photo pixels. The corner is
    that of a pixel, not its centre, so a square of the whole photo starts at -0.5. It may reach beyond the photo.
    """

    left: float
    top: float
    size: float

    @property
    def centre(self) -> np.ndarray:
        """The square's centre (2,) in photo pixels."""
        return np.array([self.left, self.top]) + self.size / 2

    @property
    def scale(self) -> float:
        """Photo pixels per crop pixel."""
        return self.size / CROP_SIZE

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Transform points (..., 2 or 3) from the crop frame (y up, origin at the centre) to photo pixels (y down).

        A third coordinate, z towards the viewer, is only scaled.
        """
        photo = np.array(points, dtype=float) * self.scale
        photo[..., 0] = self.left + self.size / 2 + photo[..., 0]
        photo[..., 1] = self.top + self.size / 2 - photo[..., 1]
        return photo

    def to_square(self, points: np.ndarray, size: int) -> np.ndarray:
        """Transform points (..., 2) from photo pixels to pixels of what `cut_square` returns at this size."""
        return (np.asarray(points, dtype=float) - [self.left, self.top]) * (size / self.size) - 0.5

    def from_photo(self, points: np.ndarray) -> np.ndarray:
        """Transform points (..., 2 or 3) from photo pixels to the crop frame, the inverse of `to_photo`."""
        points = np.array(points, dtype=float)
        points[..., 0] -= self.left + self.size / 2
        points[..., 1] = self.top + self.size / 2 - points[..., 1]
        return points / self.scale


def crop_from_box(box: np.ndarray) -> Crop:
    """Compute the crop for a detector's box (left, top, right, bottom) in photo pixels.

    3DDFA-V2's rule: a square of side 1.58 * (w + h) / 2, with its centre 0.14 * (w + h) / 2 below the box's (Guo et
    al., ECCV 2020, `crop_img` of their code).
    """
    left, top, right, bottom = (float(v) for v in box[:4])
    mean_side = ((right - left) + (bottom - top)) / 2
    size = _CROP_GROWTH * mean_side
    centre_x, centre_y = (left + right) / 2, (top + bottom) / 2 + _CROP_DROP * mean_side
    return Crop(centre_x - size / 2, centre_y - size / 2, size)


def box_from_crop(crop: Crop) -> np.ndarray:
    """Compute the square box (4,), left, top, right, bottom, from which `crop_from_box` makes this crop."""
    side = crop.size / _CROP_GROWTH
    left = crop.left + (crop.size - side) / 2
    top = crop.top + (crop.size - side) / 2 - _CROP_DROP * side
    return np.array([left, top, left + side, top + side])


def crop_from_landmarks(landmarks: np.ndarray) -> Crop:
    """Compute the crop for landmarks (68, 2 or 3) in photo pixels: a centred square of side sqrt(2) * max(w, h).

    This is the rule of 300W-LP and AFLW2000-3D (3DDFA-V2's `parse_roi_box_from_landmark`).
    """
    low, high = landmarks[..., :2].min(axis=0), landmarks[..., :2].max(axis=0)
    size = float(np.sqrt(2) * (high - low).max())
    centre = (low + high) / 2
    return Crop(float(centre[0] - size / 2), float(centre[1] - size / 2), size)


def next_crop(crop: Crop, landmarks: np.ndarray) -> Crop:
    """Compute the crop for the next pass, from landmarks (68, 2 or 3) in photo pixels that were found in `crop`.

    Landmarks that collapse or diverge would lose the face. The result is then `crop` again.
    """
    following = crop_from_landmarks(landmarks)
    sane = np.isfinite(following).all() and 0.3 < following.size / crop.size < 3
    return following if sane else crop


def cut_crop(image: np.ndarray, crop: Crop) -> np.ndarray:
    """Cut the network's input, (120, 120, 3) uint8, out of a photo; black outside the photo. See `cut_square`."""
    return cut_square(image, crop, CROP_SIZE)


def cut_square(
    image: np.ndarray,
    square: Crop,
    size: int,
    *,
    interpolation: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """Cut a square out of a photo and resample it to (size, size, 3) uint8.

    Output pixel i covers photo coordinates from left + i * scale to left + (i + 1) * scale, where scale is
    `square.size / size`, so its centre lies at left + (i + 0.5) * scale. A square that shrinks is sampled about
    as finely as the photo and averaged down by a whole factor (box filter), which prevents aliasing. `interpolation`,
    for a square that does not shrink, and `border` are OpenCV's; outside the photo the square is black by default.
    """
    if not (all(map(math.isfinite, square)) and square.size > 0):
        raise ValueError(f"crop: expected finite numbers and a size above 0, got {tuple(square)}")
    factor = min(max(1, math.ceil(square.size / size)), _MOST_SAMPLES)
    if factor > 1 and (pixels := _shrunk(image, square, size, border)) is not None:
        return pixels
    side = size * factor
    scale = square.size / side
    left, top = (math.floor(corner) - _MARGIN for corner in square[:2])
    wide = math.ceil(square.size) + 2 * _MARGIN
    # For a larger window, what lies outside of the photo would take memory.
    pixels = _window(image, (left, top, wide, wide), border) if wide <= max(image.shape) else None
    if pixels is None:
        pixels, left, top = image, 0, 0
    # OpenCV warps four channels faster than three.
    pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA)
    # With WARP_INVERSE_MAP, warpAffine takes the map from output to input pixel centres.
    inverse = np.array([[scale, 0, square.left - left + scale / 2], [0, scale, square.top - top + scale / 2]])
    flags = interpolation | cv2.WARP_INVERSE_MAP
    pixels = cv2.warpAffine(pixels, inverse, (side, side), flags=flags, borderMode=border)
    if factor > 1:
        pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)


def _shrunk(image: np.ndarray, square: Crop, size: int, border: int) -> np.ndarray | None:
    """Do `cut_square` for a square that shrinks, several times faster; None where that is not possible.

    cv2.resize is faster than cv2.warpAffine, but its first sample lies half a step from the edge of a pixel. So it
    starts some steps before the square, where an edge is near. A large square is halved first.
    """
    if square.size > max(image.shape):
        # What lies outside of the photo would take memory.
        return None
    scale = square.size / size
    halvings = max(0, math.floor(math.log2(scale / _ENOUGH)))
    whole = 2**halvings
    factor = 2 if scale < _FEW else math.ceil(scale / whole)
    step, side = scale / factor, size * factor
    starts = np.array([square.left, square.top])[:, None] + 0.5 - _STARTS * step
    off = np.abs(starts - np.rint(starts))
    if off.min(axis=1).max() > _OFF * scale:
        return None
    best = off.argmin(axis=1)
    (left, top), (across, down) = np.rint(starts[[0, 1], best]).astype(int).tolist(), _STARTS[best].tolist()
    step /= whole
    wide, tall = (math.ceil((steps + side + 1) * step) + 1 for steps in (across, down))
    pixels = _window(image, (left, top, wide * whole, tall * whole), border)
    if pixels is None:
        return None
    for _ in range(halvings):
        half = pixels.shape[1] // 2, pixels.shape[0] // 2
        pixels = cv2.resize(pixels, half, interpolation=cv2.INTER_AREA)
    pixels = cv2.resize(pixels, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_LINEAR)
    pixels = pixels[down : down + side, across : across + side]
    if factor == 4:
        # OpenCV halves a picture twice in a third of the time.
        pixels = cv2.resize(pixels, (2 * size, 2 * size), interpolation=cv2.INTER_AREA)
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def _window(image: np.ndarray, window: tuple[int, int, int, int], border: int) -> np.ndarray | None:
    """Cut a window (left, top, width, height), which may reach beyond the image; None beside the image."""
    left, top, width, height = window
    first_column, last_column = (min(max(edge, 0), image.shape[1]) for edge in (left, left + width))
    first_row, last_row = (min(max(edge, 0), image.shape[0]) for edge in (top, top + height))
    inside = image[first_row:last_row, first_column:last_column]
    if not inside.size:
        return None
    margins = first_row - top, top + height - last_row, first_column - left, left + width - last_column
    return cv2.copyMakeBorder(inside, *margins, border) if any(margins) else inside
