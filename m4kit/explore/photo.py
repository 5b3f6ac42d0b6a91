"""A prediction and its photo, as the viewers show them."""

from __future__ import annotations

import html

import cv2
import ipywidgets as widgets
import numpy as np

from m4kit.camera import cut_square
from m4kit.checks import check_type
from m4kit.explore.controls import SIDE_WIDTH, choice, show_if
from m4kit.live import MARK
from m4kit.pages import image_url
from m4kit.prediction import Face, Prediction

_WHITE = (255, 255, 255)


def check_prediction(prediction: Prediction, *, name: str) -> Prediction:
    """Return a prediction that has a face; else raise `TypeError` or `ValueError`.

    `name` is what was called, for the error.
    """
    check_type(prediction, name, Prediction, remedy="give it m4kit.predict(photo)")
    if not len(prediction):
        raise ValueError(
            f"{prediction.source}: expected a prediction with at least one face, got none; try a larger photo, a "
            "smaller min_face, or give predict the boxes"
        )
    return prediction


def face_choice(prediction: Prediction | tuple[Face, ...]) -> widgets.Dropdown:
    """Make a drop-down list of the prediction's faces by number, hidden unless there are several."""
    control = choice("Face", [(f"Face {k + 1}", k) for k in range(len(prediction))])
    show_if(len(prediction) > 1, control)
    return control


def thumbnail(image: np.ndarray, face: Face, *, vertex: int | None = None) -> np.ndarray:
    """Cut a square around a face from the photo, and mark a vertex in it."""
    picture = cut_square(image, face.crop, SIDE_WIDTH, border=cv2.BORDER_REPLICATE)
    if vertex is not None:
        x, y = face.crop.to_square(face.vertices[vertex, :2], SIDE_WIDTH)
        centre = (round(float(x) * 8), round(float(y) * 8))
        for colour, thickness in ((_WHITE, 4), (MARK, 2)):
            cv2.circle(picture, centre, 6 * 8, colour, thickness, cv2.LINE_AA, 3)
    return picture


def picture_html(
    content: bytes, *, kind: str, alt: str, width: str = f"{SIDE_WIDTH}px", save_as: str = ""
) -> str:
    """Put a picture file into HTML, with `alt` for screen readers; a click saves it as `save_as`, if given.

    `width` is in units of CSS.
    """
    address = image_url(content, kind)
    # Decoded at once, or a picture that follows a slider would flicker.
    style = f"width: {width}; max-width: 100%; display: block"
    picture = f'<img src="{address}" alt="{html.escape(alt)}" decoding="sync" style="{style}">'
    if not save_as:
        return picture
    name = html.escape(save_as)
    return f'<a href="{address}" download="{name}" title="Click to save {name}">{picture}</a>'
