"""How likely a face is wrong: one calibrated probability made of the signs.

    face.failure_probability   # that the landmarks' NME is above 8 %, from 0 to 1, or None

The score is an additive logistic model. Each sign's say is a broken line that never falls as the sign gets worse and
is level beyond what the fit saw, so that a probability can be read off its parts and nothing is extrapolated.
`m4kit.training.failure` fits it; it holds for one network alone, whose fingerprint lies beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import minimize

from m4kit.files import write_whole
from m4kit.metrics import FAILURE_NME

if TYPE_CHECKING:
    from m4kit.prediction import Face

VERSION = 1
"""Of the file; another one is not read."""

KNOTS = 5
"""Places where a sign's broken line may bend."""

_FORMAT = "m4kit failure score"
_ASSET = "failure.json"


class FailureModelError(ValueError):
    """A failure score that cannot be fitted or read."""


class Sign(NamedTuple):
    """A sign that the score uses: the name of the measured value, and whether more of it is worse."""

    value: str
    more_is_worse: bool


CHEAP = {
    "detector score": Sign("score", False),
    "heads' spread": Sign("head_spread", True),
    "identity": Sign("identity_distance", True),
    "expression": Sign("expression_distance", True),
    "edges": Sign("edge_agreement", False),
    "box misfit": Sign("box_misfit", True),
    "crop misfit": Sign("crop_misfit", True),
    "turn": Sign("turn", True),
    "size": Sign("size", False),
    "outside": Sign("outside", True),
    "blur": Sign("sharpness", False),
    "contrast": Sign("contrast", False),
    "darkness": Sign("exposure", False),
    "brightness": Sign("exposure", True),
    "clipped": Sign("clipped", True),
}
"""The signs that need no further run of the network."""

ALL = CHEAP | {"flip": Sign("flip_consistency", True), "jitter": Sign("jitter_consistency", True)}
"""Those, and the two that run it seven times more."""

SETS = {"cheap": CHEAP, "all": ALL}


@dataclass(frozen=True)
class Line:
    """A sign's say: log-odds that rise by `rises` (k - 1,) between the `knots` (k,), from good to bad.

    Knots are values of the sign, negative where less of it is worse, so that they always rise. `average` is its mean
    over the fit: what a sign says that is not known.
    """

    knots: tuple[float, ...]
    rises: tuple[float, ...]
    average: float = 0.0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Log-odds (n,) of a sign's values (n,), against the average."""
        say = _ramps(np.asarray(values, dtype=float), self.knots) @ np.asarray(self.rises)
        return np.where(np.isnan(values), 0.0, say - self.average)


