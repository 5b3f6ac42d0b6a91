"""Estimates the failure probability of a face: a calibrated score made of the signs.

    face.failure_probability   # probability that the landmarks' NME is above 8 %, 0 to 1, or None

The score is a logistic model of a few signs. Each sign adds a monotone piecewise-linear term to the log-odds, which
is constant beyond the range of the fit: nothing is extrapolated, and one can read which sign adds how much.
`m4kit.training.failure` chooses the signs and fits the model. It is valid for one network only, whose fingerprint is
stored with it. A second model can also choose among two costly signs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m4kit.files import write_whole
from m4kit.metrics import FAILURE_NME

if TYPE_CHECKING:
    from m4kit.prediction import Face

VERSION = 1
"""Version of the file; files of another version are refused."""

KNOTS = 2
"""Number of knots of each sign's term. More make it no better on people who are left out of the fit."""

_SMOOTHING = 0.1
"""Weight of the fit's L2 penalty on the rises."""

_FORMAT = "m4kit failure score"
_ASSET = "failure.json"


class FailureModelError(ValueError):
    """A failure score that cannot be fitted or read."""


class Sign(NamedTuple):
    """A sign that a score can use: the name of its measured value, and whether more of it is worse."""

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
"""Signs that need no further run of the network."""

ALL = CHEAP | {"flip": Sign("flip_consistency", True), "jitter": Sign("jitter_consistency", True)}
"""The cheap signs, and two that run the network seven times more."""

SETS = {"cheap": CHEAP, "all": ALL}
"""The two scores, of a prediction and of a checked one, and the signs that each chooses from."""


@dataclass(frozen=True)
class Line:
    """A sign's term: log-odds that rise by `rises` (k - 1,) between the `knots` (k,), from good to bad.

    Knots are values of the sign, negated where less of it is worse. `average` is the term's mean over the fit, and
    its value where the sign is not known.
    """

    knots: tuple[float, ...]
    rises: tuple[float, ...]
    average: float = 0.0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Log-odds (n,) of a sign's values (n,), minus the average."""
        odds = _ramps(np.asarray(values, dtype=float), self.knots) @ np.asarray(self.rises)
        return np.where(np.isnan(values), 0.0, odds - self.average)


