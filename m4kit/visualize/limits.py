"""Figure of an error's parts: what the face model cannot represent, and what the network missed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from m4kit import metrics
from m4kit.camera import decompose
from m4kit.checks import check_shape
from m4kit.exaggeration import PLAUSIBLE, fit_face, follow, free_form, in_millimetres
from m4kit.face_model import LANDMARKS
from m4kit.prediction import Face, check_face
from m4kit.vertex_colours import VertexColours, clay, scalar_colours
from m4kit.visualize import strokes
from m4kit.visualize.drawing import draw_landmarks
from m4kit.visualize.figures import close_up, grid
from m4kit.visualize.legend import with_legend
from m4kit.visualize.mesh_picture import mesh_still

if TYPE_CHECKING:
    from m4kit.visualize.notebook_figure import NotebookFigure

_TRUE, _LEAST = (24, 24, 27), 5.0
"""The colour of true points, and the millimetres at the end of the colour bar at least."""

_ROOM, _LIFT = 104.0, 10.0
"""Millimetres that a mesh may reach from its middle, and that its middle is above the picture's."""

_NEAR = (12.0, 24.0)
"""Millimetres from the nearest landmark between which the colours fade into clay."""


def limits_figure(face: Face, landmarks: np.ndarray, *, side: int = 300) -> NotebookFigure:
    """Draw six pictures of a network's face beside the true landmarks (68, 2 or 3) in photo pixels.

    Above: the photo with the true points, the network's landmarks, and those of the best fit of its face model
    (`exaggeration.fit_face`), with a line from each to the true point. Below: the best fit's mesh, in colour how far
    its surface would have to move for the rest (`exaggeration.free_form`), and the mesh of a plausible fit that does
    move (`exaggeration.follow`). Percents are the NME, see `metrics.nme`.

    Raises `ValueError` for a face without a photo, and for landmarks of another shape or not finite.
    """
    check_face(face, "limits_figure")
    if face.origin is None:
        raise ValueError("limits_figure: this face has no photo; only faces of a prediction have one")
    true = check_shape(np.asarray(landmarks)[..., :2], "landmarks", (LANDMARKS, 2))
    fit = fit_face(face.model, true)
    beyond = follow(fit_face(face.model, true, noise=PLAUSIBLE), true)
    photo, square = close_up(face.origin.image, fit, side)
    aim = square.to_square(true, side)

    def compared(some: Face) -> np.ndarray:
        points = square.to_square(some.landmarks[:, :2], side)
        picture = draw_landmarks(photo, points, points=False)
        width = max(1.0, side / 200)
        strokes.lines(picture, list(np.stack([points, aim], axis=1)), width).paint(picture, _TRUE)
        strokes.dots(picture, aim, 1.2 * width).paint(picture, _TRUE)
        return picture

    missing = fit.crop.from_photo(true) - fit.crop.from_photo(fit.landmarks[:, :2])
    moves = np.linalg.norm(free_form(fit.model, missing @ in_millimetres(fit.camera)), axis=1)
    lacking = _lacking(fit, moves)

    # Centred, and at one scale at which the longest chin stays above the legend.
    seen = {one: one.shape @ decompose(one.camera)[1].T for one in (fit, beyond)}
    reach = max(np.ptp(vertices, axis=0)[:2].max() for vertices in seen.values()) / 2

    def mesh(some: Face, coloured: VertexColours) -> np.ndarray:
        vertices = seen[some] - (seen[some].min(axis=0) + seen[some].max(axis=0)) / 2
        vertices = vertices * min(1.0, _ROOM / reach) + [0, _LIFT, 0]
        picture = mesh_still(some.model, vertices, coloured, rotation=np.eye(3), side=side)
        return with_legend(picture, coloured)

    rows = (
        {
            "true points": draw_landmarks(photo, aim),
            f"network: {_error(face, true)}": compared(face),
            f"best fit of the model: {_error(fit, true)}": compared(fit),
        },
        {
            "the mesh of the best fit": mesh(fit, clay(fit.model)),
            "what it cannot say (grey: unknown)": mesh(fit, lacking),
            f"beyond the model: {_error(beyond, true)}": mesh(beyond, clay(beyond.model)),
        },
    )
    return grid([[_titled(picture, title) for title, picture in row.items()] for row in rows])


def _lacking(fit: Face, moves: np.ndarray) -> VertexColours:
    """Lengths of moves (V,) in mm as colours; clay where no landmark is near, because there nothing is known."""
    # Slow to import.
    from scipy.spatial import cKDTree

    model = fit.model
    apart = cKDTree(model.landmark_mean).query(model.mean)[0]
    known = 1 - np.clip((apart - _NEAR[0]) / (_NEAR[1] - _NEAR[0]), 0, 1)
    limits = (0.0, max(_LEAST, float((known * moves).max())))
    lacking = scalar_colours(moves, unit="mm that the model lacks", limits=limits, scale="YlOrRd")
    mixed = known[:, None] * lacking.colours + (1 - known[:, None]) * clay(model).colours
    return replace(lacking, colours=np.rint(mixed).astype(np.uint8))


def _error(face: Face, true: np.ndarray) -> str:
    return f"{float(metrics.nme(face.landmarks, true)):.1f} %"


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    side = picture.shape[1]
    strip = np.full((round(0.09 * side), side, 3), 255, np.uint8)
    strokes.words(strip, title, (side / 2, len(strip) / 2), height=0.04 * side, colour=_TRUE, halo=(255,) * 3)
    return np.concatenate([strip, picture])
