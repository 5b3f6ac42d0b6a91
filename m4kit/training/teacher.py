"""The teachers of the labels: what a network says of a crop, asked six times, as one set of points.

A crop is shown mirrored or not, a little turned and shrunk; the six dense answers are laid back over it and averaged.
`peer_teacher` asks 3DDFA-V2, which speaks of the Basel Face Model, `own_teacher` an M4Net, such as the one that the
last labels trained.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from m4kit.camera import CROP_SIZE
from m4kit.face_model import FaceModel
from m4kit.landmarks import MIRROR_68
from m4kit.network import M4Net
from m4kit.parameters import PARAMETERS
from m4kit.training.registration import Registration, itself, register
from m4kit.training.transfer import read_peer, read_whitening
from m4kit.views import VIEWS, view_matrices, view_pictures
from m4kit.weights import fingerprint

HALF = np.array([0.5, 0.5, 0.0])

DENSE_POINTS = 400


def teacher_passes(crops: np.ndarray, network: torch.nn.Module, *, progress: bool = True) -> np.ndarray:
    """The teacher's whitened answers (n, 6, 62) to crops (n, 120, 120, 3) uint8 RGB."""
    answers = []
    for start in tqdm(range(0, len(crops), 32), desc="teacher", disable=not progress):
        views = view_pictures(crops[start : start + 32])
        # 3DDFA-V2's networks take BGR.
        pixels = torch.from_numpy(views[..., ::-1].copy()).permute(0, 3, 1, 2)
        with torch.inference_mode():
            answers.append(network((pixels.float() - 127.5) / 128).numpy())
    return np.concatenate(answers).reshape(len(crops), len(VIEWS), PARAMETERS)


