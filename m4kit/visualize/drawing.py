"""Draws faces on photos: landmarks, head pose, mesh and boxes.

Each function takes a picture (H, W, 3) uint8 RGB and returns a new one of the same size. `faces` is a `Face`, a
`Prediction` or any sequence of faces. Line widths grow with the face, so that small and large faces look alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from m4kit.boxes import check_boxes
from m4kit.camera import HeadPose, decompose
from m4kit.checks import check_array, check_flag, check_number, check_shape, shown
from m4kit.coarse_mesh import coarse_mesh
from m4kit.images import check_image
from m4kit.landmarks import CONTOURS, face_size, landmark_colours
from m4kit.prediction import Face, FaceBox, check_faces
from m4kit.render import render_each
from m4kit.vertex_colours import clay
from m4kit.visualize import strokes

TRANSLUCENT = 0.55
"""The opacity of a translucent mesh."""

_HALO = (250, 250, 247)
_FRONT = (255, 176, 32)
_BACK = (56, 139, 253)
AXIS_COLOURS = ((235, 64, 52), (52, 199, 89), (10, 108, 255))
"""Colours of the head's x, y and z axes."""


def draw_landmarks(
    image: np.ndarray,
    landmarks: np.ndarray | Face | Iterable[Face],
    *,
    points: bool = True,
    width: float | None = None,
) -> np.ndarray:
    """Draw the 68 landmarks as contours: jaw, brows, nose, eyes and lips, each group in its colour.

    `landmarks` are faces, or arrays (68, 2 or 3) or (n, 68, 2 or 3) in photo pixels. `points` adds a dot at
    each landmark. `width` is the line width in pixels; by default it grows with the face.
    """
    picture = np.array(check_image(image, name="draw"))
    # Small faces are farther away: draw them first, so that they do not cover the lines of large ones.
    for face in sorted(_landmarks(landmarks), key=face_size):
        size = face_size(face)
        line = 0.7 + 0.0075 * size if width is None else check_number(width, "width", above=0)
        halo = 0.4 + 0.25 * line
        contours = strokes.lines(picture, [face[indices] for indices, _ in CONTOURS], line, halo=halo)
        contours.paint(picture, _HALO, opacity=0.55, halo=halo)
        contours.paint(picture, np.array([colour for _, colour in CONTOURS])[contours.line])
        if points:
            dots = strokes.dots(picture, face, line)
            dots.paint(picture, landmark_colours()[dots.line])
            dots.paint(picture, (255, 255, 255), halo=-line / 2)
    return picture


def draw_pose(
    image: np.ndarray,
    faces: Face | Iterable[Face],
    *,
    box: bool = True,
    axes: bool = False,
    text: bool = False,
) -> np.ndarray:
    """Draw the head pose of each face: a box that turns with the head, axes, or the angles as text.

    See `draw_pose_box` and `draw_pose_axes`. The text gives yaw, pitch and roll in degrees, below the chin. A face
    without a pose (`peers.MediaPipe`) gets nothing.
    """
    picture = np.array(check_image(image, name="draw"))
    posed = [face for face in _faces(faces) if np.isfinite(face.pose).all()]
    for face in sorted(posed, key=lambda face: face_size(face.landmarks)):
        rotation = decompose(face.camera)[1]
        centre, size = _head(np.asarray(face.landmarks), rotation)
        if box:
            _paint_pose_box(picture, rotation, centre, size)
        if axes:
            picture = draw_pose_axes(picture, rotation, centre, size)
        if text:
            corners = _box_corners(rotation, centre, size)
            height = max(10.0, 0.075 * size)
            below = max(corners[:, 1].max(), np.asarray(face.landmarks)[:, 1].max()) + 1.1 * height
            strokes.words(picture, pose_text(face.pose), (centre[0], below), height=height)
    return picture


def draw_pose_box(
    image: np.ndarray,
    rotation: np.ndarray,
    centre: Sequence[float],
    size: float,
) -> np.ndarray:
    """Draw a box around the head that turns with it; its wider front (amber) is in front of the face.

    `rotation` (3, 3) is in the model frame (x right, y up, z towards the viewer), as `camera.decompose` gives it.
    `centre` is the middle of the head (x, y) and `size` its height, both in photo pixels.
    """
    picture = np.array(check_image(image, name="draw"))
    rotation, centre = check_shape(rotation, "rotation", (3, 3)), check_shape(centre, "centre", (2,))
    _paint_pose_box(picture, rotation, centre, check_number(size, "size", above=0))
    return picture


