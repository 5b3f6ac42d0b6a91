"""The frame in which the viewers show a face: the head's own, in millimetres, laid exactly over its photo.

A network's camera is not quite a scaled rotation, so a mesh put into the model frame and turned back would lie a
little beside the face. Here the mesh is taken where it lies over the photo, and the whole photo with it is scaled to
millimetres and turned until the head looks straight ahead. Seen with the head's rotation, everything is as in the
photo; seen without, the head is seen from the front.
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
    """`rotation` (3, 3) from the head's frame to the view of the photo, `scale` in photo pixels per mm, and `origin`
    (3,), the place of the model's origin over the photo in photo pixels."""

    rotation: np.ndarray
    scale: float
    origin: np.ndarray

    @classmethod
    def of(cls, face: Face) -> HeadFrame:
        """The frame of a face."""
        scale, rotation, translation = decompose(face.camera)
        return cls(rotation, scale * face.crop.scale, face.crop.to_photo(translation))

    def from_photo(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3), x, y in photo pixels (y down) and z in photo pixels towards the viewer, in mm (y up)."""
        return (np.asarray(points) - self.origin) * _FLIP / self.scale @ self.rotation

    def photo_plane(self, width: int, height: int, depth: float) -> np.ndarray:
        """The corners (4, 3) in mm of a photo of that size: upper left, upper right, lower left, lower right.

        `depth` is the plane's z in photo pixels.
        """
        left, top, right, bottom = -0.5, -0.5, width - 0.5, height - 0.5
        corners = [(x, y, depth) for y in (top, bottom) for x in (left, right)]
        return self.from_photo(np.array(corners))
