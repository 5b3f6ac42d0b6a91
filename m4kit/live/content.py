"""What a live page shows: faces, their face models and their photos, as plain numbers.

A face is its parameters and a frame; the page's script computes vertices, landmarks and colours from them and from
the face model, which a page holds once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from m4kit.camera import CROP_SIZE, rotation_from_euler
from m4kit.exaggeration import edge_fade
from m4kit.face_model import FaceModel
from m4kit.head_frame import HeadFrame
from m4kit.landmarks import CONTOURS, landmark_colours
from m4kit.light import Light
from m4kit.live.packing import Packer, lower_neighbours, packed_triangles, page_order, smooth_rest
from m4kit.pages import picture_url
from m4kit.parameters import CAMERA
from m4kit.prediction import Face
from m4kit.vertex_colours import NORMAL_COLOURS, clay, region_colours, scalar_colours, vertex_colours
from m4kit.visualize.drawing import AXIS_COLOURS, pose_text
from m4kit.visualize.mesh_picture import framing

MODE_STEP = 0.03
"""Millimetres to which the modes are rounded, for a coefficient of 1: 50 modes together are off by about 0.1 mm."""

CAMERAS = {
    "Front": rotation_from_euler(0, 0, 0),
    "Left": rotation_from_euler(90, 0, 0),
    "Right": rotation_from_euler(-90, 0, 0),
    "Top": rotation_from_euler(0, -90, 0),
}
"""Camera positions as rotations (3, 3) from the head's frame; left and right are the person's own sides."""

MARK = (255, 59, 48)
"""Colour of a clicked vertex."""

_MEAN_STEP = 0.01
_PHOTO_BYTES, _PHOTO_SIDES = 110_000, (900, 720, 540, 400)
_SCALES = {"distance": "coolwarm", "depth": "cividis", "spread": "inferno", "moved": "viridis"}
_MOST_VERTICES = 65536


@dataclass(frozen=True, eq=False)
class LiveFace:
    """A face of a page.

    `heads` (k, 12 + n) are parameters for the n modes of `model`, `weights` (k,) their weights at the start. `frame`
    is where the face is in its photo, `image` (H, W, 3) uint8 RGB, if there is one; `texture` (V, 3) uint8 are the
    photo's colours for the vertices of the head, if the model has one, else of the face. `crop` (left, top, size) is
    a square around the face, in photo pixels.
    """

    title: str
    model: FaceModel
    heads: np.ndarray
    weights: np.ndarray
    frame: HeadFrame
    caption: str = ""
    image: np.ndarray | None = None
    texture: np.ndarray | None = None
    crop: tuple[float, float, float] | None = None

    @classmethod
    def of(
        cls,
        face: Face,
        *,
        title: str,
        image: np.ndarray | None = None,
        failure_probability: float | None = None,
    ) -> LiveFace:
        """Make a face of a prediction; with its photo, the page shows that and the texture."""
        chance = face.failure_probability if failure_probability is None else failure_probability
        caption = pose_text(face.pose) + ("" if chance is None else f"\nfailure probability {chance:.0%}")
        texture = None
        if image is not None:
            whole = face.head if face.model.has_head else face
            texture = vertex_colours(whole, "texture", image=image).colours
        return cls(
            title,
            face.model,
            face.heads,
            face.head_weights,
            HeadFrame.of(face),
            caption=caption,
            image=image,
            texture=texture,
            crop=tuple(face.crop),
        )

    @classmethod
    def mean(cls, model: FaceModel) -> LiveFace:
        """Make the mean face of a model, seen from the front."""
        parameters = np.concatenate([np.eye(3, 4).ravel(), np.zeros(len(model.modes))])
        frame = HeadFrame(np.eye(3), 1.0, np.zeros(3))
        return cls("Mean face", model, parameters[None], np.ones(1), frame)


def content(
    faces: Sequence[LiveFace],
    *,
    deviations: np.ndarray | None = None,
    head: bool = True,
    step: float = MODE_STEP,
) -> tuple[dict, Packer]:
    """Describe a page's content for JSON, and pack the arrays that it refers to.

    Coefficients of the page are in `deviations` (n,), the standard deviations of each model's coefficients, by
    default 1. With `head`, the page can show the whole head. Modes are rounded to `step` mm. Raises `ValueError` for
    models of more vertices than a page takes.
    """
    packer, models, photos = Packer(), {}, {}
    for face in faces:
        if face.model not in models:
            models[face.model] = _model(face.model, packer, deviations, head, step)
        if face.image is not None and id(face.image) not in photos:
            photos[id(face.image)] = _photo(face.image)
    numbers, places = {model: k for k, model in enumerate(models)}, {one: k for k, one in enumerate(photos)}
    lines = [pair for part, _ in CONTOURS for pair in pairwise(part)]
    found = {
        "models": [about for about, _ in models.values()],
        "photos": list(photos.values()),
        "faces": [
            _face(face, packer, deviations, models[face.model][1])
            | {
                "model": numbers[face.model],
                "photo": None if face.image is None else places[id(face.image)],
            }
            for face in faces
        ],
        "light": light_uniforms(Light()),
        "cameras": {name: np.round(rotation, 6).ravel().tolist() for name, rotation in CAMERAS.items()},
        "axisColours": [list(colour) for colour in AXIS_COLOURS],
        "markColour": list(MARK),
        "landmarkColours": landmark_colours().tolist(),
        "contours": [[int(a), int(b)] for a, b in lines],
        "contourColours": [colour for part, colour in CONTOURS for _ in part[1:]],
        "scales": {
            name: packer.add(scalar_colours(np.linspace(0, 1, 256), scale=scale).colours, "u1")
            for name, scale in _SCALES.items()
        },
        "normalNames": {name: list(colour) for name, colour in NORMAL_COLOURS.items()},
    }
    return found, packer


def light_uniforms(light: Light) -> dict:
    """Return the light as uniforms of the view's shaders."""

    def unit(direction):
        return (np.asarray(direction) / np.linalg.norm(direction)).tolist()

    return {
        "keyDirection": unit(light.key.direction),
        "keyColour": list(light.key.colour),
        "fillDirection": unit(light.fill.direction),
        "fillColour": list(light.fill.colour),
        "sky": list(light.sky),
        "ground": list(light.ground),
        "softness": light.softness,
        "gloss": light.gloss,
    }