def _paint_pose_box(picture: np.ndarray, rotation: np.ndarray, centre: Sequence[float], size: float) -> None:
    """Draw a pose box in place."""
    corners = _box_corners(rotation, centre, size)
    back, front = corners[:4], corners[4:]
    width = 0.7 + 0.0075 * size
    halo = max(0.7, 0.5 * width)
    loop = [0, 1, 2, 3, 0]
    thin = strokes.lines(picture, [back[loop], *np.stack([back, front], axis=1)], 0.7 * width, halo=halo)
    thick = strokes.lines(picture, [front[loop]], 1.25 * width, halo=halo)
    for drawn in (thin, thick):
        drawn.paint(picture, _HALO, opacity=0.5, halo=halo)
    # Line 0 is the back, the others lead from it to the front.
    shares = thin.shares_along(picture, back[[0, *range(4)]], np.vstack([back[:1], front]))[:, None]
    thin.paint(picture, _BACK + shares * np.subtract(_FRONT, _BACK))
    strokes.fill(picture, front, _FRONT, opacity=0.14)
    thick.paint(picture, _FRONT)


def draw_pose_axes(
    image: np.ndarray,
    rotation: np.ndarray,
    centre: Sequence[float],
    size: float,
) -> np.ndarray:
    """Draw the head's axes: x red, y green, z blue. On a frontal face x points right, y up, z at the viewer.

    Arguments as for `draw_pose_box`.
    """
    picture = np.array(check_image(image, name="draw"))
    rotation, origin = check_shape(rotation, "rotation", (3, 3)), check_shape(centre, "centre", (2,))
    check_number(size, "size", above=0)
    tips = origin + 0.55 * size * rotation[:2].T * [1, -1]
    width = 1.0 + 0.013 * size
    # The axis nearest to the viewer is painted last.
    for axis in np.argsort(rotation[2]):
        tip, along = tips[axis], tips[axis] - origin
        length = np.linalg.norm(along)
        head = min(0.11 * size, 0.8 * length)
        direction = along / length if length > 0 else np.zeros(2)
        neck = tip - head * direction
        across = 0.42 * head * np.array([-direction[1], direction[0]])
        shaft, arrow = np.array([origin, neck]), np.array([tip, neck + across, neck - across])
        halo = max(0.8, 0.3 * width)
        line = strokes.lines(picture, [shaft], width, halo=halo)
        line.paint(picture, _HALO, opacity=0.75, halo=halo)
        strokes.lines(picture, [arrow[[0, 1, 2, 0]]], 2 * halo).paint(picture, _HALO, opacity=0.75)
        line.paint(picture, AXIS_COLOURS[axis])
        strokes.fill(picture, arrow, AXIS_COLOURS[axis])
    return picture


def draw_mesh(image: np.ndarray, faces: Face | Iterable[Face], *, opacity: float = 1.0) -> np.ndarray:
    """Draw the dense meshes in clay, lit and shaded: solid at `opacity` 1, translucent below.

    `render.render` takes other colours and another light.
    """
    return draw_meshes(image, faces, opacities=[opacity])[0]


def draw_meshes(
    image: np.ndarray, faces: Face | Iterable[Face], *, opacities: Sequence[float]
) -> list[np.ndarray]:
    """Draw as `draw_mesh` at several opacities, a picture for each, in little more time than one."""
    meshes, colours = [], []
    for face in _faces(faces):
        kept, triangles = coarse_mesh(face)
        meshes.append((face.vertices.take(kept, axis=0), triangles))
        colours.append(clay(face.model).colours.take(kept, axis=0))
    return render_each(check_image(image, name="draw"), meshes, opacities=opacities, colour=colours)


def draw_boxes(
    image: np.ndarray, faces: np.ndarray | Face | Iterable[Face], *, scores: bool = True
) -> np.ndarray:
    """Draw the detector's boxes, with their scores above them.

    `faces` are faces, or boxes (n, 4) or (n, 5) as a `Detector` returns them.
    """
    picture = np.array(check_image(image, name="draw"))
    if isinstance(faces, np.ndarray):
        boxes = [FaceBox(*box) for box in check_boxes(faces, picture.shape, name="draw").tolist()]
    else:
        boxes = [face.box for face in _faces(faces)]
    for box in boxes:
        size = float(np.sqrt(max(1.0, box.width * box.height)))
        width = 0.8 + 0.008 * size
        corners = [(box.left, box.top), (box.right, box.top), (box.right, box.bottom), (box.left, box.bottom)]
        halo = max(0.6, 0.45 * width)
        outline = strokes.lines(picture, [np.array([*corners, corners[0]])], width, halo=halo)
        outline.paint(picture, _HALO, opacity=0.6, halo=halo)
        outline.paint(picture, _BACK)
        if scores:
            height = float(np.clip(0.1 * size, 10, 0.03 * max(picture.shape[:2]) + 10))
            middle = ((box.left + box.right) / 2, box.top - height)
            strokes.words(picture, f"{box.score:.2f}", middle, height=height)
    return picture


