"""Fits labels to annotated points, with the teacher's fit as the prior.

For each face the fit minimises the negative log posterior

    sum_k w_k rho(|u_k - p_k|) / NOISE^2 + |change / spread|^2

over rotation, scale and translation of the camera and the 50 coefficients. u_k are the annotated points, p_k the
model's and w_k the trust in each. rho is the robust function of Geman and McClure (1987), so that a wrong click loses
its influence. The prior allows changes of about the size of the teacher's errors (`SPREAD`). The solver is
Gauss-Newton on all faces at once.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from m4kit.face_model import EXPRESSION_MODES, IDENTITY_MODES, FaceModel
from m4kit.parameters import join, split_camera
from m4kit.training.data import LOOSE_21, LOOSE_68, averaging_matrix, point_weights
from m4kit.training.fitting import in_crop

NOISE = 1.2
"""Standard deviation of an annotator's click about the intended point, in crop pixels."""

OUTLIER = 4.0
"""Distance in crop pixels at which an annotated point has a quarter of its weight left."""

SPREAD = np.repeat([np.radians(0.5), 0.05, 2.5, 1.2, 0.8], [3, 1, 2, IDENTITY_MODES, EXPRESSION_MODES])
"""Assumed errors of the teacher, as standard deviations (56,).

Rotation about each axis in radians, log of the scale, translation in crop pixels at the face's middle, identity and
expression in the model's standard deviations. The identity's is wide, because the labels keep of it what is alike in
the photos of one person (`fitting.likely_identities`).
"""

_BATCH, _STEPS = 1000, 5


