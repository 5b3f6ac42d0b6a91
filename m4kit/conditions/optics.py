"""Simulates faults of the camera, whatever the depth: defocus, motion blur, and a wet or dirty lens."""

from __future__ import annotations

import math

import cv2
import numpy as np

from m4kit.conditions.linear_light import blurred, clouds, coloured, convolved, mixed, three_channels, unit


def focus(light: np.ndarray, strength: float, random: np.random.Generator, _depth=None) -> np.ndarray:
    """Defocus: every point becomes a disc, the image of the aperture.

    Its radius, the circle of confusion, is 0.6 s + 0.24 s^2 pixels in a photo of 640 x 480. Clipped light counts as
    brighter than it shows, so that highlights spread as discs (bokeh).
    """
    radius = (0.6 * strength + 0.24 * strength**2) * unit(light)
    brightest = cv2.max(cv2.max(*cv2.split(light)[:2]), cv2.extractChannel(light, 2))
    clipped = np.clip(brightest - 0.95, 0, 0.05) / 0.05
    light = light * three_channels(1 + np.float32(0.6 * min(strength / 2, 1.0)) * clipped)
    return convolved(light, lambda scale: _disc(radius * scale), 2 * radius + 1)


def _disc(radius: float) -> np.ndarray:
    """A disc as a kernel of sum 1. A radius below one pixel blurs too."""
    line = np.linspace(-radius, radius, 2 * max(4, int(4 * radius)) + 1)
    x, y = (places.ravel() for places in np.meshgrid(line, line))
    inside = np.hypot(x, y) <= radius
    return _spread_over(x[inside], y[inside])


def motion(light: np.ndarray, strength: float, random: np.random.Generator, _depth=None) -> np.ndarray:
    """Motion blur: the camera moves along a line or a curve while the shutter is open.

    Each point is spread in linear light over a path of 2 s + 0.9 s^2 pixels in a photo of 640 x 480.
    """
    length = (2 * strength + 0.9 * strength**2) * unit(light)
    angle, bend = random.uniform(0, np.pi), random.choice([0.0, 1.0]) * random.uniform(-1.5, 1.5)
    return convolved(light, lambda scale: _path(length * scale, angle, bend), length)


def _path(length: float, angle: float, bend: float) -> np.ndarray:
    """A path of that length that turns by `bend` radians, as a centred kernel of sum 1."""
    steps = max(8, int(8 * length))
    direction = angle + bend * np.linspace(-0.5, 0.5, steps)
    x, y = (np.cumsum(f(direction)) * length / steps for f in (np.cos, np.sin))
    return _spread_over(x - x.mean(), y - y.mean())


