"""The record of a study of the activations: all its trainings in one small file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m4kit.ablation.activations.run import Run
from m4kit.ablation.activations.study import BEST, COMMON, Study
from m4kit.ablation.activations.units import BINS
from m4kit.ablation.record import RecordError
from m4kit.files import whole_file

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of the record; a change in what it holds or means counts it up."""

SEARCH = "search"
PURPOSES = (SEARCH, BEST, COMMON)
TERMS = ("landmarks", "vertices", "parameters", "rotation", "points")
ERRORS = ("nme", "balanced", "yaw", "pitch", "roll")

_ABOUT = b"m4kit activation record"
_MOST_STEPS = 4000
_WORDS = ("origin", "activation", "status", "why", "machine", "versions", "config")
_NUMBERS = {"learning_rate": "float64", "seed": "int64", "planned": "int64"}
_STEPS = {
    "step": "int32",
    **dict.fromkeys(("loss", "gradient"), "float32"),
    **dict.fromkeys((*TERMS, "seconds", "cpu_seconds"), "float16"),
}
_VALIDATIONS = {"validated": "int32", **dict.fromkeys(ERRORS, "float32")}
_STAGES = {
    **dict.fromkeys(("dead", "saturated", "input_mean", "input_std"), "float16"),
    "stage_gradients": "float32",
}
_LISTS = _STEPS | _VALIDATIONS | _STAGES | {"histograms": "float16"}


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One training.

    - `purposes`: what it serves: "search" for a learning rate, "best" (trained at its activation's best rate) and
      "common" (at the rate that is common to all). `planned` are the steps it was to take; `status` is "finished" or
      "diverged", which `why` explains. `origin` names the study it comes from.
    - For each of n steps: its number `step`, the `loss` and its terms for the fused output (`landmarks`, `vertices`
      in crop-frame pixels, `parameters` in standard deviations, `rotation` in degrees, `points` in pixels), the norm
      of the whole `gradient` before clipping, the `seconds` it took and those it computed. All (n,).
    - At each of v validations, after step `validated`: NME and balanced NME in percent, and the mean absolute errors
      of yaw, pitch and roll in degrees, of the averaged weights. All (v,).
    - For each of v validations and s `stages` (v, s), as `activation_units.Units` says: the share of `dead` units, of
      `saturated` values, mean and standard deviation of the pre-activations, and the norm of the stage's gradients in
      the step before. `histograms` (2, s, 64) are the shares of the pre-activations between `activation_units.BINS`
      before the first step and at the last validation.
    """

    origin: str
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
        """Whether the loss became infinite, or not a number."""
        return self.status == "diverged" or not np.isfinite(self.loss).all()

    @property
    def name(self) -> str:
        """The training in words."""
        return (
            f"{self.activation}, learning rate {self.learning_rate:g}, seed {self.seed}, {self.planned} steps"
        )


@dataclass(frozen=True, eq=False)
class ActivationRecord:
    """All trainings of one or more studies of the activations.

    `studies` says of each, by the `origin` that its trainings name: the command, the plan, and which of the planned
    trainings are `missing`, in words.
    """

    runs: tuple[RunRecord, ...] = field(repr=False)
    studies: dict[str, dict]

    @classmethod
    def collect(
        cls, study: Study | str | Path, *, origin: str = "ours", partial: bool = False
    ) -> ActivationRecord:
        """The record of a study from its folder.

        Raises `RecordError` where planned trainings have not ended, unless `partial`, and where what one wrote is
        damaged. A training of more than 4000 steps keeps every second (third ...) of them.
        """
        study = study if isinstance(study, Study) else Study.open(study)
        best, common = study.best_rates(), study.common_rate()
        searches, trainings = study.plan.searches(), study.trainings()
        missing = [run.name for run in (*searches, *trainings) if study.result(run) is None]
        if not trainings:
            missing.append("all trainings, whose learning rates the searches must find first")
        if missing and not partial:
            raise RecordError(
                f"{study.out}: {len(missing)} trainings have not ended ({', '.join(missing[:3])}"
                f"{', ...' if len(missing) > 3 else ''}); go on with the study, or collect what there is (partial)"
            )
        found = {}
        # A purpose counts where all activations are there, so that those trainings compare like with like.
        whole = {
            purpose
            for purpose, rates in ((BEST, best), (COMMON, dict.fromkeys(study.plan.activations, common)))
            if trainings
            and all(
                Run(name, rates[name], seed, study.plan.steps) in trainings
                for name in study.plan.activations
                for seed in study.plan.seeds
            )
        }
        for run in (*searches, *trainings):
            if study.result(run) is None:
                continue
            purposes = (
                *[SEARCH] * (run in searches),
                *[BEST] * (BEST in whole and run in trainings and best[run.activation] == run.learning_rate),
                *[COMMON] * (COMMON in whole and run in trainings and common == run.learning_rate),
            )
            found[run] = _read_run(study, run, origin, purposes)
        if not found:
            raise RecordError(f"{study.out}: expected at least one training that has ended, none has")
        # Where files lay on another machine is nobody's business.
        command = shlex.join(Path(word).name for word in shlex.split(study.command))
        about = {"command": command, "plan": study.plan.to_dict(), "missing": missing}
        return cls(tuple(found.values()), {origin: about})

    @property
    def activations(self) -> tuple[str, ...]:
        """The activations in the order of the studies."""
        return tuple(dict.fromkeys(run.activation for run in self.runs))

    @property
    def origins(self) -> tuple[str, ...]:
        """The studies' names."""
        return tuple(self.studies)

    def select(
        self,
        *,
        purpose: str = BEST,
        activations: Iterable[str] | None = None,
        seeds: Iterable[int] | None = None,
        origin: str | None = None,
    ) -> tuple[RunRecord, ...]:
        """The trainings of that purpose ("best", "common" or "search"), activations, seeds and origin; default: all.

        Raises `ValueError` for a purpose, an activation or an origin that is not in the record.
        """
        activations = self.activations if activations is None else tuple(activations)
        for word, values, known in (
            ("a purpose", [purpose], PURPOSES),
            ("activations", activations, self.activations),
            ("an origin", [] if origin is None else [origin], self.origins),
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
            if run.activation == name
            and purpose in run.purposes
            and (seeds is None or run.seed in seeds)
            and origin in (None, run.origin)
        )

    def named(self, origin: str) -> ActivationRecord:
        """The same record of one study under another name of its origin, to merge it with ours."""
        if len(self.studies) != 1:
            raise RecordError(f"expected a record of one study to name, got {', '.join(self.origins)}")
        runs = tuple(replace(run, origin=origin) for run in self.runs)
        return ActivationRecord(runs, {origin: next(iter(self.studies.values()))})

    def merged(self, other: ActivationRecord) -> ActivationRecord:
        """Both records as one; each training keeps its origin. `RecordError` if they share an origin's name."""
        if shared := sorted(set(self.origins) & set(other.origins)):
            raise RecordError(
                f"both records have studies named {', '.join(shared)}; name one anew: record.named('theirs')"
            )
        return ActivationRecord((*self.runs, *other.runs), self.studies | other.studies)

    def table(self) -> pd.DataFrame:
        """A row a training: what it was, and its last loss (mean over the last tenth) and errors."""
        import pandas as pd

        rows = [
            {
                "origin": run.origin,
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
        """Write the record as one parquet file, a row a training, whole or not at all; the path."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: pa.array([_as_word(getattr(run, name)) for run in self.runs]) for name in _WORDS}
        columns |= {
            name: pa.array([getattr(run, name) for run in self.runs], pa.type_for_alias(kind))
            for name, kind in _NUMBERS.items()
        }
        for name in ("purposes", "stages"):
            columns[name] = pa.array([list(getattr(run, name)) for run in self.runs], pa.list_(pa.string()))
        for name, kind in _LISTS.items():
            # What is too large for its kind has diverged, and is infinite as well.
            with np.errstate(over="ignore"):
                flat = [np.asarray(getattr(run, name)).astype(kind).ravel() for run in self.runs]
            columns[name] = pa.array(flat, pa.list_(pa.from_numpy_dtype(kind)))
        about = json.dumps({"version": VERSION, "studies": self.studies})
        table = pa.table(columns).replace_schema_metadata({_ABOUT: about.encode()})
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            pq.write_table(table, part, compression="zstd", compression_level=12)
        return path

    @classmethod
    def load(cls, path: str | Path | None = None) -> ActivationRecord:
        """Read a record that `save` wrote; without a path, the packaged one.

        Raises `RecordError` if it is missing, truncated, lacks columns, or is of another version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(resources.files("m4kit.assets") / "activations.parquet") if path is None else Path(path)
        expected = f"{path}: expected a record of the activation study (.parquet, version {VERSION})"
        try:
            table = pq.read_table(pa.BufferReader(path.read_bytes()))
        except FileNotFoundError as error:
            raise RecordError(
                f"{path}: no such record; write one with `m4kit ablate activations --collect`"
            ) from error
        except (OSError, pa.ArrowException) as error:
            raise RecordError(
                f"{expected}, got a file that is truncated or something else ({error}); collect it anew"
            ) from error
        try:
            about = json.loads((table.schema.metadata or {})[_ABOUT])
            version, studies = about["version"], about["studies"]
        except (KeyError, ValueError) as error:
            raise RecordError(f"{expected}, got another parquet file; give a record") from error
        if version != VERSION:
            raise RecordError(f"{expected}, got version {version}; collect it anew with this m4kit")
        names = (*_WORDS, *_NUMBERS, "purposes", "stages", *_LISTS)
        if missing := sorted(set(names) - set(table.column_names)):
            raise RecordError(
                f"{expected}, but its columns {', '.join(missing)} are missing; collect it anew"
            )
        rows = zip(*(table.column(name) for name in names), strict=True)
        return cls(tuple(_run_of(dict(zip(names, row, strict=True)), expected) for row in rows), studies)


def merge(records: Sequence[ActivationRecord]) -> ActivationRecord:
    """Several records as one; see `ActivationRecord.merged`."""
    if not records:
        raise RecordError("expected at least one record to merge, got none")
    whole, *rest = records
    for record in rest:
        whole = whole.merged(record)
    return whole


def _as_word(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _run_of(row: dict, expected: str) -> RunRecord:
    """A training from a row's arrow scalars."""
    values = {name: row[name].as_py() for name in (*_WORDS, *_NUMBERS)}
    values |= {name: json.loads(values[name]) for name in ("versions", "config")}
    values |= {name: tuple(row[name].as_py()) for name in ("purposes", "stages")}
    arrays = {name: row[name].values.to_numpy(zero_copy_only=False) for name in _LISTS}
    n, v, s = len(arrays["step"]), len(arrays["validated"]), len(values["stages"])
    shapes = dict.fromkeys(_STEPS, (n,)) | dict.fromkeys(_VALIDATIONS, (v,)) | dict.fromkeys(_STAGES, (v, s))
    shapes["histograms"] = (2, s, len(BINS) - 1)
    for name, shape in shapes.items():
        if arrays[name].size != np.prod(shape):
            raise RecordError(
                f"{expected} with {name} of shape {shape}, got {arrays[name].size} numbers; collect it anew"
            )
        arrays[name] = arrays[name].reshape(shape)
        if arrays[name].dtype == np.float16:
            arrays[name] = arrays[name].astype(np.float32)
    return RunRecord(**values, **arrays)


def _read_run(study: Study, run: Run, origin: str, purposes: tuple[str, ...]) -> RunRecord:
    """A training from what it wrote into its folder."""
    result, path = study.result(run), study.folder(run) / "metrics.jsonl"
    try:
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        steps = [entry for entry in entries if "loss" in entry]
        steps = steps[:: -(-len(steps) // _MOST_STEPS) or 1]
        validations = [entry for entry in entries if "validation" in entry]
        observed = [entry for entry in entries if "units" in entry]
        stages = tuple(observed[0]["units"])
        arrays = {name: _column(steps, name, "int32" if name == "step" else "float32") for name in _STEPS}
        arrays["validated"] = _column(validations, "step", "int32")
        errors = [entry["validation"] for entry in validations]
        arrays |= {name: _column(errors, name, "float32") for name in ERRORS}
        for name, theirs in (
            ("dead", "dead"),
            ("saturated", "saturated"),
            ("input_mean", "mean"),
            ("input_std", "std"),
        ):
            arrays[name] = np.array(
                [[entry["units"][stage][theirs] for stage in stages] for entry in observed], np.float32
            )
        arrays["stage_gradients"] = np.array(
            [[entry["gradients"][stage] for stage in stages] for entry in observed], np.float32
        )
        arrays["histograms"] = np.array(
            [
                [entry["units"][stage]["histogram"] for stage in stages]
                for entry in (observed[0], observed[-1])
            ],
            np.float32,
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise RecordError(
            f"{path}: expected what a training wrote, but it is missing or damaged ({type(error).__name__}: "
            f"{error}); remove {path.parent} and start the study again"
        ) from error
    return RunRecord(
        origin=origin,
        activation=run.activation,
        learning_rate=run.learning_rate,
        seed=run.seed,
        planned=run.steps,
        purposes=purposes,
        stages=stages,
        **{name: result[name] for name in ("status", "why", "machine", "versions", "config")},
        **arrays,
    )


def _column(entries: list[dict], name: str, kind: str) -> np.ndarray:
    return np.array([entry[name] for entry in entries], kind)
