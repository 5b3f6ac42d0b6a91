"""Faces for tests of the 3D view, and readers of the messages that it gets."""

import numpy as np

from m4kit import Prediction
from m4kit.camera import Crop
from m4kit.prediction import Face, FaceBox

from helpers.faces import MODEL, parameters

PHOTO = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)


def turned_face(*, seed=0, pose=(25.0, -10.0, 5.0), left=40.0):
    """A random face of four heads in `PHOTO`."""
    random = np.random.default_rng(seed)
    heads = parameters(pose, scale=0.55, shift=(1.0, -2.0, 0.0), coefficients=random.normal(0, 0.6, 50))
    heads = np.tile(heads, (4, 1))
    heads[:, 12:] += random.normal(0, 0.2, (4, 50))
    return Face(FaceBox(60, 50, 260, 250), Crop(left, 30.0, 240.0), heads, np.full(4, 0.25), MODEL)


TWO_FACES = Prediction(
    PHOTO, (turned_face(), turned_face(seed=1, pose=(-30.0, 5.0, 0.0), left=150.0)), "two.jpg"
)


def of_kind(messages, *kinds):
    return [content for content, _ in messages if content["kind"] in kinds]


def vertices_in(message):
    content, (buffer,) = message
    return np.array(content["low"]) + np.frombuffer(buffer, "<u2").reshape(-1, 3) * np.array(content["step"])


def last_vertices(messages, panel=0):
    return vertices_in([m for m in messages if m[0]["kind"] == "vertices" and m[0]["panel"] == panel][-1])


def last_colours(messages, panel=0):
    _, (buffer,) = [m for m in messages if m[0]["kind"] == "colours" and m[0]["panel"] == panel][-1]
    return np.frombuffer(buffer, np.uint8).reshape(-1, 3)
