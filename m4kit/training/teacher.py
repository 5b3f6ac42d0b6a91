"""Teachers: networks whose answers to six views of a crop become the points that labels are fitted to.

`PeerTeacher` is 3DDFA-V2's mb1, which answers in the Basel Face Model (BFM). `OwnTeacher` is an M4Net, such as one
that earlier labels trained. Both have a `name`, under which their answers are stored, `ask(crops)`, which takes long,
and `points(answers)`, the landmarks and a sample of the surface.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm, trange

from m4kit.engine import TorchEngine
from m4kit.face_model import FaceModel
from m4kit.landmarks import MIRROR_68, face_size
from m4kit.network import M4Net
from m4kit.parameters import PARAMETERS, fuse, split
from m4kit.peers.tddfa_v2 import (
    BFM,
    NETWORKS,
    WHITENING,
    read_network,
    read_whitening,
    to_crop_frame,
    whitened,
)
from m4kit.training.fitting import in_crop, place
from m4kit.training.registration import Registration, register
from m4kit.views import VIEWS, maps_to_crop, regress, view_pictures
from m4kit.weights import check_fits, fingerprint

DENSE_POINTS = 400


def symmetric_points(model: FaceModel, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose `DENSE_POINTS` of the valid vertices as mirrored pairs.

    Returns the vertices (400,) and, for the 68 landmarks followed by them, each point's mirror partner (468,).
    """
    mirror, half = model.mirror, DENSE_POINTS // 2
    chosen = np.random.default_rng(0).choice(np.flatnonzero(valid & valid[mirror]), half, replace=False)
    swapped = np.roll(np.arange(DENSE_POINTS), half)
    return np.concatenate([chosen, mirror[chosen]]), np.concatenate([MIRROR_68, 68 + swapped])


class PeerTeacher:
    """3DDFA-V2's mb1, with the BFM cut down to the 68 landmarks and the dense points.

    `whitening` holds mean and standard deviation (62,) of the network's parameters, `network` the ONNX file.
    """

    name = "mb1"

    def __init__(
        self,
        model: FaceModel,
        bfm: FaceModel,
        registration: Registration,
        *,
        whitening: tuple[np.ndarray, np.ndarray],
        network: Path,
    ):
        self.vertices, self.mirrored = symmetric_points(model, registration.valid)
        self.whitening, self.network = whitening, network

        def points(vertices: np.ndarray) -> np.ndarray:
            dense = registration.points(vertices)[..., self.vertices, :]
            return np.concatenate([bfm.points(vertices), dense], axis=-2)

        self.mean, self.modes = points(bfm.mean), points(bfm.modes)

    @classmethod
    def load(cls, model: FaceModel, folder: Path) -> PeerTeacher:
        """Read 3DDFA-V2's files from a folder, register our model with its BFM, and print how well that fits."""
        bfm = FaceModel.load_bfm(folder / BFM)
        whitening = read_whitening(folder / WHITENING)
        registration = register(model, bfm, bfm.vertices(split(whitening[0]).identity).astype(float))
        print(
            f"our surface to BFM's: {registration.model_distance:.2f} mm with the modes alone, "
            f"{registration.final_distance:.2f} mm after the non-rigid fit"
        )
        return cls(model, bfm, registration, whitening=whitening, network=folder / NETWORKS["mb1"])

    def ask(self, crops: np.ndarray) -> np.ndarray:
        """Answer to crops (n, 120, 120, 3) uint8 RGB with whitened parameters (n, 6, 62), one for each view."""
        network = read_network(self.network)
        parts = (crops[start : start + 32] for start in trange(0, len(crops), 32, desc="teacher"))
        answers = np.concatenate([whitened(network, view_pictures(part)) for part in parts])
        return answers.reshape(len(crops), len(VIEWS), PARAMETERS).astype(np.float32)

    def raw(self, answers: np.ndarray) -> np.ndarray:
        """Convert whitened answers (..., 62) to raw parameters of 3DDFA-V2."""
        return answers.astype(np.float64) * self.whitening[1] + self.whitening[0]

    def points(self, answers: np.ndarray) -> np.ndarray:
        """Place points (n, 468, 3) of answers (n, 6, 62) in the crop frame; prints where the pixels begin."""
        start = self.start_of_pixels(answers[:1000])
        print(f"the pixels of {self.name} begin {start:.2f} from the edge")
        parts = np.array_split(answers, len(answers) // 500 + 1)
        return np.concatenate([self._mean_of_views(part, start) for part in parts])

    def _mean_of_views(self, answers: np.ndarray, start: float) -> np.ndarray:
        total = 0
        for number, (back, offset) in enumerate(maps_to_crop()):
            points = np.add(self._placed(answers[:, number]), [start, -start, 0])
            points = (points - offset) @ back.T
            total = total + (points[:, self.mirrored] if VIEWS[number][0] else points) / len(VIEWS)
        return total

    def _placed(self, answers: np.ndarray) -> np.ndarray:
        """Place points (n, 468, 3) of answers (n, 62) to one view in its frame, whose pixels begin at the edge."""
        return in_crop(to_crop_frame(self.raw(answers)), self.mean, self.modes)

    def start_of_pixels(self, answers: np.ndarray) -> float:
        """Measure where the teacher's coordinates have 0, in pixels from the crop's edge, from answers (n, 6, 62).

        If x is a point's place in the crop and x' its place in the mirror image, both without `start`, then
        x + start = -(x' + start) in the crop frame.
        """
        seen, mirrored = (self._placed(answers[:, view])[..., 0] for view in (0, 1))
        return float(-np.median(seen + mirrored[:, self.mirrored]) / 2)


class OwnTeacher:
    """An M4Net from a file of weights, which must predict parameters of `model`; `vertices` are the peer's."""

    def __init__(self, model: FaceModel, weights: Path, vertices: np.ndarray):
        network = M4Net.load(weights)
        check_fits(network, model)
        # The fingerprint tells networks apart whose files have the same name.
        self.name = f"{weights.stem}_{fingerprint(network)}"
        self.model, self.engine, self.vertices = model, TorchEngine(network), vertices

    def ask(self, crops: np.ndarray) -> np.ndarray:
        """Answer to crops (n, 120, 120, 3) uint8 RGB with raw parameters (n, 62), means over six views."""
        parts = [crops[start : start + 500] for start in range(0, len(crops), 500)]
        answers = [
            fuse(*regress(self.engine, self.model, part, views=6)) for part in tqdm(parts, desc="teacher")
        ]
        return np.concatenate(answers)

    def points(self, answers: np.ndarray) -> np.ndarray:
        """Place points (n, 468, 3) of answers (n, 62) in the crop frame."""
        return place(self.model, self.vertices, answers)


def mean_of_teachers(peer: np.ndarray, own: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Compute the mean of both teachers' points (n, 468, 3), with the peer's definition of depth.

    An M4Net learned its depth from the peer, so its mean offset along the head's z is an error and is removed.
    `rotations` (n, 3, 3) turn heads into the crop frame. Each face's mean depth, which weak perspective leaves open,
    is the peer's.
    """
    offset = own - peer
    offset[..., 2] -= offset[:, 68:, 2].mean(1, keepdims=True)
    size = face_size(peer[:, :68])[:, None]
    along = np.einsum("npi,ni->np", offset, rotations[:, :, 2])
    habit = np.median(along / size, axis=0) * size
    return peer + (offset - habit[..., None] * rotations[:, None, :, 2]) / 2