@dataclass(frozen=True)
class FailureModel:
    """The score: an `intercept` in log-odds and a `Line` for each sign.

    `network` and `detector` are the fingerprints of those that it was fitted with; `about` holds the fit's figures.
    """

    intercept: float
    lines: Mapping[str, Line] = field(repr=False)
    network: str = ""
    detector: str = ""
    about: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def needed(self) -> set[str]:
        """The names of the measured values that the score uses."""
        return {ALL[name].value for name in self.lines}

    def terms(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What each sign adds to the log-odds of failure, (n,) each.

        `values` holds the measured values by name, (n,) each, NaN where a value is not known.
        """
        lacking = sorted(self.needed - values.keys())
        if lacking:
            raise FailureModelError(
                f"failure score: expected the signs {', '.join(lacking)}, got none of them"
            )
        return {name: line(_arranged(values, name)) for name, line in self.lines.items()}

    def probability(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probability that each face's NME is above `FAILURE_NME`, (n,), 0 to 1."""
        return 1 / (1 + np.exp(-self.intercept - sum(self.terms(values).values())))

    @classmethod
    def fit(
        cls,
        values: Mapping[str, np.ndarray],
        failed: np.ndarray,
        *,
        names: Iterable[str],
        network: str = "",
        detector: str = "",
    ) -> FailureModel:
        """Fit the model by maximum likelihood to measured values, (n,) each, and to which faces failed, (n,) bool.

        `names` are signs out of `ALL`. The knots lie at quantiles of each sign.

        Raises `FailureModelError` unless there are at least ten faces of either kind.
        """
        failed = np.asarray(failed, dtype=bool)
        if min(failed.sum(), (~failed).sum()) < 10:
            raise FailureModelError(
                f"failure score: expected at least 10 faces that failed and 10 that did not, got {failed.sum()} and "
                f"{(~failed).sum()}; give more faces, or other severities"
            )
        columns, knots = [], {}
        for name in names:
            sign = _arranged(values, name)
            known = sign[np.isfinite(sign)]
            places = np.unique(np.quantile(known, np.linspace(0.02, 0.98, KNOTS))) if len(known) else []
            if len(places) < 2:
                # Nearly all faces have the same value: one rise between it and the worst.
                places = np.unique([known.min(), known.max()]) if len(known) else []
            if len(places) < 2:
                continue
            knots[name] = tuple(float(place) for place in places)
            ramps = _ramps(sign, knots[name])
            ramps[np.isnan(sign)] = np.nanmean(ramps, axis=0)
            columns.append(ramps)
        rises, intercept = _most_likely(np.hstack([np.empty((len(failed), 0)), *columns]), failed)
        lines, first = {}, 0
        for (name, places), ramps in zip(knots.items(), columns, strict=True):
            own = rises[first : first + len(places) - 1]
            first += len(own)
            average = float(ramps.mean(axis=0) @ own)
            intercept += average
            lines[name] = Line(places, tuple(own.tolist()), average)
        return cls(float(intercept), lines, network, detector)


def save_models(models: Mapping[str, FailureModel], path: str | Path, *, about: Mapping[str, object]) -> None:
    """Write the scores of `SETS` and their figures into one file, atomically."""
    path, first = Path(path), next(iter(models.values()))
    content = {
        "format": _FORMAT,
        "version": VERSION,
        "network": first.network,
        "detector": first.detector,
        "failure": f"NME above {FAILURE_NME:g} %",
        "about": dict(about),
        "scores": {
            name: {
                "intercept": model.intercept,
                "lines": {sign: asdict(line) for sign, line in model.lines.items()},
            }
            for name, model in models.items()
        },
    }
    # Six digits keep the file's history readable.
    rounded = json.loads(json.dumps(content), parse_float=lambda number: float(f"{float(number):.6g}"))
    write_whole(path, f"{json.dumps(rounded, indent=1)}\n".encode())


def load_models(path: str | Path | None = None) -> dict[str, FailureModel]:
    """Load the scores of a file, by the names of `SETS`; by default those of the package.

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
    """The scores that come with the package, loaded once."""
    return load_models()


def note_of(network: str) -> str:
    """Why the packaged score is not valid for a network with this fingerprint; empty if it is valid."""
    if not network:
        return (
            "no failure probability: it is fitted for a network's own answer, and this face was made by hand or has "
            "other head weights"
        )
    fitted_for = packaged()["cheap"].network
    if network == fitted_for:
        return ""
    return (
        f"no failure probability: it is fitted for the network {fitted_for}, and {network} answered; fit one with "
        "python -m m4kit.training.failure"
    )


def probabilities_of(
    faces: Sequence[Face], measured: Sequence[Mapping[str, float]], *, names: str = "cheap"
) -> list[float | None]:
    """Probability that each face's NME is above `FAILURE_NME`, 0 to 1; None where `note_of` gives a reason.

    `measured` holds each face's values of `signs.of_faces`. `names` is one of `SETS`: "all" needs the signs that run
    the network.
    """
    model = packaged()[names]
    values = {name: np.array([known[name] for known in measured]) for name in model.needed - {"score"}}
    # Another detector, or a given box, has scores on another scale.
    scores = [face.box.score if face.origin.detector == model.detector else np.nan for face in faces]
    found = model.probability(values | {"score": np.array(scores)}).tolist()
    return [None if note_of(face.origin.network) else one for face, one in zip(faces, found, strict=True)]


def _arranged(values: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A sign's values (n,), negated where less of it is worse."""
    sign = ALL[name]
    return np.asarray(values[sign.value], dtype=float) * (1 if sign.more_is_worse else -1)


def _ramps(values: np.ndarray, knots: tuple[float, ...]) -> np.ndarray:
    """Position of values (n,) between each two knots, (n, k - 1), clipped to 0 to 1; NaN where they are."""
    low, high = np.asarray(knots[:-1]), np.asarray(knots[1:])
    return np.clip((values[:, None] - low) / (high - low), 0, 1)


def _most_likely(ramps: np.ndarray, failed: np.ndarray) -> tuple[np.ndarray, float]:
    """The most likely rises (k,), which are not negative, and the intercept."""
    # Slow to import, and only the fit needs it.
    from scipy.optimize import minimize

    signs_ = np.where(failed, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = signs_ * (ramps @ weights[1:] + weights[0])
        pull = -signs_ / (1 + np.exp(np.clip(margin, -50, 50)))
        gradient = np.concatenate([[pull.sum()], pull @ ramps + 2 * _SMOOTHING * weights[1:]])
        return float(np.logaddexp(0, -margin).sum() + _SMOOTHING * (weights[1:] ** 2).sum()), gradient

    start = np.zeros(ramps.shape[1] + 1)
    bounds = [(None, None), *[(0, None)] * ramps.shape[1]]
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 2000})
    return found.x[1:], float(found.x[0])
