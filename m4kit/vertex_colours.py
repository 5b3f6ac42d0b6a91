"""Colours of a face's vertices: the photo, the shape, or how sure the network is.

Numbers (depth, distances) become colours through matplotlib's colour maps. `VertexColours` keeps the numbers too, for
legends and hovers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from m4kit.camera import decompose
from m4kit.checks import check_choice, check_shape, read_only
from m4kit.images import check_image
from m4kit.parameters import split_camera
from m4kit.prediction import check_face
from m4kit.render import PORCELAIN, vertex_normals
from m4kit.texture import SKIN, photo_colours

if TYPE_CHECKING:
    from m4kit.face_model import FaceModel
    from m4kit.prediction import Face

REGION_COLOURS = (
    *((86, 156, 214), (242, 142, 43), (225, 87, 89), (118, 183, 178), (89, 161, 79)),
    *((237, 201, 72), (176, 122, 161), (255, 157, 167), (156, 117, 95), (186, 176, 172)),
    *((0, 134, 149), (148, 191, 92), (96, 82, 164), (40, 52, 84), (240, 236, 222), (158, 42, 66)),
)
"""Colours of the model's regions, in their order."""

NORMAL_COLOURS = {"to the right": (255, 128, 128), "up": (128, 255, 128), "to the viewer": (128, 128, 255)}
"""Colours of normals along the axes of the photo's view."""

PART_COLOURS = {
    "mouth_inside": (150, 78, 74),
    "tongue": (184, 98, 94),
    "teeth": (246, 241, 228),
    "eyeballs": (238, 238, 238),
    "irises": (98, 120, 136),
    "pupils": (28, 26, 26),
}
"""Colours in clay of the model's regions that are no skin; a later one covers an earlier one."""

_MOUTH = ("mouth_inside", "tongue", "teeth")
_MOUTH_DEPTH, _MOUTH_LIGHTNESS = (10.0, 28.0), (1.0, 0.15)
"""Millimetres behind the lips between which the mouth gets darker, and the shares of its colours at both."""

_RIM = 0.55
"""The lightness of an iris at its rim."""


@dataclass(frozen=True)
class VertexColours:
    """One colour per vertex, `colours` (V, 3) uint8 sRGB, and what the colours mean.

    For numbers: `values` (V,), their `unit`, and the `limits` at the ends of the colour `scale` (a name of
    matplotlib's). For the photo: `filled` (V,) bool marks vertices that the photo does not show. For named things,
    such as regions: `names` with the colour of each.
    """

    colours: np.ndarray
    values: np.ndarray | None = None
    unit: str = ""
    limits: tuple[float, float] | None = None
    scale: str = ""
    filled: np.ndarray | None = None
    names: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether the colours are those of clay, which strong light and shade may change."""
        return self.values is None and self.filled is None and not self.names


def vertex_colours(
    face: Face,
    mode: str,
    *,
    image: np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
) -> VertexColours:
    """Colour a face's vertices in one of the `MODES`.

    - `texture`: the colours of the photo that the face was found in, or of `image` (H, W, 3) uint8 RGB. What the
      photo does not show, or shows hair or the background on, is filled with the skin's tone; see `m4kit.texture`.
    - `clay`: one colour for skin; eyes, teeth, tongue and the inside of the mouth have their own (`PART_COLOURS`).
    - `region`: a colour for each part of the face.
    - `normals`: the direction of the surface in the photo's view, (x, y, z) as (R, G, B).
    - `depth`: mm towards the viewer, counted from the farthest vertex.
    - `distance`: mm between the face's shape and the mean face, positive outward (`distance_from_mean`), without
      pose.
    - `spread`: mm between the heads: root mean square distance of their vertices from the fused vertices.

    `limits` (low, high) are the ends of the colour scale of a mode with numbers, to show several faces on one scale.
    By default they follow from this face.

    Raises `ValueError` for an unknown mode, a texture without a photo, a model without regions, a face of one head,
    and limits that are not (low, high).
    """
    check_face(face, "colour")
    check_choice(mode, "colour", MODES)
    coloured = texture(face, image) if mode == "texture" else MODES[mode](face)
    if limits is None:
        return coloured
    if coloured.values is None:
        raise ValueError(f"colour {mode}: expected no limits, because it shows no numbers, got {limits}")
    low, high = check_shape(limits, "limits", (2,), "numbers")
    if not low < high:
        raise ValueError(f"expected limits (low, high), the lower one first, got {limits}")
    return scalar_colours(
        coloured.values, unit=coloured.unit, limits=(float(low), float(high)), scale=coloured.scale
    )


def scalar_colours(
    values: np.ndarray,
    *,
    unit: str = "",
    limits: tuple[float, float] | None = None,
    scale: str = "viridis",
) -> VertexColours:
    """Colour numbers (n,). Without `limits` the scale goes from the lowest number, or 0, to the highest."""
    values = np.asarray(values, dtype=float)
    if limits is None:
        limits = (min(0.0, float(values.min())), float(values.max()))
    low, high = limits
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    colours = _table(scale).take(np.rint(share * 255).astype(int), axis=0)
    return VertexColours(colours, values, unit, limits, scale)


def on_one_scale(coloured: Sequence[VertexColours]) -> list[VertexColours]:
    """Put several colourings on one colour scale, from the lowest limit to the highest.

    Colourings without numbers stay as they are.
    """
    limits = [one.limits for one in coloured if one.values is not None]
    if len(limits) < 2:
        return list(coloured)
    joint = min(low for low, _ in limits), max(high for _, high in limits)
    return [
        one
        if one.values is None
        else scalar_colours(one.values, unit=one.unit, limits=joint, scale=one.scale)
        for one in coloured
    ]


def texture(face: Face, image: np.ndarray | None = None) -> VertexColours:
    """Colour each vertex as the photo does; see `vertex_colours`."""
    if image is None and face.origin is None:
        raise ValueError(
            "colour texture: expected the photo of a face that no Predictor made; give it as image="
        )
    image = check_image(face.origin.image if image is None else image, name="texture of the photo")
    colours, filled = photo_colours(face, image)
    return VertexColours(colours, filled=filled)


@lru_cache(maxsize=4)
def clay(model: FaceModel) -> VertexColours:
    """Colour a model's vertices as clay; the mouth gets darker inwards."""
    colours = np.tile(np.float32(PORCELAIN), (len(model.mean), 1))
    parts = {name: model.regions[name] for name in PART_COLOURS if name in model.regions}
    for name, mask in parts.items():
        colours[mask] = PART_COLOURS[name]
    if "irises" in parts:
        triangles = model.triangles
        iris = parts["irises"][triangles]
        colours[np.unique(triangles[iris & ~iris.all(axis=1, keepdims=True)])] *= _RIM
    if mouth := [parts[name] for name in _MOUTH if name in parts]:
        inside, depth = np.any(mouth, axis=0), model.mean[:, 2]
        behind = depth[inside].max() - depth[inside]
        colours[inside] *= np.interp(behind, _MOUTH_DEPTH, _MOUTH_LIGHTNESS)[:, None]
    return VertexColours(read_only(np.rint(colours).astype(np.uint8)))


