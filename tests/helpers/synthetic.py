"""Meshes of known form, and predictions on a grey photo."""

import numpy as np

from m4kit.prediction import Prediction


def sphere(*, centre=(0.0, 0.0, 0.0), radius=1.0, steps=96):
    """Vertices and triangles of a sphere in the photo's frame (y down), counter-clockwise from outside."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, steps + 1), np.linspace(0, 2 * np.pi, 2 * steps + 1))
    unit = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], axis=-1)
    index = np.arange(polar.size).reshape(polar.shape)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    triangles = np.concatenate([np.stack([a, c, b], axis=1), np.stack([a, d, c], axis=1)])
    vertices = radius * unit.reshape(-1, 3) + np.asarray(centre, dtype=float)
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # In a frame with y down the cross product of an outside triangle points inwards.
    assert ((normals * (corners.mean(axis=1) - centre)).sum(axis=1) < 1e-9).all()
    return vertices, triangles


def rectangle(left, top, right, bottom, z=0.0):
    """Two triangles, seen from outside by the viewer, that fill a rectangle of the photo."""
    vertices = np.array([[left, top, z], [left, bottom, z], [right, bottom, z], [right, top, z]], dtype=float)
    return vertices, np.array([[0, 1, 2], [0, 2, 3]])


def photo(height=200, width=200):
    """A mid-grey photo with a little texture."""
    noise = np.random.default_rng(0).integers(-6, 7, (height, width, 1))
    return np.broadcast_to(120 + noise, (height, width, 3)).astype(np.uint8)


def prediction(*faces, size=(200, 200), source="photo.jpg"):
    """A prediction of these faces on a grey photo of size (height, width)."""
    return Prediction(image=photo(*size), faces=faces, source=source)
