"""Pseudo ground truth drawn to the points that people annotated, as far as each can be trusted.

The teacher's fit (`labels.fit`) is the prior: camera and coefficients may leave it by about as much as the teacher
errs, and pay for it. What is minimised for each face is the negative log posterior

    sum_k w_k rho(|u_k - p_k|) / NOISE^2 + |change / spread|^2

over the camera's rotation, scale and translation and the 50 coefficients, with u_k the annotated points, p_k the
model's, w_k the trust in a point and rho the robust function of Geman and McClure (1987), so that a point that was
clicked wrongly stops pulling. Gauss-Newton, all faces side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from m4kit.face_model import FaceModel
from m4kit.training.data import LOOSE_21, LOOSE_68, averaging_matrix, point_weights

NOISE = 1.2
"""How far an annotator's click lies from the point that was meant, in crop pixels (standard deviation)."""

OUTLIER = 4.0
"""The distance in crop pixels at which an annotated point has lost three quarters of its pull."""

_BATCH = 1000


@dataclass(frozen=True)
class Spread:
    """How far the truth is taken to lie from the teacher's answer, as standard deviations.

    `rotation` in degrees about each axis, `scale` as a share, `translation` in crop pixels at the face's
    middle, `identity` and `expression` in the model's standard deviations.
    """

    rotation: float = 0.5
    scale: float = 0.05
    translation: float = 2.5
    identity: float = 0.8
    expression: float = 0.8

    def vector(self, identity_modes: int, expression_modes: int) -> np.ndarray:
        """(6 + modes,): rotation vector in radians, log scale, translation, coefficients."""
        return np.concatenate(
            [
                np.full(3, np.radians(self.rotation)),
                [self.scale, self.translation, self.translation],
                np.full(identity_modes, self.identity),
                np.full(expression_modes, self.expression),
            ]
        )


