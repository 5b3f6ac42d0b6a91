"""A face with other head weights, compared with the network's own answer.

The heads' shapes are computed once per face; other weights then cost one weighted sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from m4kit import metrics
from m4kit.camera import HeadPose, cut_square
from m4kit.explore.controls import COLOUR_LABELS, paragraph
from m4kit.head_frame import HeadFrame
from m4kit.landmarks import CONTOURS
from m4kit.parameters import split
from m4kit.prediction import Face
from m4kit.vertex_colours import VertexColours, clay, scalar_colours
from m4kit.visualize.mesh_picture import clear_still, mesh_still

COLOURS = {"Clay": "clay", COLOUR_LABELS["spread"]: "spread", "Moved from the network's own": "moved"}
"""Labels and names of the mesh's colour modes."""

GREY = (120, 128, 138)
_HALO = (250, 250, 247)
_UNITS = {"spread": "mm between the heads", "moved": "mm from the network's own"}
_SCALES = {"spread": "inferno", "moved": "viridis"}
_LEAST = 1.0
"""Millimetres at the end of a colour bar at least, so that tiny distances look tiny."""


class Reference:
    """A face as its network predicted it: other weights are compared with it and shown in its frame."""

    def __init__(self, face: Face):
        self.face, self.frame = face, HeadFrame.of(face)
        # Shapes are linear in the coefficients: the weighted sum of shapes is the shape of the weighted sum.
        _, identity, expression = split(face.heads)
        self.shapes = face.model.vertices(identity, expression).astype(np.float32)
        self.own = self.under(face.head_weights)
        self.limits = {"spread": self._most(self.shapes), "moved": self._most(self.own.shape[None])}

    def under(self, weights: np.ndarray) -> Answer:
        """Compute the answer under weights (n,) that sum to 1."""
        return Answer(self, self.face.with_head_weights(weights))

    def _most(self, others: np.ndarray) -> tuple[float, float]:
        """Colour limits in mm for all weights: 0, and the largest distance of a head's vertex to `others`."""
        most = max(float(np.square(shape - others).sum(-1).max()) for shape in self.shapes)
        return 0.0, max(_LEAST, most**0.5)


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer under some weights of the heads; `face` is the face with them."""

    reference: Reference
    face: Face

    @cached_property
    def shape(self) -> np.ndarray:
        """Vertices in the model frame, (V, 3) in mm."""
        return np.tensordot(np.float32(self.face.head_weights), self.reference.shapes, 1)

    @cached_property
    def vertices(self) -> np.ndarray:
        """Vertices (V, 3) in mm, in the frame of the network's own answer, so that a turn of the head is visible."""
        camera = self.face.camera
        placed = self.face.crop.to_photo(self.shape @ camera[:, :3].T + camera[:, 3])
        return self.reference.frame.from_photo(placed)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """The 68 landmarks (68, 3) in mm, in the same frame as `vertices`."""
        return self.reference.frame.from_photo(self.face.landmarks)

    @property
    def landmark_distance(self) -> float:
        """Mean distance of the landmarks in the photo from the network's own, in percent of the face's size.

        The size is sqrt(w h) of the box of the network's own landmarks.
        """
        return float(metrics.nme(self.face.landmarks[:, :2], self.reference.face.landmarks[:, :2]))

    @property
    def turn(self) -> float:
        """The angle in degrees between the head's rotation and that of the network's own answer."""
        return float(metrics.rotation_error(self.face.rotation, self.reference.frame.rotation))

    @property
    def pose_change(self) -> HeadPose:
        """Yaw, pitch and roll in degrees minus those of the network's own answer, each in [-180, 180)."""
        change = np.subtract(self.face.pose, self.reference.face.pose)
        return HeadPose(*((change + 180) % 360 - 180).tolist())

    def colours(self, mode: str) -> VertexColours:
        """Colour the vertices in one of the modes of `COLOURS`, on a scale that does not depend on the weights.

        "spread" is that of `vertex_colours`; "moved" is the distance between shapes, without the pose.
        """
        if mode == "clay":
            return clay(self.face.model)
        if mode == "spread":
            values = np.sqrt(np.square(self.reference.shapes - self.shape).sum(-1).mean(0))
        else:
            values = np.linalg.norm(self.shape - self.reference.own.shape, axis=1)
        return scalar_colours(
            values, unit=_UNITS[mode], limits=self.reference.limits[mode], scale=_SCALES[mode]
        )

    def describe(self) -> str:
        """Say how far the answer is from the network's own, as HTML."""
        yaw, pitch, roll = (f"{round(angle, 1) + 0.0:+.1f}" for angle in self.pose_change)
        return paragraph(
            "From the network's own answer:<br>"
            f"landmarks <b>{self.landmark_distance:.2f} %</b> of the face's size<br>"
            f"head turned by <b>{self.turn:.1f}°</b><br>(yaw {yaw}, pitch {pitch}, roll {roll})"
        )

    def photo(self, image: np.ndarray, *, side: int) -> np.ndarray:
        """Draw the photo around the face with the landmarks, and the network's own in grey, (side, side, 3)."""
        crop = self.reference.face.crop
        picture = cut_square(image, crop, side, border=cv2.BORDER_REPLICATE)
        own, present = (
            crop.to_square(face.landmarks[:, :2], side) for face in (self.reference.face, self.face)
        )
        for landmarks, layers in ((own, ((2, GREY),)), (present, ((5, _HALO), (3, None)))):
            for thickness, ink in layers:
                _trace(picture, landmarks, max(1, round(thickness * side / 520)), ink)
        return picture

    def mesh(self, mode: str, *, side: int, background: Sequence[int] | None = None) -> np.ndarray:
        """Draw the mesh as in the photo: (side, side, 3) uint8 RGB on a colour (3,), or (side, side, 4) on none."""
        mesh = self.face.model, self.vertices, self.colours(mode)
        looks = {"rotation": self.reference.frame.rotation, "side": side}
        if background is None:
            return clear_still(*mesh, **looks, legend=False)
        return mesh_still(*mesh, **looks, background=background)


def _trace(
    picture: np.ndarray, landmarks: np.ndarray, thickness: int, ink: tuple[int, int, int] | None
) -> None:
    """Draw contours through landmarks (68, 2), in the colours of their groups if `ink` is None.

    `draw_landmarks` draws finer lines, but takes as long as everything else in a slider's move together.
    """
    bits = 4
    for one, colour in CONTOURS:
        line = np.rint(landmarks[one] * (1 << bits)).astype(np.int32)
        cv2.polylines(picture, [line], False, ink or colour, thickness, cv2.LINE_AA, bits)
