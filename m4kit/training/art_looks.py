"""Makes a photo look like art: a line drawing, a flat print, an engraving or a painting.

Pixels change and nothing moves, so labels stay exact. Crops are (S, S, 3) uint8 RGB. Lengths are for a crop of 120
pixels.
"""

from __future__ import annotations

import cv2
import numpy as np


def look_like_art(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Give a crop one of the looks, in a random strength and colour."""
    look = (line_drawing, flat_print, engraving, painting)[random.integers(4)]
    return look(crop, random)


def line_drawing(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw dark lines on paper where the photo is darker than its surroundings, sometimes with a little shade."""
    grey = _grey(crop)
    wide = cv2.GaussianBlur(grey, (0, 0), random.uniform(2, 6))
    lines = np.clip(1 - random.uniform(2, 7) * np.maximum(wide - grey - 0.015, 0) / (wide + 0.05), 0, 1)
    if random.random() < 0.4:
        lines = _step(lines, random.uniform(0.6, 0.8))
    shade = random.uniform(0.3, 0.9) if random.random() < 0.5 else 0.0
    return _inked(lines * (1 - shade * (1 - cv2.GaussianBlur(grey, (0, 0), 1.5))), random)


def flat_print(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Reduce the crop to a few flat colours, with or without contours, as in a comic or a woodblock print."""
    smooth = _kuwahara(crop, int(random.integers(2, 4))).astype(np.float32) / 255
    count = random.integers(2, 6)
    flat = np.round(smooth * count + random.uniform(-0.3, 0.3)) / count
    if random.random() < 0.3:
        flat = flat.mean(axis=2, keepdims=True) * random.uniform(0.6, 1.2, 3)
    if random.random() < 0.6:
        grey = _grey(crop)
        wide = cv2.GaussianBlur(grey, (0, 0), 2.5)
        flat = flat * _step(grey - wide, -random.uniform(0.02, 0.06), width=0.03)[..., None]
    return _pixels(flat)


def engraving(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Hatch the crop with lines that swell where it is dark, sometimes in two directions."""
    grey = cv2.createCLAHE(2.0, (4, 4)).apply(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)).astype(np.float32) / 255
    y, x = np.mgrid[: len(crop), : crop.shape[1]].astype(np.float32)
    turn, width = random.uniform(0, np.pi), random.uniform(2.2, 4.0) * len(crop) / 120
    paper = np.ones_like(grey)
    for angle, limit in ((turn, 1.0), (turn + random.uniform(0.6, 1.6), random.uniform(0.2, 0.6))):
        # Lines that follow the relief a little.
        phase = (np.cos(angle) * x + np.sin(angle) * y) / width + random.uniform(0, 1.5) * grey
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
        paper *= _step(wave - (1 - np.minimum(grey / limit, 1)), 0.0, width=0.5)
    keep = random.uniform(0.3, 0.8)
    return _inked(keep * grey + (1 - keep) * paper, random)


def painting(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Paint the crop with brush strokes (Kuwahara filter), on canvas, under warm varnish."""
    strokes = _kuwahara(crop, int(random.integers(1, 5))).astype(np.float32) / 255
    canvas = random.normal(scale=random.uniform(0, 0.06), size=strokes.shape[:2]).astype(np.float32)
    canvas = cv2.GaussianBlur(canvas, (0, 0), random.uniform(0.4, 1.2))
    varnish = np.array([1.0, random.uniform(0.85, 1.0), random.uniform(0.6, 1.0)])
    return _pixels(np.clip(strokes + canvas[..., None], 0, 1) ** random.uniform(0.7, 1.3) * varnish)


def _kuwahara(crop: np.ndarray, radius: int) -> np.ndarray:
    """Give each pixel the mean of the four squares at its corners that varies least (Kuwahara, 1976)."""
    side = radius + 1
    values = crop.astype(np.float32)
    grey = values.mean(axis=2)
    mean = cv2.blur(values, (side, side), anchor=(0, 0))
    spread = (
        cv2.blur(grey * grey, (side, side), anchor=(0, 0)) - cv2.blur(grey, (side, side), anchor=(0, 0)) ** 2
    )
    moves = [(0, 0), (radius, 0), (0, radius), (radius, radius)]
    spreads = np.stack([np.roll(spread, move, axis=(0, 1)) for move in moves])
    means = np.stack([np.roll(mean, move, axis=(0, 1)) for move in moves])
    least = spreads.argmin(axis=0)
    return np.take_along_axis(means, least[None, ..., None], axis=0)[0].astype(np.uint8)


def _inked(lightness: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw lightness (S, S), 0 to 1, in a dark ink on a light paper."""
    ink, paper = random.uniform(0, 0.3, 3), random.uniform(0.75, 1.0) * random.uniform((0.95, 0.9, 0.75), 1.0)
    return _pixels(ink + lightness[..., None] * (paper - ink))


def _step(values: np.ndarray, at: float, *, width: float = 0.15) -> np.ndarray:
    """Return 0 below a value and 1 above it, with a linear change of that width between them."""
    return np.clip((values - at) / width + 0.5, 0, 1)


def _grey(crop: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(255 * values, 0, 255).astype(np.uint8)