def annotation(columns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All annotated points of n faces, AFLW's 21 and then the 68, (n, 89, 2), and the trust in each, (n, 89).

    A missing point is 0 and has no trust.
    """
    points = np.concatenate([columns["points21"], columns["points68"]], axis=1).astype(np.float64)
    trust = np.concatenate([point_weights(21, LOOSE_21), point_weights(68, LOOSE_68)])
    return np.nan_to_num(points), trust * np.isfinite(points).all(-1)


def annotated_basis(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Mean (89, 3) and modes (50, 89, 3) of the model's points that `annotation` gives, in mm."""
    both = np.vstack([averaging_matrix(), np.eye(68)])
    mean, modes = (value.double().numpy() for value in (model.landmark_mean, model.landmark_modes))
    return both @ mean, both @ modes


def draw_to_annotation(
    model: FaceModel, parameters: np.ndarray, points: np.ndarray, trust: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Raw parameters (n, 62) of the teacher's drawn to what people annotated, and the annotators' habits.

    Habits (89, 3) in mm are where annotators click on average relative to the model's points, such as 3 mm further
    out at the outer corners of the eyes. They are another definition of the points, not an error of the teacher, so
    only what differs from face to face is followed.
    """
    habits = annotation_offsets(model, parameters, points, trust)
    return refine(model, parameters, points, trust, offsets=habits), habits


def refine(
    model: FaceModel,
    parameters: np.ndarray,
    points: np.ndarray,
    trust: np.ndarray,
    *,
    offsets: np.ndarray | None = None,
    spread: Spread | None = None,
    iterations: int = 5,
) -> np.ndarray:
    """Raw parameters (n, 62) drawn to annotated points (n, 89, 2) in the crop frame, trusted by `trust` (n, 89).

    `parameters` (n, 62) are the teacher's, with a scaled rotation as camera. `offsets` (89, 3) in mm say where
    annotators click relative to the model's points (see `annotation_offsets`).
    """
    parts = [
        _refine(
            model,
            *(values[i : i + _BATCH] for values in (parameters, points, trust)),
            offsets=offsets,
            spread=spread or Spread(),
            iterations=iterations,
        )
        for i in range(0, len(parameters), _BATCH)
    ]
    return np.concatenate(parts) if parts else np.empty((0, 62))


def _refine(model, parameters, points, trust, *, offsets, spread, iterations) -> np.ndarray:
    mean, modes = annotated_basis(model)
    if offsets is not None:
        mean = mean + offsets
    used = trust.any(0)
    mean, modes, points, trust = mean[used], modes[:, used], points[:, used], trust[:, used]
    camera = parameters[:, :12].reshape(-1, 3, 4).astype(np.float64)
    start_scale = np.linalg.norm(camera[:, 0, :3], axis=1)
    start_rotation = camera[:, :, :3] / start_scale[:, None, None]
    start = parameters[:, 12:].astype(np.float64)
    # Turning about the face's middle leaves the translation alone.
    pivot = model.landmark_mean.double().numpy().mean(0) + np.tensordot(
        start, model.landmark_modes.double().numpy().mean(1), 1
    )
    origin = np.einsum("nij,nj->ni", camera[:, :2, :3], pivot) + camera[:, :2, 3]
    precision = np.diag(1 / spread.vector(40, len(modes) - 40) ** 2)
    change = np.zeros((len(parameters), len(precision)))

    def placed():
        rotation = Rotation.from_rotvec(change[:, :3]).as_matrix() @ start_rotation
        scale = start_scale * np.exp(change[:, 3])
        shape = mean + np.tensordot(start + change[:, 6:], modes, 1) - pivot[:, None]
        turned = scale[:, None, None] * shape @ rotation.transpose(0, 2, 1)
        return rotation, scale, turned, turned[..., :2] + (origin + change[:, 4:6])[:, None]

    for _ in range(iterations):
        rotation, scale, turned, at = placed()
        offset = points - at
        pull = trust / (NOISE * (1 + (offset**2).sum(-1) / OUTLIER**2)) ** 2
        jacobian = np.zeros((*at.shape, len(precision)))
        x, y, z = turned[..., 0], turned[..., 1], turned[..., 2]
        # d(omega x p): the derivatives of the turned point by a small rotation about each axis.
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
    cameras = np.concatenate([matrix, translation[..., None]], axis=2)
    return np.concatenate([cameras.reshape(-1, 12), start + change[:, 6:]], axis=1)


def place_annotated(
    model: FaceModel, parameters: np.ndarray, offsets: np.ndarray | None = None
) -> np.ndarray:
    """The model's points (n, 89, 2) in the crop frame that `annotation`'s points stand for."""
    mean, modes = annotated_basis(model)
    if offsets is not None:
        mean = mean + offsets
    camera = parameters[:, :12].reshape(-1, 3, 4).astype(np.float64)
    shape = mean + np.tensordot(parameters[:, 12:].astype(np.float64), modes, 1)
    return shape @ camera[:, :2, :3].transpose(0, 2, 1) + camera[:, None, :2, 3]


def annotation_offsets(
    model: FaceModel, parameters: np.ndarray, points: np.ndarray, trust: np.ndarray
) -> np.ndarray:
    """Where annotators click relative to the model's points, (89, 3) in mm: the mean over all faces.

    Each face's offset in the picture is its camera times the wanted one: least squares over the faces, with far
    outliers left out. Points that nobody annotated have offset 0.
    """
    offset = points - place_annotated(model, parameters)
    rows = parameters[:, :12].reshape(-1, 3, 4)[:, :2, :3].astype(np.float64)
    use = (trust > 0) & (np.linalg.norm(offset, axis=-1) < 2 * OUTLIER)
    left = np.einsum("np,nij,nik->pjk", use, rows, rows) + 1e-6 * np.eye(3)
    right = np.einsum("np,nij,npi->pj", use, rows, offset)
    return np.linalg.solve(left, right[..., None])[..., 0]
