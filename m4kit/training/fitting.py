"""Fits the face model to points in crops, frame by frame or with one identity for all frames of a person."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from m4kit.face_model import EXPRESSION_MODES, IDENTITY_MODES, FaceModel
from m4kit.parameters import PARAMETERS, join, split_camera
from m4kit.training.registration import similarity

LANDMARK_NOISE = 1.0
DENSE_NOISE = 2.0
"""Assumed errors of the teachers' landmarks and dense points, in crop pixels."""

COEFFICIENTS = IDENTITY_MODES + EXPRESSION_MODES

_BATCH, _STEPS = 500, 25


class Prior(NamedTuple):
    """A normal distribution of the 50 coefficients: their means (50,) and standard deviations (50,)."""

    mean: np.ndarray
    deviation: np.ndarray


STANDARD = Prior(np.zeros(COEFFICIENTS), np.ones(COEFFICIENTS))
"""The face model's own."""


def fit(
    model: FaceModel,
    vertices: np.ndarray,
    points: np.ndarray,
    *,
    prior: Prior = STANDARD,
    identity: np.ndarray | None = None,
    landmark_noise: float = LANDMARK_NOISE,
) -> np.ndarray:
    """Fit raw parameters (n, 62) to points (n, 68 + dense, 3): the landmarks, then these vertices.

    Alternates between the weak-perspective camera (orthogonal Procrustes in 3D) and the 50 coefficients (maximum a
    posteriori under `prior`). With `identity` (n, 40) only camera and expression are fitted. The camera's depth
    offset, which no point determines, is 0.
    """
    mean, modes = _points(model, vertices)
    noise = np.full(len(mean), DENSE_NOISE)
    noise[:68] = landmark_noise
    start = np.tile(prior.mean, (len(points), 1))
    # Coefficients are start + z @ factor.T, with a standard normal z.
    factor = np.diag(prior.deviation)
    if identity is not None:
        start[:, :IDENTITY_MODES], factor = identity, factor[:, IDENTITY_MODES:]
    basis = modes.reshape(len(modes), -1)
    own, weight = factor.T @ basis, 1 / noise**2
    values, vectors = np.linalg.eigh((own * weight.repeat(3)) @ own.T)
    parameters = np.empty((len(points), PARAMETERS))
    for part in np.array_split(np.arange(len(points)), len(points) // _BATCH + 1):
        at_start = (mean.ravel() + start[part] @ basis).reshape(len(part), -1, 3)
        z = np.zeros((len(part), len(own)))
        for _ in range(_STEPS):
            shape = at_start + (z @ own).reshape(at_start.shape)
            scale, rotation, translation = similarity(shape, points[part], weight)
            scale = scale[:, None]
            back = (points[part] - translation[:, None]) @ rotation / scale[..., None] - at_start
            right = (back * weight[:, None]).reshape(len(part), -1) @ own.T
            # (s^2 A + I) z = s^2 b in the eigenbasis of A, which all faces share.
            gain = scale**2 / (scale**2 * values + 1)
            z = (right @ vectors * gain) @ vectors.T
        camera = np.concatenate([scale[..., None] * rotation, translation[..., None]], axis=2)
        camera[:, 2, 3] = 0
        parameters[part] = join(camera, start[part] + z @ factor.T)
    return parameters


def in_crop(parameters: np.ndarray, mean: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """Place the points (..., P, 3) of raw parameters (..., 62) in the crop frame.

    `mean` (P, 3) and `modes` (50, P, 3) are a face model's at these points, in mm.
    """
    camera, coefficients = split_camera(parameters.astype(np.float64))
    shape = mean + np.tensordot(coefficients, modes, 1)
    return shape @ camera[..., :3].mT + camera[..., None, :, 3]


def place(model: FaceModel, vertices: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Place the landmarks and these vertices (n, 68 + dense, 3) of raw parameters (n, 62) in the crop frame."""
    return in_crop(parameters, *_points(model, vertices))


def offsets(model: FaceModel, vertices: np.ndarray, parameters: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Measure how far raw parameters (n, 62) place the points from `points`, (n, 68 + dense, 3), in crop pixels.

    Depth counts within a face alone: the mean depth offset of the dense points is 0.
    """
    offset = place(model, vertices, parameters) - points
    offset[..., 2] -= offset[:, 68:, 2].mean(1, keepdims=True)
    return offset


def _points(model: FaceModel, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (68 + v, 3) and modes (50, 68 + v, 3), in mm, of the landmarks and then these vertices."""
    mean = np.concatenate([model.landmark_mean, model.mean[vertices]], dtype=float)
    return mean, np.concatenate([model.landmark_modes, model.modes[:, vertices]], axis=1, dtype=float)


def identity_of_people(found: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Give all frames of a person one identity (n, 40), from those of the frames (n, 40) of the `people` (n,).

    It is the robust mean (Geman and McClure, 1987). A frame far from its person's others shows somebody else, and
    keeps its own identity.
    """
    person = np.unique(people, return_inverse=True)[1]
    count = np.bincount(person)

    def mean(weight: np.ndarray) -> np.ndarray:
        sums = np.stack([np.bincount(person, weight * column) for column in found.T], axis=1)
        return sums / np.bincount(person, weight)[:, None]

    centre = mean(np.ones(len(found)))
    several = count[person] > 1
    if not several.any():
        return found.copy()
    for _ in range(10):
        offset = found - centre[person]
        apart = np.linalg.norm(offset / offset[several].std(0), axis=1)
        far = 2 * np.median(apart[several])
        centre = mean(1 / (1 + (apart / far) ** 2) ** 2)
    return np.where((apart > far)[:, None], found, centre[person])


class Variances(NamedTuple):
    """Covariances (40, 40) of identities found in photos: `between` people, and `within` the photos of one person."""

    between: np.ndarray
    within: np.ndarray


def variances_of_people(found: np.ndarray, people: np.ndarray) -> Variances:
    """Estimate the variances of identities (n, 40) found in photos of `people` (n,), some of them in several photos.

    A random-effects analysis of variance (Searle, Casella and McCulloch, Variance Components, 1992), with negative
    variances set to 0.
    """
    person, count = np.unique(people, return_inverse=True, return_counts=True)[1:]
    mean = np.stack([np.bincount(person, column) for column in found.T], axis=1) / count[:, None]
    error = found - mean[person]
    within = error.T @ error / (len(found) - len(count))
    values, vectors = np.linalg.eigh(np.cov(mean.T) - within * (1 / count).mean())
    return Variances((vectors * np.maximum(values, 0)) @ vectors.T, within)


def likely_identities(found: np.ndarray, variances: Variances) -> np.ndarray:
    """Estimate the most likely identities (n, 40) of people, from those (n, 40) found in one photo of each.

    The best linear prediction: numbers that vary between photos of one person more than between people are drawn to
    the mean.
    """
    mean, (between, within) = found.mean(0), variances
    return mean + (found - mean) @ np.linalg.solve(between + within, between)
