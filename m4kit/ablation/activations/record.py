"""The record of a study of the activations: all its trainings in one small file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m4kit.ablation.activations.units import BINS
from m4kit.ablation.record import RecordFormat, reshaped

if TYPE_CHECKING:
    import pandas as pd

SEARCH, BEST = "search", "best"
PURPOSES = (SEARCH, BEST)

TERMS = ("landmarks", "vertices", "parameters", "rotation", "points")
ERRORS = ("nme", "balanced", "yaw", "pitch", "roll")

STEPS = {
    "step": "int32",
    **dict.fromkeys(("loss", "gradient"), "float32"),
    **dict.fromkeys((*TERMS, "seconds", "cpu_seconds"), "float16"),
}
_VALIDATIONS = {"validated": "int32", **dict.fromkeys(ERRORS, "float32")}
_STAGES = {
    **dict.fromkeys(("dead", "saturated", "input_mean", "input_std"), "float16"),
    "stage_gradients": "float32",
}
_ARRAYS = STEPS | _VALIDATIONS | _STAGES | {"histograms": "float16"}
"""The arrays of a training and their types in the file."""

_JSON = ("versions", "config")
_LISTS = ("purposes", "stages")


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One training.

    - `purposes`: "search" (for a learning rate) and "best" (trained at its activation's best rate). `planned`: number
      of steps that it was to take. `status`: "finished" or "diverged", which `why` explains.
    - For each of n steps (n,): its number `step`, the `loss`, the terms of the loss of the fused output (`landmarks`
      and `vertices` in crop-frame pixels, `parameters` in standard deviations, `rotation` in degrees, `points` in
      pixels), the norm of the whole `gradient` before clipping, the wall-clock `seconds` and the `cpu_seconds`.
    - At each of v validations (v,), after step `validated`: NME and balanced NME in percent, and mean absolute errors
      of yaw, pitch and roll in degrees, all of the averaged weights.
    - For each of v validations and s `stages` (v, s), as in `units.Units`: the share of `dead` units and of
      `saturated` values, mean and standard deviation of the pre-activations, and the norm of the stage's gradients in
      the previous step. `histograms` (2, s, 64): shares of the pre-activations between `units.BINS`, before the first
      step and at the last validation.
    """

    activation: str
    learning_rate: float
    seed: int
    planned: int
    purposes: tuple[str, ...]
    status: str
    why: str
    machine: str
    versions: dict[str, str] = field(repr=False)
    config: dict = field(repr=False)
    stages: tuple[str, ...] = field(repr=False)
    step: np.ndarray = field(repr=False)
    loss: np.ndarray = field(repr=False)
    landmarks: np.ndarray = field(repr=False)
    vertices: np.ndarray = field(repr=False)
    parameters: np.ndarray = field(repr=False)
    rotation: np.ndarray = field(repr=False)
    points: np.ndarray = field(repr=False)
    gradient: np.ndarray = field(repr=False)
    seconds: np.ndarray = field(repr=False)
    cpu_seconds: np.ndarray = field(repr=False)
    validated: np.ndarray = field(repr=False)
    nme: np.ndarray = field(repr=False)
    balanced: np.ndarray = field(repr=False)
    yaw: np.ndarray = field(repr=False)
    pitch: np.ndarray = field(repr=False)
    roll: np.ndarray = field(repr=False)
    dead: np.ndarray = field(repr=False)
    saturated: np.ndarray = field(repr=False)
    input_mean: np.ndarray = field(repr=False)
    input_std: np.ndarray = field(repr=False)
    stage_gradients: np.ndarray = field(repr=False)
    histograms: np.ndarray = field(repr=False)

    @cached_property
    def diverged(self) -> bool:
        """Whether the loss became infinite or NaN."""
        return self.status == "diverged" or not np.isfinite(self.loss).all()


PACKAGED = {"eight": "activations.parquet", "relu-series": "activations_relu_series.parquet"}
"""The files of the packaged records by name."""

_FORMAT = RecordFormat(
    name="activation study",
    version=2,
    columns=tuple(column.name for column in fields(RunRecord)),
    about=("command", "plan", "missing"),
    command="m4kit ablate activations --collect",
)


