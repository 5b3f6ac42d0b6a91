"""Faces that no coefficients of the face model give: caricatures, and meshes that follow a drawing's landmarks.

The face that comes back has a model with a mean of its own (`FaceModel.with_mean`), so that whatever takes a face
takes it, too. Its coefficients stay those of the face before. Give `face.head` to move the whole head.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from m4kit.camera import crop_from_landmarks
from m4kit.checks import check_number, check_shape
from m4kit.face_model import LANDMARKS, FaceModel, check_model
from m4kit.landmarks import face_box
from m4kit.parameters import join
from m4kit.prediction import Face, FaceBox, check_face

FADE = 25.0
"""Millimetres from the mesh's edge within which an exaggeration fades."""

STIFFNESS = 30.0
"""The default stiffness of `free_form` in mm^2.

It, `REACH` and `PLAUSIBLE` are chosen on 40 faces of YouTube Faces: as they are, with twice their deviation from the
mean face, and with one part enlarged. Each third of the landmarks was predicted from the others.
"""

PLAUSIBLE = 0.03
"""The noise of `FaceModel.fit` below a free form: it leaves to the free form what real faces do not look like."""

REACH = 30.0
"""Millimetres beyond the landmarks within which a free form fades."""


def fit_face(model: FaceModel, landmarks: np.ndarray, *, noise: float = 0.01, iterations: int = 60) -> Face:
    """Fit the face of a model to landmarks (68, 2 or 3) in photo pixels, without a network.

    Only x and y count. `noise`, `iterations` and the errors are those of `FaceModel.fit`.
    """
    points = np.asarray(landmarks, dtype=float)[..., :2]
    fit = check_model(model).fit(points * [1, -1], noise=noise, iterations=iterations)
    crop = crop_from_landmarks(points)
    camera = fit.camera[0].astype(float)
    # From photo pixels, y up, to the crop frame.
    camera[:2, 3] = crop.from_photo(camera[:2, 3] * [1, -1])
    camera[:, :3] /= crop.scale
    parameters = join(camera, fit.identity[0], fit.expression[0])
    return Face(FaceBox(*face_box(points).tolist()), crop, parameters[None], np.ones(1), model)


def exaggerate(face: Face, k: float, *, reference: np.ndarray | None = None) -> Face:
    """Make a caricature: k times as far from the reference as the face is.

        v' = r + (1 + (k - 1) f) (v - r)

    k = 1 is the face itself, 0 the reference, and below 0 is the opposite. `reference` (V, 3) is a shape in mm; by
    default the mean face with the face's expression, so that k scales the identity. With a fit's shape as the
    reference, k scales what `follow` added to it; with another person's, what tells the two apart (Brennan,
    *Caricature Generator*, Leonardo 1985). The fade f goes from 0 at the mesh's edge to 1 at `FADE` mm from it, so
    that the edge still fits its surroundings.

    Raises `ValueError` for a k that is no finite number or a reference of another shape.
    """
    check_face(face, "exaggerate")
    check_number(k, "k")
    if reference is None:
        reference = face.model.vertices(None, face.expression)
    reference = check_shape(reference, "reference", face.shape.shape)
    return _moved(face, (k - 1) * edge_fade(face.model)[:, None] * (face.shape - reference))


def follow(face: Face, landmarks: np.ndarray, *, stiffness: float = STIFFNESS) -> Face:
    """Bend a face beyond its model: the mesh moves smoothly towards landmarks (68, 2 or 3) in photo pixels.

    Only x and y count: each vertex moves parallel to the photo's plane, as `free_form` says. Take a face that is
    plausible by itself, `fit_face(model, landmarks, noise=PLAUSIBLE)` or a network's. Raises `ValueError` for
    landmarks of another shape or not finite.
    """
    check_face(face, "follow")
    points = check_shape(np.asarray(landmarks)[..., :2], "landmarks", (LANDMARKS, 2))
    missed = face.crop.from_photo(points) - face.crop.from_photo(face.landmarks[:, :2])
    moves = missed @ in_millimetres(face.camera)
    return _moved(face, free_form(face.model, moves, stiffness=stiffness))


def in_millimetres(camera: np.ndarray) -> np.ndarray:
    """Compute the matrix (2, 3) from moves in a camera's picture to the shortest moves in mm that look like them."""
    return np.linalg.pinv(np.asarray(camera, dtype=float)[:2, :3]).T


def free_form(
    model: FaceModel,
    moves: np.ndarray,
    *,
    stiffness: float = STIFFNESS,
    landmarks: np.ndarray | None = None,
) -> np.ndarray:
    """Find the smoothest moves (V, d) of a mesh whose landmarks move by about `moves` (68, d), all in mm.

    `landmarks` (k,) are the numbers of those that `moves` (k, d) are for, by default all.

    The moves D minimise

        stiffness * integral |(laplace - 1 / REACH^2) D|^2 + sum |D at landmark i - moves i|^2

    as in Laplacian mesh editing (Sorkine et al., SGP 2004), with the cotangent Laplacian of the mean face (Pinkall
    and Polthier, 1993), here on the moves, so that the face's own detail stays. The term with `REACH` lets the moves
    fade away from the landmarks. The solution is linear in `moves`: D = C (G + stiffness I)^-1 moves, where C (V, 68)
    answers to a pull at each landmark, and G (68, 68) is C at the landmarks. Parts that do not touch the face's
    surface, such as eyeballs, follow it as a whole.
    """
    check_number(stiffness, "stiffness", above=0)
    answers, at_landmarks = _answers(model)
    own = np.arange(LANDMARKS) if landmarks is None else landmarks
    pulls = np.linalg.solve(at_landmarks[np.ix_(own, own)] + stiffness * np.eye(len(own)), moves)
    return answers[:, own] @ pulls