def annotation(points21: np.ndarray, points68: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join the annotated points (n, 89, 2) of n faces, AFLW's 21 and then the 68; also returns the trust (n, 89).

    A missing point is 0 and has a trust of 0.
    """
    points = np.concatenate([points21, points68], axis=1, dtype=np.float64)
    trust = np.concatenate([point_weights(21, LOOSE_21), point_weights(68, LOOSE_68)])
    return np.nan_to_num(points), trust * np.isfinite(points).all(-1)


def annotated_basis(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (89, 3) and modes (50, 89, 3), in mm, of the model's points that `annotation` lists."""
    both = np.vstack([averaging_matrix(), np.eye(68)])
    mean, modes = (value.astype(float) for value in (model.landmark_mean, model.landmark_modes))
    return both @ mean, both @ modes


def draw_to_annotation(
    model: FaceModel, parameters: np.ndarray, points: np.ndarray, trust: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Refine the teacher's raw parameters (n, 62) by annotated points; also return the annotators' habits.

    Habits (89, 3) in mm are the mean offsets of the clicks from the model's points, such as 3 mm outwards at the
    outer corners of the eyes. They are another definition of the points, not an error of the teacher, so the fit
    removes them and follows only the differences between faces.
    """
    habits = annotation_offsets(model, parameters, points, trust)
    return refine(model, parameters, points, trust, habits), habits


def refine(
    model: FaceModel,
    parameters: np.ndarray,
    points: np.ndarray,
    trust: np.ndarray,
    habits: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Fit raw parameters (n, 62) to annotated points (n, 89, 2) in the crop frame, weighted by `trust` (n, 89).

    `parameters` (n, 62) are the teacher's, with a scaled rotation as camera. `habits` (89, 3) in mm are the
    annotators' (see `annotation_offsets`).
    """
    parts = (slice(start, start + _BATCH) for start in range(0, len(parameters), _BATCH))
    return np.concatenate(
        [_refine(model, parameters[part], points[part], trust[part], habits) for part in parts]
    )


def _refine(model, parameters, points, trust, habits) -> np.ndarray:
    mean, modes = annotated_basis(model)
    mean = mean + habits
    used = trust.any(0)
    mean, modes, points, trust = mean[used], modes[:, used], points[:, used], trust[:, used]
    camera, start = split_camera(parameters.astype(np.float64))
    start_scale = np.linalg.norm(camera[:, 0, :3], axis=1)
    start_rotation = camera[:, :, :3] / start_scale[:, None, None]
    # A turn about the face's middle leaves the translation alone.
    pivot = model.landmark_mean.astype(float).mean(0) + np.tensordot(
        start, model.landmark_modes.astype(float).mean(1), 1
    )
    origin = np.einsum("nij,nj->ni", camera[:, :2, :3], pivot) + camera[:, :2, 3]
    precision = np.diag(1 / SPREAD**2)
    change = np.zeros((len(parameters), len(precision)))

    def placed():
        rotation = Rotation.from_rotvec(change[:, :3]).as_matrix() @ start_rotation
        scale = start_scale * np.exp(change[:, 3])
        shape = mean + np.tensordot(start + change[:, 6:], modes, 1) - pivot[:, None]
        turned = scale[:, None, None] * shape @ rotation.transpose(0, 2, 1)
        return rotation, scale, turned, turned[..., :2] + (origin + change[:, 4:6])[:, None]

    for _ in range(_STEPS):
        rotation, scale, turned, at = placed()
        offset = points - at
        pull = trust / (NOISE * (1 + (offset**2).sum(-1) / OUTLIER**2)) ** 2
        jacobian = np.zeros((*at.shape, len(precision)))
        x, y, z = turned[..., 0], turned[..., 1], turned[..., 2]
        # Derivatives of the turned point by a small rotation about each axis (omega x p).
        jacobian[..., 0, 1], jacobian[..., 0, 2] = z, -y
        jacobian[..., 1, 0], jacobian[..., 1, 2] = -z, x
        jacobian[..., 3] = turned[..., :2]
        jacobian[..., 0, 4] = jacobian[..., 1, 5] = 1
        jacobian[..., 6:] = np.einsum("nij,kpj->npik", scale[:, None, None] * rotation[:, :2], modes)
        flat = jacobian.reshape(len(at), -1, len(precision))
        weighted = flat * pull.repeat(2, axis=1)[..., None]
        left = weighted.transpose(0, 2, 1) @ flat + precision
        right = (weighted.transpose(0, 2, 1) @ offset.reshape(len(at), -1, 1))[..., 0] - change @ precision
        change += np.linalg.solve(left, right[..., None])[..., 0]
    rotation, scale, _, _ = placed()
    matrix = scale[:, None, None] * rotation
    translation = np.zeros((len(parameters), 3))
    translation[:, :2] = origin + change[:, 4:6] - np.einsum("nij,nj->ni", matrix[:, :2], pivot)
    return join(np.concatenate([matrix, translation[..., None]], axis=2), start + change[:, 6:])


def place_annotated(model: FaceModel, parameters: np.ndarray, habits: np.ndarray | float = 0.0) -> np.ndarray:
    """Place the model's points (n, 89, 2) that correspond to those of `annotation` in the crop frame."""
    mean, modes = annotated_basis(model)
    return in_crop(parameters, mean + habits, modes)[..., :2]


def habits_in_crop(parameters: np.ndarray, habits: np.ndarray) -> np.ndarray:
    """Project the annotators' habits (89, 3), in mm, into the crop frame (n, 89, 2) of raw parameters (n, 62)."""
    return habits @ split_camera(parameters.astype(np.float64))[0][:, :2, :3].transpose(0, 2, 1)


def annotation_offsets(
    model: FaceModel, parameters: np.ndarray, points: np.ndarray, trust: np.ndarray
) -> np.ndarray:
    """Measure the annotators' habits: the mean offset (89, 3) in mm of their clicks from the model's points.

    A face's offset in the picture is its camera times the habit; this solves for the habit by least squares over all
    faces, without far outliers. Points without annotation have offset 0.
    """
    offset = points - place_annotated(model, parameters)
    rows = split_camera(parameters.astype(np.float64))[0][:, :2, :3]
    use = (trust > 0) & (np.linalg.norm(offset, axis=-1) < 2 * OUTLIER)
    left = np.einsum("np,nij,nik->pjk", use, rows, rows) + 1e-6 * np.eye(3)
    right = np.einsum("np,nij,npi->pj", use, rows, offset)
    return np.linalg.solve(left, right[..., None])[..., 0]