@dataclass(frozen=True, eq=False)
class ActivationRecord:
    """All trainings of a study of the activations.

    `command` is the command line of the study, `plan` its plan (`Plan.to_dict`), and `missing` names the planned
    trainings that are not in the record.
    """

    runs: tuple[RunRecord, ...] = field(repr=False)
    command: str
    plan: dict
    missing: tuple[str, ...] = ()

    @property
    def activations(self) -> tuple[str, ...]:
        """The activations in the order of the study."""
        return tuple(dict.fromkeys(run.activation for run in self.runs))

    def select(
        self,
        *,
        purpose: str = BEST,
        activations: Iterable[str] | None = None,
        seeds: Iterable[int] | None = None,
    ) -> tuple[RunRecord, ...]:
        """The trainings with that purpose ("best" or "search"), activations and seeds; default: all.

        Raises `ValueError` for a purpose or an activation that is not in the record.
        """
        activations = self.activations if activations is None else tuple(activations)
        for word, values, known in (
            ("a purpose", [purpose], PURPOSES),
            ("activations", activations, self.activations),
        ):
            if unknown := [value for value in values if value not in known]:
                raise ValueError(
                    f"expected {word} out of {', '.join(known)}, got {', '.join(map(str, unknown))}"
                )
        seeds = None if seeds is None else set(seeds)
        return tuple(
            run
            for name in activations
            for run in self.runs
            if run.activation == name and purpose in run.purposes and (seeds is None or run.seed in seeds)
        )

    def table(self) -> pd.DataFrame:
        """One row per training: its settings, its last loss (mean over the last tenth) and its last errors."""
        import pandas as pd

        rows = [
            {
                "activation": run.activation,
                "learning_rate": run.learning_rate,
                "seed": run.seed,
                "steps": len(run.step) and int(run.step[-1]),
                "purposes": ", ".join(run.purposes),
                "status": "diverged" if run.diverged else run.status,
                "loss": np.nan if run.diverged else float(run.loss[-max(len(run.loss) // 10, 1) :].mean()),
                **{name: np.nan if run.diverged else float(getattr(run, name)[-1]) for name in ERRORS},
                "milliseconds": 1000 * float(np.median(run.seconds)) if len(run.seconds) else np.nan,
                "cpu_milliseconds": 1000 * float(np.median(run.cpu_seconds)) if len(run.seconds) else np.nan,
                "machine": run.machine,
            }
            for run in self.runs
        ]
        return pd.DataFrame(rows)

    def save(self, path: str | Path) -> Path:
        """Write the record as a parquet file, one row per training, atomically; returns the path."""
        columns = {
            name: [_as_stored(name, getattr(run, name)) for run in self.runs] for name in _FORMAT.columns
        }
        return _FORMAT.write(path, columns, {name: getattr(self, name) for name in _FORMAT.about})

    @classmethod
    def load(cls, source: str | Path = "eight") -> ActivationRecord:
        """Read a record: a file that `save` wrote, or a packaged one by its name in `PACKAGED`.

        "eight" compares all activations at the rates that a short search picks. "relu-series" compares ReLU, ELU,
        RReLU and Sigmoid, with three seeds at three rates, and four times as long at the best one.

        Raises `RecordError` if the file is missing, damaged or of another version.
        """
        path = resources.files("m4kit.assets") / PACKAGED[source] if source in PACKAGED else source
        path = Path(str(path))
        table, about = _FORMAT.read(path)
        runs = tuple(_run_of(path, row) for row in table.to_dict("records"))
        return cls(runs, about["command"], about["plan"], tuple(about["missing"]))


def _as_stored(name: str, value):
    if name in _JSON:
        return json.dumps(value)
    if name in _ARRAYS:
        # A value too large for its type comes from a divergence, and becomes infinite.
        with np.errstate(over="ignore"):
            return np.asarray(value).astype(_ARRAYS[name]).ravel()
    return list(value) if name in _LISTS else value


def _run_of(path: str | Path, row: dict) -> RunRecord:
    """A training from its row of the table."""
    values = (
        row | {name: json.loads(row[name]) for name in _JSON} | {name: tuple(row[name]) for name in _LISTS}
    )
    n, v, s = len(row["step"]), len(row["validated"]), len(row["stages"])
    shapes = dict.fromkeys(STEPS, (n,)) | dict.fromkeys(_VALIDATIONS, (v,)) | dict.fromkeys(_STAGES, (v, s))
    shapes["histograms"] = (2, s, len(BINS) - 1)
    for name, shape in shapes.items():
        array = reshaped(path, name, row[name], shape)
        values[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    return RunRecord(**values)
