"""Measures how well a face model can describe faces: its best fit to the true landmarks, and how unusual that fit is.

An error of a network then has two parts: the floor, which no coefficients of the model go below, and what the network
missed beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from m4kit import metrics
from m4kit.exaggeration import PLAUSIBLE, edge_distortion, free_form, in_millimetres
from m4kit.face_model import LANDMARKS, FaceModel, Fit, check_model
from m4kit.landmarks import GROUP_MEMBERS

NOISE = 0.01
"""The noise of the fit that gives the floor (`FaceModel.fit`): a share of the face's size, like annotators' noise."""

_FOLDS = 3
"""Each landmark is left out once; every third of them at a time, so that its neighbours stay."""


@dataclass(frozen=True)
class Expressiveness:
    """How well a face model can describe n faces; all errors in percent as `metrics.nme`.

    - `true` (n, 68, 2): the landmarks in photo pixels; `predicted` (n, 68, 2): a network's, or None.
    - `fitted` (n, 68, 2): those of the model's best fit; `coefficients` (n, 50): its identity and expression.
    - `followed` (n, 68, 2): those of a plausible fit with `exaggeration.free_form` on top; `plausible` (n, 50): the
      coefficients of that fit.
    - `left_out`, `left_out_followed` (n, 68, 2): as `fitted` and `followed`, but each landmark comes from a fit that
      has not seen it. An error at a landmark that is seen can be made as small as one likes; this one cannot.
    - `distortion`, `distortion_followed` (n,): `exaggeration.edge_distortion` of both meshes from the mean face.
    """

    true: np.ndarray = field(repr=False)
    predicted: np.ndarray | None = field(repr=False)
    fitted: np.ndarray = field(repr=False)
    coefficients: np.ndarray = field(repr=False)
    followed: np.ndarray = field(repr=False)
    plausible: np.ndarray = field(repr=False)
    left_out: np.ndarray = field(repr=False)
    left_out_followed: np.ndarray = field(repr=False)
    distortion: np.ndarray = field(repr=False)
    distortion_followed: np.ndarray = field(repr=False)
    identity_modes: int

    def __len__(self) -> int:
        return len(self.true)

    @cached_property
    def floor(self) -> np.ndarray:
        """NME of the model's best fit, (n,)."""
        return metrics.nme(self.fitted, self.true)

    @cached_property
    def missed(self) -> np.ndarray:
        """NME of the network minus the floor, (n,): what a better network could gain with this face model.

        Raises `ValueError` without predictions.
        """
        if self.predicted is None:
            raise ValueError("missed: expected a network's landmarks, got none; give them as predicted=")
        return metrics.nme(self.predicted, self.true) - self.floor

    @property
    def distance(self) -> np.ndarray:
        """Mahalanobis distance of the fit from the mean face, (n, 2): of its identity and of its expression.

        It is the length of the coefficients, which are in standard deviations. Of people drawn from the model itself
        the identity has about sqrt(40) = 6.3.
        """
        return _distance(self.coefficients, self.identity_modes)

    @property
    def mode_shares(self) -> np.ndarray:
        """Share of each mode in the squared distance, (50,), over all faces; the sum is 1."""
        squares = np.square(self.coefficients).sum(axis=0)
        return squares / squares.sum()

    @cached_property
    def measures(self) -> dict[str, np.ndarray]:
        """All figures by name, (n,) each; those of a network only where there is one."""
        groups = GROUP_MEMBERS.items()
        points = {"floor": self.fitted} | ({} if self.predicted is None else {"network": self.predicted})
        both = {word: metrics.normalised_errors(some, self.true) for word, some in points.items()}
        of_network = {}
        if self.predicted is not None:
            of_network = {"NME network": self.missed + self.floor, "network - floor": self.missed}
        identity, expression = self.distance.T
        return {
            **of_network,
            "NME floor": self.floor,
            **{
                f"NME {word}, {group}": np.linalg.norm(errors[:, members], axis=-1).mean(axis=1)
                for word, errors in both.items()
                for group, members in groups
            },
            "distance identity": identity,
            "distance expression": expression,
            "edge distortion": self.distortion,
            "NME floor, points left out": metrics.nme(self.left_out, self.true),
            "free form: NME": metrics.nme(self.followed, self.true),
            "free form: NME, points left out": metrics.nme(self.left_out_followed, self.true),
            "free form: distance identity": _distance(self.plausible, self.identity_modes)[:, 0],
            "free form: edge distortion": self.distortion_followed,
        }

    def main_modes(self, count: int = 5) -> str:
        """The modes with the largest shares of the distance in words: "identity 1 (20 %), ..."."""
        order = np.argsort(-self.mode_shares)[:count]
        return ", ".join(
            f"{self._mode_name(number)} ({100 * self.mode_shares[number]:.0f} %)" for number in order
        )

    def _mode_name(self, number: int) -> str:
        if number < self.identity_modes:
            return f"identity {number + 1}"
        return f"expression {number - self.identity_modes + 1}"


