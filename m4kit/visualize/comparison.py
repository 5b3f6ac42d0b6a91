"""Figures that compare several networks' answers for one face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from m4kit.camera import rotation_from_euler
from m4kit.checks import check_array, check_type
from m4kit.landmarks import CONTOURS
from m4kit.prediction import Face, check_face
from m4kit.vertex_colours import VertexColours, clay, scalar_colours
from m4kit.visualize import strokes
from m4kit.visualize.figures import close_up, grid
from m4kit.visualize.mesh_picture import clear_still

if TYPE_CHECKING:
    from m4kit.visualize.notebook_figure import NotebookFigure

COLOURS = ((255, 176, 32), (10, 108, 255), (235, 64, 52), (52, 199, 89), (191, 90, 242), (20, 20, 24))
"""The colours of the first, second, ... face of a comparison."""

_PAPER = (255, 255, 255)


def landmarks_figure(faces: Mapping[str, Face], *, side: int = 460) -> NotebookFigure:
    """Draw the landmarks of several answers for one face over one another, each in its colour, on the photo.

    `faces` maps names to faces in one photo: that of the first one, around which the close-up is. `side` is the side
    of the picture in pixels.

    Raises `ValueError` for no face or more than `COLOURS`, and if the first face has no photo.
    """
    check_type(faces, "landmarks_figure", Mapping, remedy='give {"name": face}')
    if not 1 <= len(faces) <= len(COLOURS):
        raise ValueError(f"landmarks_figure: expected 1 to {len(COLOURS)} faces, got {len(faces)}")
    first, *_ = (check_face(face, "landmarks_figure") for face in faces.values())
    if first.origin is None:
        raise ValueError("landmarks_figure: the first face has no photo; only faces of a prediction have one")
    picture, square = close_up(first.origin.image, first, side)
    width, height = max(1.0, side / 260), max(9.0, side / 30)
    points = [square.to_square(face.landmarks[:, :2], side) for face in faces.values()]
    lines = [[one[indices] for indices, _ in CONTOURS] for one in points]
    strokes.lines(picture, [line for face in lines for line in face], 2.2 * width).paint(
        picture, _PAPER, opacity=0.4
    )
    for number, name in enumerate(faces):
        strokes.lines(picture, lines[number], width).paint(picture, COLOURS[number])
        place = (height, (1 + 1.5 * number) * height)
        strokes.label(picture, name, place, height=height, colour=COLOURS[number], halo=_PAPER)
    return grid([[picture]])


def distances_figure(
    face: Face, distances: Mapping[str, np.ndarray], *, yaws: tuple[float, ...] = (0, 50), side: int = 260
) -> NotebookFigure:
    """Draw distances (V,) in mm as colours on a face's mesh: a column per name, a row per yaw in degrees, one scale.

    Clay are vertices whose distance is NaN. `explore.correspondence.mesh_distance` measures distances.

    Raises `ValueError` for no distances, or an array of another shape.
    """
    check_face(face, "distances_figure")
    check_type(distances, "distances_figure", Mapping, remedy='give {"name": distances}')
    if not distances or not len(yaws):
        raise ValueError("distances_figure: expected at least one array of distances and one yaw")
    vertices = face.shape - (face.shape.min(axis=0) + face.shape.max(axis=0)) / 2 + [0, 8, 0]
    arrays = {name: _checked(values, len(vertices), name) for name, values in distances.items()}
    limit = max(1e-3, *(float(np.nanmax(values, initial=0)) for values in arrays.values()))
    coloured = [_in_colour(face, values, limit) for values in arrays.values()]

    rows = [
        [clear_still(face.model, vertices, one, rotation=rotation, side=side) for one in coloured]
        for rotation in (rotation_from_euler(yaw, 0, 0) for yaw in yaws)
    ]
    return grid(rows, columns=list(arrays))


def _checked(values: np.ndarray, vertices: int, name: str) -> np.ndarray:
    array = check_array(values, name, "distances (V,) in mm")
    if array.shape != (vertices,):
        raise ValueError(
            f"{name}: expected a distance for each of {vertices} vertices, got shape {array.shape}"
        )
    return array


def _in_colour(face: Face, distance: np.ndarray, limit: float) -> VertexColours:
    known = np.isfinite(distance)
    coloured = scalar_colours(
        np.where(known, distance, 0), unit="mm apart", limits=(0.0, limit), scale="YlOrRd"
    )
    return replace(coloured, colours=np.where(known[:, None], coloured.colours, clay(face.model).colours))
