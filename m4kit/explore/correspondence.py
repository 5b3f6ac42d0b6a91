"""How far two networks' meshes of one face are apart, also if their face models differ."""

from __future__ import annotations

import numpy as np

from m4kit.prediction import Face, check_face
from m4kit.training.registration import register, similarity


def mesh_distance(face: Face, other: Face) -> np.ndarray:
    """Measure the distance (V,) in mm of each of a face's vertices from the same place of another face.

    Both faces are compared without their poses, and the other one is first scaled, turned and moved to where it fits
    best: a photo does not show the size of a face, and each model has a frame of its own.

    If the other face has a model with another mesh, such as the Basel Face Model, its surface is searched for the
    face's vertices (`training.registration.register`), which takes some seconds. What has no partner there is NaN:
    the inside of the mouth, the eyeballs, and places beyond the other mesh's edge.
    """
    check_face(face, "mesh_distance")
    check_face(other, "mesh_distance")
    if np.array_equal(face.triangles, other.triangles):
        places, known = other.shape.astype(float), np.ones(len(face.shape), bool)
    else:
        # Registration is for faces without expression.
        neutral = other.model.vertices(other.identity).astype(float)
        found = register(face.model, other.model, neutral)
        places, known = found.points(other.shape.astype(float)), found.valid
    scale, rotation, shift = similarity(places[known], face.shape[known].astype(float))
    distance = np.linalg.norm(scale * places @ rotation.T + shift - face.shape, axis=1)
    return np.where(known, distance, np.nan)
