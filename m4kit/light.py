"""Shades surfaces with two lamps and ambient light, darker in hollows.

Directions and normals are unit vectors with x right, y up, z towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_GAMMA = np.float32(1 / 2.2)
"""From linear light to sRGB."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """A distant light. `direction` points towards it, `colour` is linear RGB."""

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Light:
    """How a mesh is lit. The default suits a portrait: a warm key light from the upper left and a cool fill light.

    The fill light is strong enough that no shadow is black.

    `key` and `fill` are Lambertian. `softness` in [0, 1] smooths the border between light and shadow, as large lamps
    do. `sky` and `ground` are ambient light from above and below, linear RGB. `gloss` is the strength of a broad
    highlight, `cavity` in [0, 1] how much hollows (nostrils, lids, lips) darken.
    """

    key: Lamp = Lamp((-0.6, 0.7, 0.65), (0.88, 0.835, 0.78))
    fill: Lamp = Lamp((0.9, 0.0, 0.4), (0.15, 0.165, 0.19))
    sky: tuple[float, float, float] = (0.14, 0.148, 0.16)
    ground: tuple[float, float, float] = (0.085, 0.08, 0.077)
    softness: float = 0.3
    gloss: float = 0.07
    cavity: float = 0.65


def lit(normals: np.ndarray, albedo: np.ndarray, light: Light) -> np.ndarray:
    """Compute the light from points with unit normals (n, 3), without hollows: (n, 3), sRGB, 1 is white, or more.

    `albedo`, (3,) or (n, 3), is linear in [0, 1].
    """
    key, fill = (np.array(lamp.direction, dtype=np.float32) for lamp in (light.key, light.fill))
    key, fill = key / np.linalg.norm(key), fill / np.linalg.norm(fill)
    halfway = key + np.array([0, 0, 1], dtype=np.float32)
    halfway /= np.linalg.norm(halfway)
    towards = normals @ np.stack([key, fill], axis=1)
    # A smooth max(x, 0).
    towards = (towards + np.sqrt(towards * towards + np.float32(light.softness**2))) / 2
    up = 0.5 + 0.5 * normals[:, 1]
    lamps = np.array([light.key.colour, light.fill.colour, light.sky, light.ground], dtype=np.float32)
    highlight = np.maximum(normals @ halfway, 0) ** 18
    received = np.column_stack([towards, up, 1 - up]) @ lamps * albedo
    return (received + np.outer(highlight, light.gloss * lamps[0])) ** _GAMMA


def darkened(hollow: np.ndarray, light: Light) -> np.ndarray:
    """Compute which share of the light (sRGB), 0 to 1, is left at points of hollows that are 0 to 1 deep."""
    return (1 - np.float32(light.cavity) * hollow) ** _GAMMA