class Teacher:
    """BFM cut down to the points that the labels are fitted to: the 68 landmarks and mirrored pairs of the skin."""

    def __init__(self, model: FaceModel, bfm: FaceModel, registration: Registration):
        mirror = model.mirror.numpy()
        both = np.flatnonzero(registration.valid & registration.valid[mirror])
        half = np.random.default_rng(0).choice(both, DENSE_POINTS // 2, replace=False)
        self.vertices = np.concatenate([half, mirror[half]])
        swapped = np.concatenate(
            [np.arange(DENSE_POINTS // 2) + DENSE_POINTS // 2, np.arange(DENSE_POINTS // 2)]
        )
        self.mirrored = np.concatenate([MIRROR_68, 68 + swapped])

        def points(vertices: torch.Tensor) -> np.ndarray:
            dense = registration.points(vertices.numpy())[..., self.vertices, :]
            return np.concatenate([bfm.points(vertices).numpy(), dense], axis=-2)

        self.mean, self.modes = points(bfm.mean), points(bfm.modes)

    def start_of_pixels(self, whitened: np.ndarray, whitening: tuple[np.ndarray, np.ndarray]) -> float:
        """Where the teacher's coordinates have 0, in pixels from the crop's edge; of answers (n, 6, 62).

        A point at c in a crop and at c' in its mirror image lies at c + start and CROP_SIZE - (c' + start).
        """
        seen, mirrored = (
            _placed(whitened[:, k] * whitening[1] + whitening[0], self.mean, self.modes)[..., 0] - 1
            for k in (0, 1)
        )
        return float(np.median(CROP_SIZE - seen - mirrored[:, self.mirrored]) / 2)

    def points(
        self, whitened: np.ndarray, whitening: tuple[np.ndarray, np.ndarray], *, start: float = 0.0
    ) -> np.ndarray:
        """Six answers (n, 6, 62) as one set of points (n, 68 + dense, 3), see `averaged_points`."""
        return averaged_points(
            whitened, whitening, mean=self.mean, modes=self.modes, mirrored=self.mirrored, start=start
        )


def averaged_points(
    whitened: np.ndarray,
    whitening: tuple[np.ndarray, np.ndarray],
    *,
    mean: np.ndarray,
    modes: np.ndarray,
    mirrored: np.ndarray,
    start: float = 0.0,
) -> np.ndarray:
    """The teacher's six answers (n, 6, 62) as one set of points (n, P, 3) in the crop frame, z centred.

    `mean` (P, 3) and `modes` (50, P, 3) are BFM's at the points, in mm; `mirrored` (P,) is each point's partner.
    `start` is where the teacher's coordinates have 0, in pixels from the crop's edge.
    """
    total = 0
    for number, matrix in enumerate(view_matrices()):
        placed = _placed(whitened[:, number] * whitening[1] + whitening[0], mean, modes)
        # 3DDFA-V2 counts x from 1 and y from the lower edge.
        edge = np.stack([placed[..., 0] - 1, CROP_SIZE - placed[..., 1]], axis=-1) + start
        pixels = np.concatenate([edge, np.ones_like(edge[..., :1])], axis=-1)
        # The passes are maps between pixel centres.
        pixels = (pixels - HALF) @ np.linalg.inv(matrix).T + HALF
        depth = placed[..., 2] / np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
        framed = np.stack([pixels[..., 0] - CROP_SIZE / 2, CROP_SIZE / 2 - pixels[..., 1], depth], axis=-1)
        if VIEWS[number][0]:
            framed = framed[:, mirrored]
        framed[..., 2] -= framed[..., 2].mean(1, keepdims=True)
        total = total + framed / len(VIEWS)
    return total


def _placed(raw: np.ndarray, mean: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """BFM's points (n, P, 3) under the cameras of raw parameters (n, 62), whose coefficients are for micrometres."""
    camera = raw[:, :12].reshape(-1, 3, 4)
    shape = mean + np.tensordot(raw[:, 12:], modes, 1)
    return shape @ (1000 * camera[:, :, :3]).transpose(0, 2, 1) + camera[:, None, :, 3]


class Asked(NamedTuple):
    """A teacher's points, the whitening (mean and standard deviation, (62,)) of its answers, and its network.

    `network(crops)` gives what answers a batch in 3DDFA-V2's form (see `teacher_passes`); `name` tells its kept
    answers from another's.
    """

    teacher: Teacher
    whitening: tuple[np.ndarray, np.ndarray]
    network: Callable[[np.ndarray], Callable[[torch.Tensor], torch.Tensor]]
    name: str


def peer_teacher(model: FaceModel, folder: Path) -> tuple[Asked, Registration]:
    """3DDFA-V2's mb1, from the folder of its files, and how our model lies on its Basel Face Model."""
    bfm = FaceModel.load_bfm(folder / "bfm_noneck_v3.pkl")
    whitening = read_whitening(folder / "param_mean_std_62d_120x120.pkl")
    registration = register(model, bfm, bfm.vertices(whitening[0][12:52]).double().numpy())
    teacher = Teacher(model, bfm, registration)
    # The batch norms that its file lacks are measured on some crops.
    return Asked(
        teacher, whitening, lambda crops: read_peer(folder / "mb1_120x120.onnx", crops[:600]), "mb1"
    ), registration


def own_teacher(model: FaceModel, weights: Path) -> Asked:
    """An M4Net, of a file of weights."""
    network = M4Net.load(weights)
    return Asked(
        Teacher(model, model, itself(model)),
        (np.zeros(PARAMETERS), np.ones(PARAMETERS)),
        lambda crops: lambda pixels: said_as_3ddfa(network(pixels.flip(1))),
        # Every training calls its file alike.
        f"{weights.stem}_{fingerprint(network)}",
    )


def said_as_3ddfa(parameters: torch.Tensor) -> torch.Tensor:
    """Our raw parameters (n, 62) as 3DDFA-V2 would say them: micrometres, x counted from 1, y from the lower edge."""
    camera = parameters[:, :12].reshape(-1, 3, 4).clone()
    camera[:, :, :3] /= 1000
    camera[:, 0, 3] += CROP_SIZE / 2 + 1
    camera[:, 1, 3] += CROP_SIZE / 2
    return torch.cat([camera.flatten(1), parameters[:, 12:]], 1)
