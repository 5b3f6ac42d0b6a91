"""Finds m4kit's face model on the Basel Face Model (BFM), from the user's own BFM file: dense correspondence.

Training alone needs it: 3DDFA-V2's networks answer in the BFM, and labels are in our model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu

from m4kit.face_model import FaceModel
from m4kit.open3d_loading import load_open3d
from m4kit.render import vertex_normals


@dataclass(frozen=True)
class Registration:
    """Where each vertex of our model lies on the BFM's surface.

    `corners` (V, 3) are BFM vertices and `weights` (V, 3) their barycentric weights; `valid` (V,) marks vertices with
    a trustworthy partner. `model_distance` and `final_distance` are mean distances in mm from our skin to the BFM's
    surface, after the fit of the 50 modes and after the non-rigid fit.
    """

    corners: np.ndarray
    weights: np.ndarray
    valid: np.ndarray
    model_distance: float
    final_distance: float

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """Return the points (..., V, 3) of BFM meshes (..., V_bfm, 3) that correspond to our vertices."""
        return (vertices[..., self.corners, :] * self.weights[:, :, None]).sum(-2)


def register(model: FaceModel, bfm: FaceModel, target: np.ndarray, *, iterations: int = 40) -> Registration:
    """Find our model's vertices on the mean, neutral BFM mesh `target` (V_bfm, 3) in mm.

    Non-rigid ICP in three stages: a similarity from the 68 landmarks; similarity and the 50 modes on closest points;
    a smooth displacement with Laplacian regularisation of falling stiffness.
    """
    surface = Surface(target, bfm.triangles)
    mean, modes = model.mean.astype(float), model.modes.astype(float)
    triangles = model.triangles
    skin = ~(model.regions["eyeballs"] | model.regions["mouth_inside"])
    bfm_landmarks = bfm.points(target).astype(float)
    our_landmarks = model.landmarks().astype(float)
    scale, rotation, translation = similarity(our_landmarks, bfm_landmarks)
    coefficients = np.zeros(len(modes))
    landmark_modes = model.landmark_modes.astype(float)
    for step in range(iterations):
        shape = mean + np.tensordot(coefficients, modes, 1)
        placed = scale * shape @ rotation.T + translation
        match = surface.match(placed, triangles)
        use = skin & match.trusted(20 if step < 10 else 8)
        landmarks = our_landmarks + np.tensordot(coefficients, landmark_modes, 1)
        weight = 0.1 * use.sum() / 68 if step < 10 else 0.01 * use.sum() / 68
        scale, rotation, translation = similarity(
            np.vstack([shape[use], landmarks]),
            np.vstack([match.points[use], bfm_landmarks]),
            np.concatenate([np.ones(use.sum()), np.full(68, weight)]),
        )
        back = (match.points[use] - translation) @ rotation / scale
        back_landmarks = (bfm_landmarks - translation) @ rotation / scale
        root = np.sqrt(weight)
        left = np.vstack(
            [modes[:, use].reshape(len(modes), -1).T, root * landmark_modes.reshape(len(modes), -1).T]
        )
        right = np.concatenate([(back - mean[use]).ravel(), root * (back_landmarks - our_landmarks).ravel()])
        prior = 0.02 * len(back) * np.eye(len(modes))
        coefficients = np.linalg.solve(left.T @ left + prior, left.T @ right)
    fitted = scale * (mean + np.tensordot(coefficients, modes, 1)) @ rotation.T + translation
    match = surface.match(fitted, triangles)
    use = skin & match.trusted(15)
    model_distance = float(match.distance[use].mean())

    finished = fitted
    laplacian = _laplacian(triangles, len(mean))
    for stiffness in (30.0, 10.0, 3.0, 1.0, 1.0):
        match = surface.match(finished, triangles)
        trust = (skin & match.trusted(6)).astype(float)
        system = (
            diags_array(trust) + stiffness * laplacian.T @ laplacian + 1e-6 * diags_array(np.ones(len(mean)))
        )
        solver = splu(system.tocsc())
        finished = finished + np.column_stack(
            [solver.solve(trust * (match.points - finished)[:, axis]) for axis in range(3)]
        )
    match = surface.match(finished, triangles)
    valid = skin & match.trusted(2)
    return Registration(
        corners=match.corners,
        weights=match.weights,
        valid=valid,
        model_distance=model_distance,
        final_distance=float(match.distance[use].mean()),
    )


def similarity(source, target, weights=None):
    """Find the scale (...), rotation (..., 3, 3) and translation (..., 3) that best map points onto others.

    `source` and `target` are (..., n, 3), and `weights` (n,) weigh the points (Umeyama, 1991).
    """
    share = np.ones(source.shape[-2]) if weights is None else weights
    share = (share / share.sum())[:, None]
    source_centre, target_centre = ((one * share).sum(-2, keepdims=True) for one in (source, target))
    a, b = source - source_centre, target - target_centre
    u, singular, vt = np.linalg.svd((b * share).mT @ a)
    sign = np.ones_like(singular)
    sign[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = (singular * sign).sum(-1) / (a * a * share).sum((-2, -1))
    translation = target_centre - scale[..., None, None] * source_centre @ rotation.mT
    return scale, rotation, translation[..., 0, :]


@dataclass(frozen=True)
class _Match:
    points: np.ndarray
    corners: np.ndarray
    weights: np.ndarray
    distance: np.ndarray
    facing: np.ndarray
    border: np.ndarray

    def trusted(self, furthest: float) -> np.ndarray:
        return (self.distance < furthest) & (self.facing > 0.6) & ~self.border


class Surface:
    """A mesh (V, 3) with triangles (T, 3) that finds its points closest to given ones."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        o3d = load_open3d()
        self.vertices, self.triangles = vertices, triangles
        self.scene = o3d.t.geometry.RaycastingScene()
        self.scene.add_triangles(
            o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(triangles.astype(np.uint32))
        )
        self.tensor = o3d.core.Tensor
        edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        unique, count = np.unique(edges, axis=0, return_counts=True)
        self.border = np.zeros(len(vertices), dtype=bool)
        self.border[unique[count == 1]] = True

    def closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the closest points to (n, 3): vertices and weights of their triangles, and normals, each (n, 3)."""
        answer = self.scene.compute_closest_points(self.tensor(points.astype(np.float32)))
        corners = self.triangles[answer["primitive_ids"].numpy().astype(np.int64)]
        uv = answer["primitive_uvs"].numpy().astype(np.float64)
        return corners, np.column_stack([1 - uv.sum(1), uv]), answer["primitive_normals"].numpy()

    def match(self, points: np.ndarray, triangles: np.ndarray) -> _Match:
        """Find the partners of a mesh's vertices (n, 3)."""
        corners, weights, theirs = self.closest(points)
        found = (self.vertices[corners] * weights[:, :, None]).sum(1)
        # `vertex_normals` expects the photo's frame, in which y points down.
        normals = vertex_normals(points, triangles) * [-1, 1, -1]
        return _Match(
            points=found,
            corners=corners,
            weights=weights,
            distance=np.linalg.norm(found - points, axis=1),
            facing=(normals * theirs).sum(1),
            border=self.border[corners].any(1),
        )


def _laplacian(triangles: np.ndarray, vertices: int):
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    both = np.vstack([edges, edges[:, ::-1]])
    adjacency = coo_array((np.ones(len(both)), both.T), shape=(vertices, vertices)).tocsr()
    degree = np.maximum(adjacency.sum(1), 1)
    return diags_array(np.ones(vertices)) - diags_array(1 / degree) @ adjacency