@dataclass(frozen=True)
class FailureModel:
    """The score: log-odds `intercept` and a `Line` for each sign.

    `network` and `detector` are the fingerprints of those that it was fitted with, `about` what the fit measured.
    """

    intercept: float
    lines: Mapping[str, Line] = field(repr=False)
    network: str = ""
    detector: str = ""
    about: Mapping[str, object] = field(default_factory=dict, repr=False)

    def say(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What each sign adds to the log-odds of failure against its average, (n,) each.

        `values` are the measured values by name, (n,) each, NaN where one is not known.
        """
        lacking = sorted({ALL[name].value for name in self.lines} - values.keys())
        if lacking:
            raise FailureModelError(
                f"failure score: expected the signs {', '.join(lacking)}, got none of them"
            )
        return {name: line(_arranged(values, name)) for name, line in self.lines.items()}

    def probability(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """How likely each face's NME is above `FAILURE_NME`, (n,), from 0 to 1."""
        return 1 / (1 + np.exp(-self.intercept - sum(self.say(values).values())))

    @classmethod
    def fit(
        cls,
        values: Mapping[str, np.ndarray],
        failed: np.ndarray,
        *,
        names: str = "cheap",
        smoothing: float = 3.0,
        network: str = "",
        detector: str = "",
    ) -> FailureModel:
        """The most likely model of measured values (n,) each and of which faces failed, (n,) bool.

        `names` is one of `SETS`. The knots lie at quantiles of each sign. `smoothing` holds back rises that the
        faces do not ask for: its product with their squares is added to the negative log-likelihood.

        Raises `FailureModelError` unless there are at least ten faces of either kind.
        """
        failed = np.asarray(failed, dtype=bool)
        if min(failed.sum(), (~failed).sum()) < 10:
            raise FailureModelError(
                f"failure score: expected at least 10 faces that failed and 10 that did not, got {failed.sum()} and "
                f"{(~failed).sum()}; give more faces, or other severities"
            )
        columns, knots = [], {}
        for name in SETS[names]:
            sign = _arranged(values, name)
            known = sign[np.isfinite(sign)]
            places = np.unique(np.quantile(known, np.linspace(0.02, 0.98, KNOTS))) if len(known) else []
            if len(places) < 2:
                # Nearly all faces have the same value (nothing lies outside): between it and the worst.
                places = np.unique([known.min(), known.max()]) if len(known) else []
            if len(places) < 2:
                continue
            knots[name] = tuple(float(place) for place in places)
            ramps = _ramps(sign, knots[name])
            ramps[np.isnan(sign)] = np.nanmean(ramps, axis=0)
            columns.append(ramps)
        rises, intercept = _most_likely(np.concatenate(columns, axis=1), failed, smoothing)
        lines, first = {}, 0
        for (name, places), ramps in zip(knots.items(), columns, strict=True):
            own = rises[first : first + len(places) - 1]
            first += len(own)
            average = float(ramps.mean(axis=0) @ own)
            intercept += average
            lines[name] = Line(places, tuple(own.tolist()), average)
        return cls(float(intercept), lines, network, detector)

    def to_dict(self) -> dict[str, object]:
        """What JSON can hold of it."""
        return {
            "intercept": self.intercept,
            "lines": {
                name: {"knots": line.knots, "rises": line.rises, "average": line.average}
                for name, line in self.lines.items()
            },
        }


def save_models(models: Mapping[str, FailureModel], path: str | Path, *, about: Mapping[str, object]) -> None:
    """Write the scores of `SETS` into one file, with what was measured of them; whole or not at all."""
    path, first = Path(path), next(iter(models.values()))
    content = {
        "format": _FORMAT,
        "version": VERSION,
        "network": first.network,
        "detector": first.detector,
        "failure": f"NME above {FAILURE_NME:g} %",
        "about": dict(about),
        "scores": {name: model.to_dict() for name, model in models.items()},
    }
    write_whole(path, f"{json.dumps(_rounded(content), indent=1)}\n".encode())


def load_models(path: str | Path | None = None) -> dict[str, FailureModel]:
    """The scores of a file by the names of `SETS`; by default those of the package.

    Raises `FailureModelError` for a file that is missing, broken or of another version.
    """
    path = resources.files("m4kit.assets") / _ASSET if path is None else Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["format"], content["version"]) != (_FORMAT, VERSION):
            raise ValueError(f"it is {content['format']}, version {content['version']}")
        return {
            name: FailureModel(
                float(score["intercept"]),
                {
                    sign: Line(tuple(line["knots"]), tuple(line["rises"]), float(line["average"]))
                    for sign, line in score["lines"].items()
                },
                content["network"],
                content["detector"],
                content["about"],
            )
            for name, score in content["scores"].items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FailureModelError(
            f"{path}: expected a failure score of version {VERSION} ({error}); fit it with m4kit.training.failure"
        ) from error


@cache
def packaged() -> Mapping[str, FailureModel]:
    """The scores that come with the package."""
    return load_models()


def note_of(network: str) -> str:
    """Why the packaged score says nothing about the answers of a network with that fingerprint; empty if it does."""
    if not network:
        return (
            "no failure probability: it is fitted for a network's own answer, and this face was made by hand or its "
            "heads were weighed anew"
        )
    fitted_for = packaged()["cheap"].network
    if network == fitted_for:
        return ""
    return (
        f"no failure probability: it is fitted for the network {fitted_for}, and {network} answered; fit one with "
        "python -m m4kit.training.failure"
    )


def probability_of(face: Face, *, measured: Mapping[str, float]) -> float | None:
    """How likely the face's NME is above `FAILURE_NME`, from 0 to 1; None where `note_of` says why.

    `measured` are the values of `signs.of_face`; with `flip_consistency` and `jitter_consistency` beside them, all
    signs are used.
    """
    if face.origin is None or note_of(face.origin.network):
        return None
    model = packaged()["all" if {"flip_consistency", "jitter_consistency"} <= measured.keys() else "cheap"]
    # The score of another detector, or of a box that the user gave, is on another scale.
    score = face.box.score if face.origin.detector == model.detector else np.nan
    values = {name: np.array([value]) for name, value in ({"score": score} | dict(measured)).items()}
    return float(model.probability(values)[0])


def _arranged(values: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A sign's values (n,) turned so that more is worse."""
    sign = ALL[name]
    return np.asarray(values[sign.value], dtype=float) * (1 if sign.more_is_worse else -1)


def _ramps(values: np.ndarray, knots: tuple[float, ...]) -> np.ndarray:
    """How far values (n,) have come between each two knots, (n, k - 1), from 0 to 1; NaN where they are."""
    low, high = np.asarray(knots[:-1]), np.asarray(knots[1:])
    return np.clip((values[:, None] - low) / (high - low), 0, 1)


def _most_likely(ramps: np.ndarray, failed: np.ndarray, smoothing: float) -> tuple[np.ndarray, float]:
    """Rises (k,) that are not negative, and the intercept."""
    signs_ = np.where(failed, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = signs_ * (ramps @ weights[1:] + weights[0])
        pull = -signs_ / (1 + np.exp(np.clip(margin, -50, 50)))
        gradient = np.concatenate([[pull.sum()], pull @ ramps + 2 * smoothing * weights[1:]])
        return float(np.logaddexp(0, -margin).sum() + smoothing * (weights[1:] ** 2).sum()), gradient

    start = np.zeros(ramps.shape[1] + 1)
    bounds = [(None, None), *[(0, None)] * ramps.shape[1]]
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 2000})
    return found.x[1:], float(found.x[0])


def _rounded(content):
    """Numbers to six digits: more would only be noise in the package's history."""
    if isinstance(content, float):
        return float(f"{content:.6g}")
    if isinstance(content, Mapping):
        return {name: _rounded(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_rounded(value) for value in content]
    return content