def edge_distortion(vertices: np.ndarray, reference: np.ndarray, triangles: np.ndarray) -> float:
    """Average |log(length / length in the reference)| over the edges of a mesh (V, 3) with `triangles` (T, 3).

    0 means that no length changes, 0.1 that edges are about 10 % longer or shorter.
    """
    ends = _edges(triangles)[0]
    lengths, before = (
        np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1) for points in (vertices, reference)
    )
    return float(np.abs(np.log(lengths / before)).mean())


@lru_cache(maxsize=4)
def edge_fade(model: FaceModel) -> np.ndarray:
    """Weight each vertex, (V,): 0 at the open edge of the mesh, 1 from `FADE` mm on, smooth between."""
    # Slow to import.
    from scipy.spatial import cKDTree

    mean, surface, others = _surface(model)
    ends, count = _edges(model.triangles)
    border = np.unique(ends[(count == 1) & surface[ends[:, 0]]])
    if not len(border):
        return np.ones(len(mean))
    share = np.clip(cKDTree(mean[border]).query(mean)[0] / FADE, 0, 1)
    return _carried(share**2 * (3 - 2 * share), others)


def _moved(face: Face, moves: np.ndarray) -> Face:
    """Move the vertices of a face by (V, 3) mm; nobody has judged how well it fits the photo then."""
    model = face.model.with_mean(face.model.mean + moves)
    origin = face.origin and replace(face.origin, network="", assess=None)
    return replace(face, model=model, origin=origin)


@lru_cache(maxsize=4)
def _answers(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Compute C (V, 68) and G (68, 68) of `free_form`."""
    # Slow to import.
    from scipy.sparse import csc_matrix, diags
    from scipy.sparse.linalg import splu

    mean, surface, others = _surface(model)
    laplacian, areas = _laplacian(mean, model.triangles)
    rows = np.repeat(np.arange(LANDMARKS), 3)
    weights = model.landmark_weights.astype(float)
    at_landmarks = csc_matrix(
        (weights.ravel(), (rows, model.landmark_vertices.ravel())), shape=(LANDMARKS, len(mean))
    )[:, surface]
    laplacian, areas = laplacian[surface][:, surface], areas[surface]
    screened = laplacian + diags(areas / REACH**2)
    energy = screened @ diags(1 / areas) @ screened
    answers = np.zeros((len(mean), LANDMARKS))
    answers[surface] = splu(energy.tocsc()).solve(at_landmarks.T.toarray())
    return _carried(answers, others), at_landmarks @ answers[surface]


def _laplacian(vertices: np.ndarray, triangles: np.ndarray):
    """Compute the cotangent Laplacian, (V, V) sparse and positive semidefinite, and each vertex's area, (V,)."""
    from scipy.sparse import coo_matrix, diags

    count, off = len(vertices), 0
    areas = np.zeros(count)
    for corner in range(3):
        a, b, c = np.roll(triangles, -corner, axis=1).T
        one, other = vertices[b] - vertices[a], vertices[c] - vertices[a]
        doubled = np.maximum(np.linalg.norm(np.cross(one, other), axis=1), 1e-9)
        half = (one * other).sum(1) / doubled / 2
        off = off + coo_matrix((np.tile(half, 2), (np.r_[b, c], np.r_[c, b])), shape=(count, count)).tocsr()
        areas += np.bincount(a, doubled / 6, count)
    return diags(np.asarray(off.sum(axis=1))[:, 0]) - off, areas


def _surface(model: FaceModel) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Return the mean, a mask (V,) of the surface, and the other parts.

    The surface is the connected part with the landmarks. Each other part, such as an eyeball, is its mask (V,) and
    the numbers of the vertices beside it on the surface.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    mean = model.mean.astype(float)
    ends = _edges(model.triangles)[0]
    graph = coo_matrix((np.ones(len(ends)), ends.T), shape=(len(mean),) * 2)
    part = connected_components(graph, directed=False)[1]
    main = np.bincount(part[model.landmark_vertices.ravel()]).argmax()
    surface = np.flatnonzero(part == main)
    tree = cKDTree(mean[surface])
    masks = [part == number for number in np.unique(part) if number != main]
    return mean, part == main, [(mask, surface[tree.query(mean[mask])[1]]) for mask in masks]


def _carried(values: np.ndarray, others: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Give each part that does not touch the surface the mean of the values (V, ...) at the surface beside it."""
    for mask, beside in others:
        values[mask] = values[beside].mean(axis=0)
    return values


def _edges(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the edges of a mesh, (E, 2), and how many triangles each has, (E,)."""
    ends = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    # As one number each, which sort much faster than pairs.
    base = ends.max() + 1
    keys, count = np.unique(ends @ [base, 1], return_counts=True)
    return np.stack(np.divmod(keys, base), axis=1), count
