"""Figures of predictions, for papers and notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from m4kit.camera import Crop, cut_square, rotation_from_euler
from m4kit.checks import check_array, check_flag, check_number, check_type, check_whole
from m4kit.face_model import FaceModel, check_model
from m4kit.images import check_image
from m4kit.landmarks import face_size
from m4kit.prediction import Face, Prediction, check_prediction
from m4kit.render import render
from m4kit.vertex_colours import clay
from m4kit.visualize.drawing import (
    TRANSLUCENT,
    angle_text,
    check_layers,
    draw_landmarks,
    draw_layers,
    draw_meshes,
    draw_pose,
    pose_text,
)
from m4kit.visualize.pictures import without_background
from m4kit.visualize.style import INK

if TYPE_CHECKING:
    from matplotlib.text import Text

    from m4kit.visualize.notebook_figure import NotebookFigure

ROWS = ("landmarks", "head pose", "translucent mesh", "solid mesh")
"""The rows of an overview."""

NO_FACE = "no face found"

_SMALLEST_SIDE = 480
_ROOM_FOR_POSE = 1.8
_SMALLEST_LABELLED_FACE = 90


def row_pictures(image: np.ndarray, faces: Sequence[Face]) -> dict[str, np.ndarray]:
    """Draw the four pictures of an overview, by name. Angles are written if every face has room for them."""
    text = bool(faces) and min(face_size(face.landmarks) for face in faces) >= _SMALLEST_LABELLED_FACE
    pictures = (
        draw_landmarks(image, faces),
        draw_pose(image, faces, text=text),
        *draw_meshes(image, faces, opacities=[TRANSLUCENT, 1]),
    )
    return dict(zip(ROWS, pictures, strict=True))


def overview(
    predictions: Prediction | Sequence[Prediction],
    *,
    max_side: int = 480,
    titles: Sequence[str] = (),
    close: bool = False,
) -> NotebookFigure:
    """Draw landmarks, head pose, translucent mesh and solid mesh of one or several photos, a column per photo.

    Takes one prediction or a list. All photos get the same height; `max_side` is the longest side of any picture,
    in pixels of the figure. `titles` gives one title per photo. `close` shows a square around the largest face
    instead of the whole photo, as in the paper's figure of faces in art (S3). For a photo without a face the figure
    says "no face found": above a single photo, or over the pictures in a list.
    """
    if isinstance(predictions, Prediction):
        predictions = [predictions]
    check_type(
        predictions, "overview", Sequence, remedy="m4kit.predict makes one", words="a prediction or a list"
    )
    predictions = [check_prediction(one, "overview") for one in predictions]
    check_type(titles, "titles", list, tuple, remedy="give one for each photo")
    if not predictions:
        raise ValueError("expected a prediction or a list of them, got an empty list")
    _check_side(max_side)
    if len(titles) not in (0, len(predictions)):
        raise ValueError(f"expected a title for each of {len(predictions)} photos, got {len(titles)}")
    if check_flag(close, "close"):
        predictions = [_largest(one, max_side) if one.faces else one for one in predictions]
    if len(predictions) == 1 and not titles:
        pictures = overview_pictures(predictions[0], max_side=max_side)
        names = list(pictures)
        text = {"columns": names} if names == [NO_FACE] else {"labels": names}
        return grid([[picture] for picture in pictures.values()], **text)
    shapes = np.array([prediction.image.shape[:2] for prediction in predictions], dtype=float)
    height = max_side / max(1.0, (shapes[:, 1] / shapes[:, 0]).max())
    resized = [one.resized(height / one.image.shape[0]) for one in predictions]
    columns = [row_pictures(one.image, one.faces) for one in resized]
    figure = grid([[column[name] for column in columns] for name in ROWS], labels=ROWS, columns=titles)
    for index, axes in enumerate(figure.axes):
        if not len(predictions[index % len(predictions)]):
            _write(axes, NO_FACE)
    return figure


def overview_pictures(prediction: Prediction, *, max_side: int) -> dict[str, np.ndarray]:
    """Draw the pictures of one photo's overview, by name; without a face, the photo alone, named "no face found".

    A photo larger than `max_side` is shrunk to it. A photo smaller than 480 pixels is enlarged to them, so that
    there is room for fine lines.
    """
    resized = _fitted(prediction, max_side)
    return row_pictures(resized.image, resized.faces) if resized else {NO_FACE: resized.image}


def faces_figure(prediction: Prediction, *, side: int = 240, max_faces: int = 6) -> NotebookFigure:
    """Draw close-ups of the largest faces: a row per face with its angles, and a column per row of `overview`.

    `side` is the side of a close-up in pixels of the figure.
    """
    _check_side(side)
    check_prediction(prediction, "faces_figure")
    faces = list(prediction)[: check_whole(max_faces, "max_faces", least=1)]
    if not faces:
        return overview(prediction, max_side=2 * side)
    rows = []
    for face in faces:
        image, square = close_up(prediction.image, face, side)
        moved = face.moved(side / square.size, square[:2])
        pictures = row_pictures(image, [moved])
        # The box would not fit into the close-up, and the angles are in the row's label.
        pictures["head pose"] = draw_pose(image, moved, box=False, axes=True)
        rows.append(list(pictures.values()))
    return grid(rows, labels=[pose_text(face.pose) for face in faces], columns=ROWS)


def photo_figure(
    prediction: Prediction,
    *,
    landmarks: bool,
    pose: bool,
    mesh: bool | float,
    boxes: bool,
    max_side: int,
) -> NotebookFigure:
    """Draw the photo with layers over it; see `Prediction.plot`."""
    _check_side(max_side)
    layers = {"landmarks": landmarks, "pose": pose, "mesh": mesh, "boxes": boxes}
    check_layers(**layers)
    resized = _fitted(prediction, max_side)
    image = draw_layers(resized.image, resized.faces, **layers)
    return grid([[image]], columns=() if resized else [NO_FACE])


def shapes_figure(
    shapes: Mapping[str, np.ndarray],
    model: FaceModel,
    *,
    yaws: Sequence[float] = (-60, -30, 0, 30, 60),
    pitch: float = 0.0,
    side: int = 220,
) -> NotebookFigure:
    """Draw meshes of a face model without photo, turned: a row per mesh and a column per yaw, all at one scale.

    `shapes` maps names to vertices (V, 3) in mm, such as `face.shape` or `model.vertices(...)`. Angles are in
    degrees. `side` is the side of a picture in pixels of the figure.
    """
    _check_side(side)
    check_type(shapes, "shapes", Mapping, remedy='give {"name": vertices}')
    triangles, colours = check_model(model).triangles, clay(model).colours
    yaws = np.atleast_1d(check_array(yaws, "yaws", "angles (n,) in degrees")).tolist()
    check_number(pitch, "pitch")
    if not shapes or not yaws:
        raise ValueError(f"expected at least one shape and one yaw, got {len(shapes)} and {len(yaws)}")
    turned = {
        name: [
            check_array(vertices, name, "vertices (V, 3)") @ rotation_from_euler(yaw, pitch, 0).T
            for yaw in yaws
        ]
        for name, vertices in shapes.items()
    }
    reach = max(np.abs(vertices[:, :2]).max() for row in turned.values() for vertices in row)
    scale = 0.48 * side / reach

    def drawn(vertices: np.ndarray) -> np.ndarray:
        mesh = vertices * [scale, -scale, scale] + [side / 2, side / 2, 0], triangles

        def on(grey: int) -> np.ndarray:
            return render(np.full((side, side, 3), grey, np.uint8), [mesh], colour=[colours])

        return without_background(on)

    rows = [[drawn(vertices) for vertices in row] for row in turned.values()]
    return grid(rows, labels=list(turned), columns=[f"yaw {angle_text(yaw)}" for yaw in yaws])


def pictures_figure(pictures: Mapping[str, np.ndarray]) -> NotebookFigure:
    """Put pictures (H, W, 3) uint8 RGB side by side, pixel for pixel, each below its title."""
    if not pictures:
        raise ValueError("expected at least one picture, got none")
    row = [check_image(picture, name=f"picture {title!r}") for title, picture in pictures.items()]
    return grid([row], columns=list(pictures))


def _fitted(prediction: Prediction, max_side: int) -> Prediction:
    """The prediction with its photo shrunk to `max_side`, or enlarged to `_SMALLEST_SIDE`, where it must be."""
    longest = max(prediction.image.shape[:2])
    return prediction.resized(min(max_side, max(longest, _SMALLEST_SIDE)) / longest)


def close_up(image: np.ndarray, face: Face, side: int, *, room: float = 1.35) -> tuple[np.ndarray, Crop]:
    """Cut the square around a face, black outside the photo: the picture (side, side, 3), and the square.

    The square is `room` times as large as the face.
    """
    points = np.asarray(face.vertices)[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    extent = room * float((high - low).max())
    square = Crop(*(low + high) / 2 - extent / 2, extent)
    return cut_square(image, square, side, interpolation=cv2.INTER_CUBIC), square


def _largest(prediction: Prediction, side: int) -> Prediction:
    """The largest face in a close-up, `side` pixels wide, that has room for the box of its head pose."""
    image, square = close_up(prediction.image, prediction[0], side, room=_ROOM_FOR_POSE)
    return replace(prediction, image=image, faces=(prediction[0].moved(side / square.size, square[:2]),))


def _check_side(side: int) -> None:
    check_number(side, "side of the pictures", least=16, unit="in pixels")


def grid(
    rows: list[list[np.ndarray]],
    *,
    labels: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> NotebookFigure:
    """Put images into rows and columns, pixel for pixel, with labels left of rows and titles above columns."""
    from m4kit.visualize.notebook_figure import DPI, NotebookFigure

    gap, letter = 6, 12
    left = 26 if labels else gap
    top = 26 if columns else gap
    heights = [max(image.shape[0] for image in row) for row in rows]
    widths = [max(image.shape[1] for image in column) for column in zip(*rows, strict=True)]
    size = (left + sum(widths) + gap * len(widths), top + sum(heights) + gap * len(heights))
    figure = NotebookFigure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor="white")
    style = {"fontsize": letter * 72 / DPI, "color": INK}
    y = top
    for index, (row, height) in enumerate(zip(rows, heights, strict=True)):
        x = left
        for column, (image, width) in enumerate(zip(row, widths, strict=True)):
            place = np.array([x, size[1] - y - image.shape[0], image.shape[1], image.shape[0]])
            axes = figure.add_axes(place / [*size, *size])
            axes.imshow(image, interpolation="nearest", aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if labels and column == 0:
                _fit(axes.set_ylabel(labels[index], **style), height)
            if columns and index == 0:
                _fit(axes.set_title(columns[column], pad=5 * 72 / DPI, **style), width)
            x += width + gap
        y += height + gap
    return figure


def _write(axes, text: str) -> None:
    """Write text in the middle of a picture."""
    box = {"boxstyle": "round,pad=0.5", "facecolor": INK, "edgecolor": "none", "alpha": 0.8}
    words = axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="white", bbox=box
    )
    # The box is half a letter's height larger than the text.
    _fit(words, axes.get_window_extent().width, letters=1)


def _fit(words: Text, room: float, *, letters: float = 0.0) -> None:
    """Shrink text that is longer than `room` pixels, with a margin of as many letter heights."""
    extent = words.get_window_extent()
    length = extent.height if words.get_rotation() == 90 else extent.width
    length += letters * words.get_fontsize() / 72 * words.figure.dpi
    words.set_fontsize(words.get_fontsize() * min(1, room / max(1, length)))
