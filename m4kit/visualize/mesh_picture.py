"""Still pictures of a face in 3D, drawn without a browser. `m4kit.live` makes pages of it to turn.

Both use the head's own frame (`m4kit.head_frame`): millimetres, with the head upright and facing the viewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m4kit.camera import rotation_from_euler
from m4kit.checks import check_number, check_whole
from m4kit.head_frame import HeadFrame
from m4kit.light import Lamp, Light
from m4kit.prediction import check_face
from m4kit.render import render
from m4kit.vertex_colours import VertexColours, vertex_colours
from m4kit.visualize.drawing import draw_landmarks, draw_pose_axes
from m4kit.visualize.legend import with_legend
from m4kit.visualize.pictures import without_background

if TYPE_CHECKING:
    from m4kit.face_model import FaceModel
    from m4kit.prediction import Face

EXTENT = 120.0
"""Millimetres from the middle of a picture of a face to its edge."""

_HEAD_MARGIN = 1.12
"""Millimetres to the edge for each millimetre to the farthest vertex of a head."""

AXIS_LENGTH = 75.0
"""Millimetres of each pose axis, from the tip of the nose."""

_EVEN_LIGHT = Light(
    key=Lamp((-0.3, 0.4, 0.9), (0.36, 0.36, 0.36)),
    fill=Lamp((0.9, 0.0, 0.35), (0.08, 0.08, 0.08)),
    sky=(0.56, 0.56, 0.56),
    ground=(0.46, 0.46, 0.46),
    gloss=0.02,
    cavity=0.1,
)
"""Even light, for colours that must match their legend."""


class Framing(NamedTuple):
    """What a view shows: `centre` (3,) in mm is in its middle, and its edge is `extent` mm away from it."""

    centre: np.ndarray
    extent: float


def framing(model: FaceModel) -> Framing:
    """Frame a model's meshes: a face around the model's origin, a head around its own middle.

    The origin of another model may be elsewhere. Where its mean face would reach out of the picture, that face's
    middle is the picture's.
    """
    low, high = model.mean.min(axis=0).astype(float), model.mean.max(axis=0).astype(float)
    middle = (low + high) / 2
    if model.is_head:
        return Framing(middle, _HEAD_MARGIN * float((high - low).max()) / 2)
    inside = max(high.max(), -low.min()) <= EXTENT
    return Framing(np.zeros(3) if inside else middle, EXTENT)


def mesh_picture(
    face: Face,
    *,
    image: np.ndarray | None = None,
    colour: str = "clay",
    limits: tuple[float, float] | None = None,
    landmarks: bool = False,
    pose_axes: bool = False,
    legend: bool = True,
    yaw: float = 0.0,
    pitch: float = 0.0,
    side: int = 480,
) -> np.ndarray:
    """Draw a still picture of the mesh turned by `yaw` and `pitch` degrees, (side, side, 3) uint8 RGB on white.

    `face.head` shows the whole head. `colour` is one of `vertex_colours.MODES`. For `texture`, `image` (H, W, 3)
    uint8 RGB is the photo, by default the one that the face was found in. `limits` are those of the colour scale, see
    `vertex_colours`. `legend` adds a colour bar or names, unless the picture is too small. Landmarks are drawn over
    the mesh, also those behind it.

    Raises `ValueError` for what `vertex_colours` refuses.
    """
    check_whole(side, "side", least=1)
    rotation = rotation_from_euler(check_number(yaw, "yaw"), check_number(pitch, "pitch"), 0)
    frame = HeadFrame.of(check_face(face, "mesh_picture"))
    vertices = frame.from_photo(face.vertices)
    coloured = vertex_colours(face, colour, image=image, limits=limits)
    picture = mesh_still(face.model, vertices, coloured, rotation=rotation, side=side)
    shown = framing(face.model)
    seen = _in_picture(frame.from_photo(face.landmarks), rotation, side, shown)
    if landmarks:
        picture = draw_landmarks(picture, seen)
    if pose_axes:
        # `draw_pose_axes` draws axes of 0.55 times the head's height.
        picture = draw_pose_axes(
            picture, rotation, seen[30, :2], AXIS_LENGTH / 0.55 * side / 2 / shown.extent
        )
    return with_legend(picture, coloured) if legend else picture


def mesh_still(
    model: FaceModel,
    vertices: np.ndarray,
    coloured: VertexColours,
    *,
    rotation: np.ndarray,
    side: int,
    background: int | Sequence[int] = 255,
) -> np.ndarray:
    """Render a model's mesh (V, 3) in mm, y up, turned by a rotation (3, 3): (side, side, 3) uint8 RGB.

    Clay has strong light and shade, which show its shape; other colours should match their legend. `background` is a
    grey value or a colour (3,).
    """
    paper = np.full((side, side, 3), background, dtype=np.uint8)
    mesh = _in_picture(vertices, rotation, side, framing(model)), model.triangles
    return render(paper, [mesh], colour=[coloured.colours], light=None if coloured.plain else _EVEN_LIGHT)


def clear_still(
    model: FaceModel,
    vertices: np.ndarray,
    coloured: VertexColours,
    *,
    rotation: np.ndarray,
    side: int,
    legend: bool = True,
) -> np.ndarray:
    """Render as `mesh_still`, without a background and with a legend: (side, side, 4) uint8 RGBA."""

    def draw(grey: int) -> np.ndarray:
        picture = mesh_still(model, vertices, coloured, rotation=rotation, side=side, background=grey)
        return with_legend(picture, coloured) if legend else picture

    return without_background(draw)


def _in_picture(points: np.ndarray, rotation: np.ndarray, side: int, shown: Framing) -> np.ndarray:
    """Points (n, 3) in mm, y up, in the pixels of a square picture, y down."""
    seen = (points - shown.centre) @ np.asarray(rotation).T * [1, -1, 1] * (side / 2 / shown.extent)
    seen[:, :2] += (side - 1) / 2
    return seen