def region_colours(model: FaceModel) -> VertexColours:
    """Colour each region of a model's vertices; raises `ValueError` for a model without regions."""
    regions = model.regions
    if not regions:
        raise ValueError("colour region: this face model names no regions; choose another colour")
    colours, names = np.tile(np.uint8(SKIN), (len(model.mean), 1)), {}
    for number, (name, mask) in enumerate(regions.items()):
        colour = REGION_COLOURS[number % len(REGION_COLOURS)]
        colours[mask] = colour
        names[name.replace("_", " ")] = colour
    return VertexColours(colours, names=names)


def _normals(face: Face) -> VertexColours:
    normals = vertex_normals(face.vertices, face.triangles)
    return VertexColours(np.rint(127.5 * (normals + 1)).astype(np.uint8), names=dict(NORMAL_COLOURS))


def _depth(face: Face) -> VertexColours:
    depth = face.vertices[:, 2] / (decompose(face.camera)[0] * face.crop.scale)
    return scalar_colours(depth - depth.min(), unit="mm towards the viewer", scale="cividis")


def distance_from_mean(model: FaceModel, shape: np.ndarray, *, least: float = 1e-3) -> VertexColours:
    """Colour the distance of a shape (V, 3) in mm from the model's mean face.

    It is measured along the mean face's normals: positive outward, negative inward. 0 is in the middle of the scale,
    which reaches the largest distance, at least `least` mm, to both sides.
    """
    distance = ((shape - model.mean) * _mean_normals(model)).sum(1)
    limit = max(float(np.abs(distance).max()), least)
    return scalar_colours(distance, unit="mm outward from the mean", limits=(-limit, limit), scale="coolwarm")


def _spread(face: Face) -> VertexColours:
    if len(face.heads) < 2:
        raise ValueError(
            f"colour spread: expected a face with several heads, got {len(face.heads)}, which cannot differ; "
            "choose another colour"
        )
    coefficients = split_camera(face.heads)[1] - split_camera(face.parameters)[1]
    offsets = np.tensordot(np.float32(coefficients), face.model.modes, axes=1)
    return scalar_colours(
        np.sqrt(np.square(offsets).sum(-1).mean(0)), unit="mm between the heads", scale="inferno"
    )


@lru_cache(maxsize=2)
def _mean_normals(model: FaceModel) -> np.ndarray:
    """Compute outward unit normals of the mean face, (V, 3)."""
    return vertex_normals(model.mean * [1, -1, 1], model.triangles)


@cache
def _table(scale: str) -> np.ndarray:
    """Return a colour map as a table (256, 3) uint8."""
    from matplotlib import colormaps

    return np.rint(colormaps[scale](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.uint8)


MODES: dict[str, Callable[..., VertexColours]] = {
    "clay": lambda face: clay(face.model),
    "texture": texture,
    "depth": _depth,
    "normals": _normals,
    "distance": lambda face: distance_from_mean(face.model, face.shape),
    "spread": _spread,
    "region": lambda face: region_colours(face.model),
}
"""The colour modes by name."""
