"""Collects the record of an activation study from the files of its trainings."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np

from m4kit.ablation.activations.record import BEST, ERRORS, SEARCH, STEPS, ActivationRecord, RunRecord
from m4kit.ablation.activations.run import Run
from m4kit.ablation.activations.study import Study
from m4kit.ablation.record import RecordError

_MOST_STEPS = 4000


def collect(study: Study | str | Path, *, partial: bool = False) -> ActivationRecord:
    """Collect the record of a study, or of the study in a folder.

    Raises `RecordError` if planned trainings have not ended, unless `partial`, or if the files of one are damaged. A
    training of more than 4000 steps keeps every second (third ...) of them.
    """
    study = study if isinstance(study, Study) else Study.open(study)
    searches, trainings = study.plan.searches(), study.trainings()
    missing = [run.name for run in (*searches, *trainings) if study.result(run) is None]
    if not trainings:
        missing.append("all trainings, whose learning rates the searches must find first")
    if missing and not partial:
        raise RecordError(
            f"{study.out}: expected a study that has ended, got {len(missing)} missing trainings "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}); continue the study, or collect the "
            "ended trainings (partial)"
        )
    found = {}
    for run in (*searches, *trainings):
        if study.result(run) is None:
            continue
        purposes = tuple(name for name, own in ((SEARCH, searches), (BEST, trainings)) if run in own)
        found[run] = _read_run(study, run, purposes)
    if not found:
        raise RecordError(f"{study.out}: expected at least one training that has ended, got none")
    # Without the folders of the machine.
    command = shlex.join(Path(word).name for word in shlex.split(study.command))
    return ActivationRecord(tuple(found.values()), command, study.plan.to_dict(), tuple(missing))


def _read_run(study: Study, run: Run, purposes: tuple[str, ...]) -> RunRecord:
    """A training from the files in its folder."""
    result, path = study.result(run), study.folder(run) / "metrics.jsonl"
    try:
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        steps = [entry for entry in entries if "loss" in entry]
        steps = steps[:: -(-len(steps) // _MOST_STEPS) or 1]
        validations = [entry for entry in entries if "validation" in entry]
        observed = [entry for entry in entries if "units" in entry]
        stages = tuple(observed[0]["units"])
        arrays = {name: _column(steps, name, "int32" if name == "step" else "float32") for name in STEPS}
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
            f"{path}: expected the log of a training, but it is missing or damaged ({type(error).__name__}: "
            f"{error}); remove {path.parent} and start the study again"
        ) from error
    return RunRecord(
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
