"""Small pictures for notebooks, without a background, so that they fit a light and a dark page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

_COLOURS = 256
_ROUNDS = 4


def without_background(draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """Remove the background from what `draw(grey)` draws on grey, (H, W, 3) uint8 RGB: (H, W, 4) uint8 RGBA.

    It is drawn on white and on black: the less a pixel differs between the two, the more opaque it is.
    """
    white, black = (draw(grey).astype(np.float32) for grey in (255, 0))
    opacity = 255 - (white - black).mean(axis=2, keepdims=True)
    colour = np.where(opacity > 0, black * 255 / np.maximum(opacity, 1), 0)
    return np.rint(np.clip(np.dstack([colour, opacity]), 0, 255)).astype(np.uint8)


def small_png(picture: np.ndarray) -> bytes:
    """Encode a picture (H, W, 4) uint8 RGBA as a PNG of at most 256 colours, much smaller than one with all.

    Colours are compared as seen on white and on black, by Lloyd's algorithm (k-means), which starts with the most
    frequent colours and some of the others. Pillow's `quantize` shows bands on a shaded face.
    """
    packed = np.ascontiguousarray(picture).view(np.uint32)[..., 0]
    known, index, counts = np.unique(packed, return_inverse=True, return_counts=True)
    known = known.view(np.uint8).reshape(-1, 4).astype(np.float64)
    on_black = known[:, :3] * known[:, 3:] / 255
    seen = np.hstack([on_black, on_black + 255 - known[:, 3:]])
    palette, nearest = seen, np.arange(len(seen))
    if len(seen) > _COLOURS:
        order, half = np.argsort(-counts, kind="stable"), _COLOURS // 2
        spread = np.linspace(half, len(seen) - 1, half).astype(int)
        palette = seen[order[[*range(half), *spread]]]
        # By their counts, the few pixels of a legend would get few of the colours.
        weights = np.sqrt(counts)
        for _ in range(_ROUNDS):
            nearest = cKDTree(palette).query(seen)[1]
            total = np.bincount(nearest, weights, _COLOURS)[:, None]
            sums = [np.bincount(nearest, weights * column, _COLOURS) for column in seen.T]
            palette = np.where(total > 0, np.stack(sums, axis=1) / np.maximum(total, 1e-9), palette)
        # Fully transparent pixels stay so.
        clear = np.flatnonzero(known[:, 3] == 0)
        palette[nearest[clear]] = seen[clear]
        nearest = cKDTree(palette).query(seen)[1]
    opacity = 255 - (palette[:, 3:] - palette[:, :3]).mean(axis=1, keepdims=True)
    colour = np.clip(palette[:, :3] * 255 / np.maximum(opacity, 1), 0, 255)
    small = Image.fromarray(nearest[index].astype(np.uint8).reshape(packed.shape), "P")
    small.putpalette(np.rint(np.hstack([colour, opacity])).astype(np.uint8).tobytes(), "RGBA")
    buffer = io.BytesIO()
    small.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def picture_bundle(content: bytes) -> dict[str, str]:
    """Bundle the bytes of a PNG or JPEG file for Jupyter, by MIME type."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return {f"image/{kind}": base64.b64encode(content).decode()}
