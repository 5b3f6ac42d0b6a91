"""The frame in which the viewers show a face: millimetres, the head straight ahead, aligned with the photo.

A network's camera is not exactly a scaled rotation, so a mesh in the model frame would not lie exactly over the
face when it is rotated back. This frame starts from the mesh over the photo and scales and rotates both until the
head looks straight ahead. With the head's rotation the view is that of the photo, without it the head is seen from
the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m4kit.camera import decompose

if TYPE_CHECKING:
    from m4kit.prediction import Face

_FLIP = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class HeadFrame:
    """A similarity transform between the photo and a head.

    `rotation` (3, 3) takes the head's frame to the photo's view, `scale` is in photo pixels per mm, and `origin` (3,)
    is the model's origin over the photo in photo pixels.
    """

    rotation: np.ndarray
    scale: float
    origin: np.ndarray

    @classmethod
    def of(cls, face: Face) -> HeadFrame:
        """Return the frame of a face."""
        scale, rotation, translation = decompose(face.camera)
        return cls(rotation, scale * face.crop.scale, face.crop.to_photo(translation))

    def from_photo(self, points: np.ndarray) -> np.ndarray:
        """Transform points (n, 3) from photo pixels (y down, z to the viewer) to the head's frame, in mm (y up)."""
        return (np.asarray(points) - self.origin) * _FLIP / self.scale @ self.rotation

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Transform points (..., 3) back, from the head's frame to photo pixels."""
        return np.asarray(points) @ self.rotation.T * self.scale * _FLIP + self.origin

    def photo_plane(self, width: int, height: int, depth: float) -> np.ndarray:
        """Compute the corners (4, 3) in mm of a photo of that size: upper left, upper right, lower left, lower right.

        `depth` is the plane's z in photo pixels.
        """
        left, top, right, bottom = -0.5, -0.5, width - 0.5, height - 0.5
        corners = [(x, y, depth) for y in (top, bottom) for x in (left, right)]
        return self.from_photo(np.array(corners))
