"""The loss of M4Net's training. It is geometric, so each parameter counts by how far it moves the face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from m4kit.face_model import LANDMARKS, FaceModel
from m4kit.network import M4Net, Outputs
from m4kit.parameters import split, split_camera
from m4kit.training.data import LOOSE_21, LOOSE_68, averaging_matrix, point_weights

OPENINGS = ((61, 67), (62, 66), (63, 65), (37, 41), (38, 40), (43, 47), (44, 46))
"""Landmarks (counted from 0) of the upper and lower lip and lids that are opposite each other."""

VERTICES = 256
"""Vertices of the mesh's sample."""

CAP = 8.0
"""Distance in crop pixels beyond which an annotated point no longer counts more."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms; distances are in crop pixels, the rotation is in degrees.

    `depth` is the weight of the depth part within `landmarks` and `vertices`, `identity` that of the 40 identity
    numbers on top of `parameters`, `heads` that of each single head relative to the fused output.
    """

    landmarks: float = 1.0
    vertices: float = 0.5
    depth: float = 0.5
    parameters: float = 0.5
    identity: float = 0.0
    openings: float = 0.0
    rotation: float = 0.1
    points: float = 0.5
    heads: float = 0.25


class GeometryLoss(nn.Module):
    """Measures the distance of answers from labels.

    It counts landmarks, a sample of the mesh, openings of lips and lids, parameters, rotation and annotated points.
    `seed` draws the sample.
    """

    def __init__(self, model: FaceModel, weights: LossWeights | None = None, *, seed: int = 0):
        super().__init__()
        self.weights = weights or LossWeights()
        chosen = np.random.default_rng(seed).permutation(len(model.mean))[:VERTICES]
        mean = np.concatenate([model.landmark_mean, model.mean[chosen]])
        modes = np.concatenate([model.landmark_modes, model.modes[:, chosen]], axis=1)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("modes", torch.tensor(modes))
        self.register_buffer("averaging", torch.tensor(averaging_matrix()))
        self.register_buffer("trust21", torch.tensor(point_weights(21, LOOSE_21)))
        self.register_buffer("trust68", torch.tensor(point_weights(LANDMARKS, LOOSE_68)))

    def place(self, parameters: torch.Tensor) -> torch.Tensor:
        """Place the landmarks and sampled vertices (..., P, 3) of raw parameters (..., 62) in the crop frame."""
        camera, coefficients = split_camera(parameters)
        shape = (coefficients @ self.modes.flatten(1)).unflatten(-1, self.mean.shape) + self.mean
        return shape @ camera[..., :3].mT + camera[..., None, :, 3]

    def forward(
        self, network: M4Net, outputs: Outputs, batch: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Compute the loss, and its terms for the fused output, as means over the batch.

        `batch` holds `parameters` (B, 62), `points21` (B, 21, 2) and `points68` (B, 68, 2).
        """
        # The fused output and the four heads, (B, 5, 62).
        answers = torch.cat([outputs.parameters[:, None], outputs.heads], 1)
        target = batch["parameters"][:, None]
        placed, aim = self.place(answers), self.place(target)
        offset = placed - aim
        # Weak perspective has no distance to the camera, so only depth within the face counts.
        depth = offset[..., 2] - offset[..., 2].mean(-1, keepdim=True)
        distance = _length(offset[..., :2]) + self.weights.depth * depth.abs()
        whitened = nn.functional.smooth_l1_loss(
            network.whiten(answers), network.whiten(target).expand_as(answers), reduction="none"
        )
        terms = {
            "landmarks": distance[..., :LANDMARKS].mean(-1),
            "vertices": distance[..., LANDMARKS:].mean(-1),
            "parameters": whitened.mean(-1),
            "identity": split(whitened).identity.mean(-1),
            "openings": (openings(placed) - openings(aim)).abs().mean(-1),
            "rotation": rotation_error(answers, target),
            "points": self._reprojection(placed[..., :LANDMARKS, :2], batch),
        }
        share = torch.full((answers.shape[1],), self.weights.heads, device=answers.device)
        share[0] = 1.0
        total = sum(
            getattr(self.weights, name) * (term * share).sum(1).mean() for name, term in terms.items()
        )
        return total, {name: term[:, 0].detach().mean() for name, term in terms.items()}

    def _reprojection(self, landmarks: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Compute the robust mean distance (B, 5) of landmarks (B, 5, 68, 2) from annotated points, 0 without any."""
        total, trust = 0.0, 0.0
        for points, placed, weight in (
            (batch["points21"], self.averaging @ landmarks, self.trust21),
            (batch["points68"], landmarks, self.trust68),
        ):
            known = (weight * points.isfinite().all(-1))[:, None]
            offset = placed - points.nan_to_num()[:, None]
            total = total + (known * CAP * torch.tanh(_length(offset) / CAP)).sum(-1)
            trust = trust + known.sum(-1)
        return total / trust.clamp(min=1.0)


def openings(landmarks: torch.Tensor) -> torch.Tensor:
    """Compute the distances (..., 7) in the picture between the `OPENINGS` of points (..., 68 or more, 2 or 3)."""
    upper, lower = zip(*OPENINGS, strict=True)
    return _length(landmarks[..., upper, :2] - landmarks[..., lower, :2])


def rotation_error(parameters: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the angle between two cameras' axes: the mean chord of their three rows, in degrees for small errors.

    Both are raw parameters (..., 62). The third row is the cross product of the first two, as in `camera.decompose`.
    """
    rows, aim = (_unit_rows(split_camera(values)[0][..., :3]) for values in (parameters, target))
    return _length(torch.rad2deg(rows - aim)).mean(-1)


def _unit_rows(matrix: torch.Tensor) -> torch.Tensor:
    x, y = nn.functional.normalize(matrix[..., :2, :], dim=-1).unbind(-2)
    return torch.stack([x, y, nn.functional.normalize(torch.linalg.cross(x, y), dim=-1)], -2)


def _length(offset: torch.Tensor) -> torch.Tensor:
    # The constant keeps the gradient at 0 finite; its root is subtracted, so that no distance stays 0.
    return (offset.square().sum(-1) + 1e-6).sqrt() - 1e-3
