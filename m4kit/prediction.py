"""What a photo turns into: a `Prediction`, a sequence of `Face`s."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from m4kit.camera import Crop, HeadPose, head_pose
from m4kit.face_model import FaceModel
from m4kit.parameters import fuse


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A face's box in photo pixels (x right, y down) and the detector's score in [0, 1].

    The score is 1 for a box that the user gave.
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0

    @property
    def width(self) -> float:
        """Width in photo pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in photo pixels."""
        return self.bottom - self.top

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array([self.left, self.top, self.right, self.bottom, self.score], dtype=dtype)


class Assessment(NamedTuple):
    """What the system knows about a face's error: see `Face.failure_probability` and `Face.reasons`."""

    failure_probability: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What a face was made of: the photo (H, W, 3) uint8 RGB, and whose answer it is.

    `network` and `detector` are `weights.fingerprint`s, empty where another thing gave the answer: head weights
    that were set by hand, a box that the user gave, a detector of the user's. `assess` judges a face of this
    origin (`m4kit.confidence.assess`).
    """

    image: np.ndarray = field(repr=False)
    network: str = ""
    detector: str = ""
    assess: Callable[[Face], Assessment] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Face:
    """One face: what the network said of it, and the geometry that follows.

    `heads` (4, 62) are the heads' raw parameters (not whitened) and `head_weights` (4,) their weights; the
    weighted sum `parameters` (62,) is a (3, 4) camera row by row, then 40 identity and 10 expression
    coefficients in standard deviations. `origin` is None for a face that no `Predictor` made.
    """

    box: FaceBox
    crop: Crop
    heads: np.ndarray = field(repr=False)
    head_weights: np.ndarray = field(repr=False)
    model: FaceModel = field(repr=False)
    origin: Origin | None = field(default=None, repr=False)

    @cached_property
    def parameters(self) -> np.ndarray:
        """Fused parameters, (62,)."""
        return fuse(self.heads, self.head_weights)

    @property
    def camera(self) -> np.ndarray:
        """Camera (3, 4) from the model frame (mm) to the crop frame (crop pixels, y up, origin at the centre)."""
        return self.parameters[:12].reshape(3, 4)

    @property
    def identity(self) -> np.ndarray:
        """Identity coefficients, (40,), in standard deviations."""
        return self.parameters[12:52]

    @property
    def expression(self) -> np.ndarray:
        """Expression coefficients, (10,), in standard deviations."""
        return self.parameters[52:62]

    @cached_property
    def pose(self) -> HeadPose:
        """Yaw, pitch and roll in degrees."""
        return head_pose(self.camera)

    @cached_property
    def shape(self) -> np.ndarray:
        """Vertices in the model frame, (V, 3) in mm: the face without its pose."""
        return self.model.vertices(self.identity, self.expression).numpy()

    @cached_property
    def vertices(self) -> np.ndarray:
        """Vertices over the photo, (V, 3): x, y in photo pixels, z in photo pixels towards the viewer."""
        return self._to_photo(self.shape)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """The 68 iBUG landmarks over the photo, (68, 3), in the same frame as `vertices`."""
        return self._to_photo(self.model.landmarks(self.identity, self.expression).numpy())

    @property
    def triangles(self) -> np.ndarray:
        """Triangles of the mesh as vertex indices, (T, 3), counter-clockwise seen from outside."""
        return self.model.triangles.numpy()

    @property
    def failure_probability(self) -> float | None:
        """Estimated probability, 0 to 1, that the landmarks' NME is above 8 % (`m4kit.confidence.failure`).

        Computed at the first use, without running the network. None for a face that no `Predictor` made, and for
        an answer of another network than the one that the score is fitted for; `confidence.failure.note_of` gives
        the reason. The score is fitted to two passes and one view: for other settings it is a guess.
        """
        return self._assessment.failure_probability

    @property
    def reasons(self) -> tuple[str, ...]:
        """Warnings about this prediction: "too dark", "heads disagree about the jaw", ...

        By the rules of `confidence.reasons.REASONS`. Empty if no rule applies, or for a face that no `Predictor`
        made.
        """
        return self._assessment.reasons

    @cached_property
    def _assessment(self) -> Assessment:
        assess = None if self.origin is None else self.origin.assess
        return Assessment() if assess is None else assess(self)

    def with_head_weights(self, weights: Sequence[float] | np.ndarray) -> Face:
        """The same face with the heads mixed anew, without running the network.

        Raises `ValueError` if there is not one weight for each head, or they do not sum to 1.
        """
        weights = np.asarray(weights, dtype=float)
        if weights.shape != (len(self.heads),) or not abs(weights.sum() - 1) < 1e-4:
            raise ValueError(
                f"expected one weight for each of the {len(self.heads)} heads with a sum of 1, "
                f"got {weights.tolist()}; divide them by their sum"
            )
        origin = None if self.origin is None else replace(self.origin, network="")
        return replace(self, head_weights=weights, origin=origin)

    def _to_photo(self, points: np.ndarray) -> np.ndarray:
        return self.crop.to_photo(points @ self.camera[:, :3].T + self.camera[:, 3])


@dataclass(frozen=True, eq=False)
class Prediction(Sequence):
    """A photo, `image` (H, W, 3) uint8 RGB, and its faces, largest first. Iterates over the faces.

    `network` is the fingerprint of the heads that answered (`M4Net.heads_digest`), empty where it is not known.
    """

    image: np.ndarray = field(repr=False)
    faces: tuple[Face, ...]
    source: str = "<array>"
    network: str = field(default="", repr=False)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index):
        return self.faces[index]

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)