def _spread_over(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A kernel of sum 1 that spreads a point evenly over places x (n,) and y (n,), in pixels from it."""
    reach = int(np.ceil(max(np.abs(x).max(), np.abs(y).max()))) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    left, top = np.floor(x + reach).astype(int), np.floor(y + reach).astype(int)
    right, down = x + reach - left, y + reach - top
    for dx, dy, share in (
        (0, 0, (1 - right) * (1 - down)),
        (1, 0, right * (1 - down)),
        (0, 1, (1 - right) * down),
        (1, 1, right * down),
    ):
        np.add.at(kernel, (top + dy, left + dx), share)
    return (kernel / kernel.sum()).astype(np.float32)


def lens(light: np.ndarray, strength: float, random: np.random.Generator, _depth=None) -> np.ndarray:
    """A wet and dirty lens: drops, smear, dirt, vignette (the cos^4 law) and flare.

    A drop acts as a lens: it shows the scene small, upside down and out of focus, with a dark rim.
    """
    light = smeared(light, strength, random)
    count = random.poisson(2.2 * strength)
    radii = unit(light) * (9 + 5 * strength) * random.lognormal(0, 0.5, count)
    light = drops(light, radii, random)
    dirt = np.clip((clouds(light.shape, random, cells=10) - 0.62) * 3, 0, 1)
    light = light * three_channels(1 - min(0.17 * strength, 0.8) * blurred(dirt, 3 * unit(light)))
    return flared(_vignetted(light, strength), strength, random)


def smeared(light: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Grease on the lens: a blur along the wipe, in patches."""
    angle, length = random.uniform(0, np.pi), 3 * strength * unit(light)
    # The next blur removes the detail that a smaller picture lacks.
    wiped = convolved(light, lambda scale: _path(length * scale, angle, 0.3), 2 * length)
    wiped = blurred(wiped, 0.8 * strength * unit(light))
    return mixed(
        light, wiped, np.clip(1.6 * clouds(light.shape, random, cells=3) - 0.8 + 0.16 * strength, 0, 1)
    )


def drops(light: np.ndarray, radii: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Drops on the lens, of these radii in pixels, at random places."""
    height, width = light.shape[:2]
    light = light.copy()
    if not len(radii):
        return light
    unsharp = blurred(light, 2.5 * unit(light))
    for radius in np.sort(radii).tolist():
        x, y = random.uniform(0, width), random.uniform(0, height)
        stretch = random.uniform(1.0, 1.35)
        left, right = (int(np.clip(x + side * radius, 0, width)) for side in (-1, 1))
        top, bottom = (int(np.clip(y + side * radius * stretch, 0, height)) for side in (-1, 1))
        if left >= right or top >= bottom:
            continue
        across, down = np.meshgrid(
            ((np.arange(left, right) - x) / radius).astype(np.float32),
            ((np.arange(top, bottom) - y) / (radius * stretch)).astype(np.float32),
        )
        squared = across**2 + down**2
        # Towards the rim the view bends further, over several radii of the drop.
        reach = np.float32(2.2 * radius) * (1 + squared)
        seen = cv2.remap(
            unsharp,
            (x - across * reach).astype(np.float32),
            (y - down * reach).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        shade = 1.08 - 0.75 * np.clip(squared - 0.55, 0, None) / 0.45
        glint = np.exp(-((across + 0.35) ** 2 + (down + 0.4) ** 2) / 0.02)
        seen = seen * three_channels(shade) + three_channels(0.5 * glint)
        edge = np.clip((1 - np.sqrt(squared)) * radius / max(1.5, 0.12 * radius), 0, 1)
        light[top:bottom, left:right] = mixed(light[top:bottom, left:right], seen, 0.9 * edge)
    return light


def _vignetted(light: np.ndarray, strength: float) -> np.ndarray:
    height, width = light.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32) * (width / max(height, width))
    y = np.linspace(-1, 1, height, dtype=np.float32) * (height / max(height, width))
    # cos^4 of the angle to the axis; its tangent at the end of the longer side grows with the strength.
    tangent = 0.22 * strength
    return light * three_channels(1 / (1 + np.float32(tangent**2) * (x[None] ** 2 + y[:, None] ** 2)) ** 2)


def flared(light: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Flare from a light near the frame's edge: a veil around it, and ghosts on the line through the centre."""
    height, width = light.shape[:2]
    angle = random.uniform(0, 2 * np.pi)
    source = 0.55 * math.cos(angle), 0.55 * math.sin(angle) * height / width
    x = (np.arange(width, dtype=np.float32) / width - 0.5)[None]
    y = ((np.arange(height, dtype=np.float32) - height / 2) / width)[:, None]
    veil = np.float32(0.10 * strength) / (1 + 9 * ((x - source[0]) ** 2 + (y - source[1]) ** 2))
    # The veil dims the scene by 0.4 of what it adds.
    light = mixed(light, np.array([1.0, 0.93, 0.82]) / 0.4, 0.4 * veil)
    ghosts = [(along, random.uniform(0.015, 0.06)) for along in random.uniform(-1.0, 0.3, round(strength))]
    tint = 0.017 * strength * random.uniform(0.4, 1.0, 3)
    for along, radius in ghosts:
        across, down = x - np.float32(source[0] * along), y - np.float32(source[1] * along)
        inside = tuple(_extent(np.abs(away.ravel()) <= radius) for away in (down, across))
        distance = np.hypot(across[:, inside[1]], down[inside[0]])
        if distance.size:
            ring = 0.4 + 0.6 * np.clip(distance / radius, 0, 1) ** 3
            light[inside] += coloured(np.clip((radius - distance) / 0.004, 0, 1) * ring, tint)
    return light


def _extent(mask: np.ndarray) -> slice:
    """From the first true place (n,) to the last."""
    places = np.flatnonzero(mask)
    return slice(places[0], places[-1] + 1) if len(places) else slice(0, 0)