class _Mesh(NamedTuple):
    """A model's mesh as a page has it: `whole` is the face or the head, and `order` (V,) that of its vertices."""

    whole: FaceModel
    order: np.ndarray
    place: np.ndarray
    mean: np.ndarray
    modes: np.ndarray


@lru_cache(maxsize=4)
def _mesh(model: FaceModel, head: bool, deviations: tuple[float, ...] | None, step: float) -> _Mesh:
    """Pack the mesh of a model: it takes a second, and pages of one model share it."""
    whole = model.head if head and model.has_head else model
    mean, modes, triangles = whole.mean, whole.modes, whole.triangles
    if len(mean) > _MOST_VERTICES:
        raise ValueError(f"expected a model of at most {_MOST_VERTICES} vertices, got {len(mean)}")
    order = page_order(triangles, len(mean))
    place = np.argsort(order)
    lower = lower_neighbours(place[triangles], len(mean))
    modes = modes if deviations is None else modes * np.array(deviations)[:, None, None]
    packed = smooth_rest(mean[None, order], _MEAN_STEP, lower), smooth_rest(modes[:, order], step, lower)
    return _Mesh(whole, order, place, *packed)


def _model(
    model: FaceModel, packer: Packer, deviations: np.ndarray | None, head: bool, step: float
) -> tuple[dict, np.ndarray]:
    """Describe a face model for the page; also gives the order (V,) of its vertices there."""
    mesh = _mesh(model, head, None if deviations is None else tuple(deviations), step)
    whole, order, place = mesh.whole, mesh.order, mesh.place
    people, moods = len(model.identity_modes), len(model.expression_modes)
    unit = np.ones(moods) if deviations is None else np.asarray(deviations)[people:]
    meshes = {"face": model} | ({"head": whole} if whole is not model else {})
    colours = {"clay": _palette(clay(whole).colours[order], packer)}
    if whole.regions:
        regions = region_colours(whole)
        names = {name: list(colour) for name, colour in regions.names.items()}
        colours["region"] = _palette(regions.colours[order], packer) | {"names": names}
    return {
        "count": len(order),
        "whole": list(meshes)[-1],
        "people": people,
        "triangles": {
            name: packer.add(packed_triangles(place[one.triangles]), "i2") for name, one in meshes.items()
        },
        "views": {
            name: {"centre": view.centre.tolist(), "extent": view.extent}
            for name, view in ((name, framing(one)) for name, one in meshes.items())
        },
        "mean": packer.add(mesh.mean, "u2") | {"step": _MEAN_STEP, "fields": 1},
        "modes": packer.add(mesh.modes, "u2") | {"step": step, "fields": people + moods},
        "fade": packer.add(np.rint(255 * edge_fade(whole)[order]), "u1"),
        "order": packer.add(order, "u2"),
        "corners": packer.add(place[model.landmark_vertices], "u2"),
        "shares": packer.add(model.landmark_weights, "f4"),
        "colours": colours,
        "actions": {name: np.round(values / unit, 4).tolist() for name, values in model.actions.items()},
    }, order


def _face(face: LiveFace, packer: Packer, deviations: np.ndarray | None, order: np.ndarray) -> dict:
    heads = np.array(face.heads, dtype=float)
    if deviations is not None:
        heads[:, CAMERA:] /= deviations
    frame, about = face.frame, {}
    if face.texture is not None:
        about["texture"] = packer.add(face.texture[order], "u1")
    if face.image is not None:
        height, width = face.image.shape[:2]
        # In the photo's view; how far behind the face the photo stands, the page decides.
        ends = np.array([(x, y) for y in (-0.5, height - 0.5) for x in (-0.5, width - 0.5)])
        about["ends"] = ((ends - frame.origin[:2]) / frame.scale * [1, -1]).tolist()
        about["crop"] = list(face.crop)
    return about | {
        "title": face.title,
        "inPhoto": face.crop is not None,
        "caption": face.caption,
        "heads": packer.add(heads, "f4"),
        "weights": [float(weight) for weight in face.weights],
        "rotation": np.round(frame.rotation, 6).ravel().tolist(),
        # Crop pixels per mm.
        "scale": frame.scale * (1 if face.crop is None else CROP_SIZE / face.crop[2]),
    }


def _photo(image: np.ndarray) -> dict:
    height, width = image.shape[:2]
    return {"url": picture_url(image, _PHOTO_BYTES, sides=_PHOTO_SIDES), "width": width, "height": height}


def _palette(colours: np.ndarray, packer: Packer) -> dict:
    """Pack colours (V, 3) as numbers of a palette, or as they are if they are more than 256."""
    palette, index = np.unique(colours, axis=0, return_inverse=True)
    if len(palette) > 256:
        return {"colours": packer.add(colours, "u1")}
    return {"palette": packer.add(palette, "u1"), "index": packer.add(index.reshape(-1), "u1")}
