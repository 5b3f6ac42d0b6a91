"""FaceBoxes' prior boxes, a grid of boxes that the detector's network moves onto faces, and its mean colour.

Small priors are denser than the grid, so that small faces overlap as many of them as large ones (anchor
densification; Zhang et al., "FaceBoxes: A CPU Real-time Face Detector with High Accuracy", IJCB 2017).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from m4kit.checks import read_only

MEAN_COLOUR = (123, 117, 104)
"""FaceBoxes subtracts this colour (RGB) from a picture, so that it means nothing, as does a convolution's padding."""
STRIDES = (32, 64, 128)
PRIOR_SIZES = ((32, 64, 128), (256,), (512,))
DENSITY = {32: 4, 64: 2}
"""Priors per row and column of a grid cell, by size; 1 for all other sizes."""
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
"""Units of the network's outputs: the shift of a prior, and the logarithm of its growth."""


@lru_cache(maxsize=16)
def prior_boxes(height: int, width: int) -> np.ndarray:
    """Make the prior boxes (P, 4) of a picture: centre x, y, width and height, in its pixels.

    Coordinates count from the upper left corner.
    """
    priors = []
    for stride, sizes in zip(STRIDES, PRIOR_SIZES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        # Dense priors start at the cell's corner, a single one is in its centre.
        cell = []
        for size in sizes:
            density = DENSITY.get(size, 1)
            offsets = np.arange(density) * stride / density if density > 1 else np.array([stride / 2])
            y, x = np.meshgrid(offsets, offsets, indexing="ij")
            side = np.full(x.size, size)
            cell.append(np.stack([x.ravel(), y.ravel(), side, side], axis=1))
        cell = np.concatenate(cell)
        y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
        corner = np.stack([x, y, np.zeros_like(x), np.zeros_like(x)], axis=-1)
        priors.append((corner[:, :, None] + cell).reshape(-1, 4))
    return read_only(np.concatenate(priors).astype(np.float32))


def decode(moves: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Compute boxes (P, 4), left, top, right, bottom, from the network's moves (P, 4) and the priors (P, 4)."""
    centre = priors[:, :2] + moves[:, :2] * CENTRE_VARIANCE * priors[:, 2:]
    half = priors[:, 2:] * np.exp(moves[:, 2:] * SIZE_VARIANCE) / 2
    return np.concatenate([centre - half, centre + half], axis=1)