def check_layers(*, landmarks: bool, pose: bool, mesh: bool | float, boxes: bool) -> None:
    """Raise an error unless `draw_layers` can draw these."""
    for name, layer in (("landmarks", landmarks), ("pose", pose), ("boxes", boxes)):
        check_flag(layer, name)
    if not isinstance(mesh, bool | np.bool_):
        check_number(mesh, "mesh", least=0, most=1)


def draw_layers(
    image: np.ndarray,
    faces: Iterable[Face],
    *,
    landmarks: bool,
    pose: bool,
    mesh: bool | float,
    boxes: bool,
) -> np.ndarray:
    """Draw several layers; `mesh` is False, True for a translucent mesh, or an opacity from 0 to 1."""
    if mesh:
        image = draw_mesh(image, faces, opacity=TRANSLUCENT if isinstance(mesh, bool | np.bool_) else mesh)
    if boxes:
        image = draw_boxes(image, faces)
    if pose:
        image = draw_pose(image, faces)
    if landmarks:
        image = draw_landmarks(image, faces)
    return image


def pose_text(pose: HeadPose) -> str:
    """Write yaw, pitch and roll as text, in whole degrees with signs."""
    names = zip(HeadPose._fields, pose, strict=True)
    return "  ".join(f"{name} {angle_text(angle)}" for name, angle in names)


def angle_text(degrees: float) -> str:
    """Write an angle as text, in whole degrees with its sign; `-` for NaN."""
    if np.isnan(degrees):
        return "-"
    return f"{round(degrees):+d}°".replace("+0°", "0°").replace("-", "\N{MINUS SIGN}")


def _box_corners(rotation: np.ndarray, centre: Sequence[float], size: float) -> np.ndarray:
    """Corners of the pose box in photo pixels, (8, 2): four of the back, then four of the front."""
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=float)
    back = np.column_stack([0.40 * square[:, 0], 0.48 * square[:, 1], np.full(4, -0.40)])
    front = np.column_stack([0.50 * square[:, 0], 0.60 * square[:, 1], np.full(4, 0.45)])
    turned = size * np.vstack([back, front]) @ rotation.T
    return np.asarray(centre, dtype=float) + turned[:, :2] * [1, -1]


def _head(landmarks: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle (x, y) and height of the head in photo pixels, from landmarks (68, 3) and the rotation."""
    upright = (landmarks * [1, -1, 1]) @ rotation
    low, high = upright.min(axis=0), upright.max(axis=0)
    # The landmarks end at the brows. The forehead adds two fifths of their height.
    high[1] += 0.4 * (high[1] - low[1])
    middle = rotation @ ((low + high) / 2)
    return middle[:2] * [1, -1], float(high[1] - low[1])


def _faces(faces: Face | Iterable[Face]) -> list[Face]:
    return check_faces(faces, "draw")


def _landmarks(landmarks: np.ndarray | Face | Iterable[Face]) -> list[np.ndarray]:
    """Landmarks (68, 2) of each face."""
    if isinstance(landmarks, Face):
        landmarks = [landmarks]
    if isinstance(landmarks, str) or not isinstance(landmarks, Iterable):
        raise TypeError(f"draw: expected faces or landmarks (n, 68, 2), got {shown(landmarks)}")
    single = isinstance(landmarks, np.ndarray) and landmarks.ndim == 2
    result = []
    for one in [landmarks] if single else landmarks:
        array = check_array(getattr(one, "landmarks", one), "draw", "faces or landmarks (n, 68, 2)")
        if array.shape not in {(68, 2), (68, 3)} or not np.isfinite(array[:, :2]).all():
            raise ValueError(f"expected 68 finite landmarks, (68, 2) or (68, 3), got an array {array.shape}")
        result.append(array[:, :2])
    return result