def expressiveness(
    face_model: FaceModel, landmarks: np.ndarray, *, predicted: np.ndarray | None = None
) -> Expressiveness:
    """Fit a face model to true landmarks (n, 68, 2 or 3) in photo pixels, y down, without any network.

    `predicted` (n, 68, 2 or 3) are a network's landmarks of the same faces. Only x and y count. The jaw line of a
    turned face should be that of the head, as in AFLW2000-3D: points along the visible outline add to the floor.

    Raises `ValueError` for what `FaceModel.fit` refuses, and for other numbers of faces.
    """
    model = check_model(face_model)
    true = np.asarray(landmarks, dtype=float)[..., :2].reshape(-1, LANDMARKS, 2)
    if predicted is not None:
        predicted = np.asarray(predicted, dtype=float)[..., :2].reshape(-1, LANDMARKS, 2)
        if len(predicted) != len(true):
            raise ValueError(f"expected predictions of all {len(true)} faces, got {len(predicted)}")
    fit, fitted = _fit(model, true, NOISE)
    plausible, _ = _fit(model, true, PLAUSIBLE)
    meshes = [model.vertices(some.identity, some.expression) for some in (fit, plausible)]
    followed, moves = _follow(model, true, plausible)
    # Fitted without every third landmark in turn.
    left_out, left_out_followed = np.empty_like(true), np.empty_like(true)
    for first in range(_FOLDS):
        out = np.arange(first, LANDMARKS, _FOLDS)
        seen = np.setdiff1d(np.arange(LANDMARKS), out)
        left_out[:, out] = _fit(model, true, NOISE, seen)[1][:, out]
        left_out_followed[:, out] = _follow(model, true, _fit(model, true, PLAUSIBLE, seen)[0], seen)[0][
            :, out
        ]
    distortion, distortion_followed = (
        np.array([edge_distortion(mesh, model.mean, model.triangles) for mesh in some])
        for some in (meshes[0], meshes[1] + moves)
    )
    return Expressiveness(
        true=true,
        predicted=predicted,
        fitted=fitted,
        coefficients=_coefficients(fit),
        followed=followed,
        plausible=_coefficients(plausible),
        left_out=left_out,
        left_out_followed=left_out_followed,
        distortion=distortion,
        distortion_followed=distortion_followed,
        identity_modes=len(model.identity_modes),
    )


def expressiveness_table(sets: Mapping[str, Expressiveness]) -> pd.DataFrame:
    """Mean and 95 % bootstrap interval of each measure of each set: columns set, faces, measure, mean, low, high."""
    rows = []
    for name, result in sets.items():
        values = np.column_stack(list(result.measures.values()))
        numbers = zip(values.mean(axis=0), *metrics.bootstrap(values), strict=True)
        rows += [
            (name, len(result), measure, *ends)
            for measure, ends in zip(result.measures, numbers, strict=True)
        ]
    return pd.DataFrame(rows, columns=["set", "faces", "measure", "mean", "low", "high"])


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """`expressiveness_table` with a row per measure and a column per set: "mean (low to high)"."""
    text = [
        f"{mean:.2f} ({low:.2f} to {high:.2f})"
        for mean, low, high in table[["mean", "low", "high"]].itertuples(index=False)
    ]
    column = [f"{name}, {faces} faces" for name, faces in zip(table["set"], table["faces"], strict=True)]
    shown = table.assign(text=text, column=column)
    shown = shown.pivot(index="measure", columns="column", values="text")
    return (
        shown.loc[table["measure"].unique(), list(dict.fromkeys(column))]
        .rename_axis(columns=None)
        .reset_index()
    )


def _fit(
    model: FaceModel, true: np.ndarray, noise: float, seen: np.ndarray | None = None
) -> tuple[Fit, np.ndarray]:
    """The fit to the landmarks that are `seen`, by default all, and its landmarks (n, 68, 2) in photo pixels."""
    weights = np.ones(LANDMARKS) if seen is None else np.isin(np.arange(LANDMARKS), seen).astype(float)
    fit = model.fit(true * [1, -1], noise=noise, weights=weights)
    return fit, fit.landmarks[..., :2] * [1.0, -1.0]


def _follow(
    model: FaceModel, true: np.ndarray, fit: Fit, seen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (n, 68, 2) in photo pixels with a free form on top of a fit, and its moves (n, V, 3) in mm."""
    seen = np.arange(LANDMARKS) if seen is None else seen
    cameras = fit.camera.astype(float)
    fitted = fit.landmarks[..., :2].astype(float)
    missed = (true * [1, -1] - fitted)[:, seen]
    moves = np.stack(
        [
            free_form(model, missing @ in_millimetres(camera), landmarks=seen)
            for missing, camera in zip(missed, cameras, strict=True)
        ]
    )
    weights = model.landmark_weights[..., None]
    at_landmarks = (moves[:, model.landmark_vertices] * weights).sum(axis=-2)
    shown = np.einsum("nij,npj->npi", cameras[:, :2, :3], at_landmarks)
    return (fitted + shown) * [1, -1], moves


def _coefficients(fit: Fit) -> np.ndarray:
    return np.concatenate([fit.identity, fit.expression], axis=1)


def _distance(coefficients: np.ndarray, identity_modes: int) -> np.ndarray:
    parts = np.split(coefficients, [identity_modes], axis=1)
    return np.stack([np.linalg.norm(part, axis=1) for part in parts], axis=1)
