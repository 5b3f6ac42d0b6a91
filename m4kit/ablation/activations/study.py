"""The study of the activations: its trainings, their order, and their results in a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from m4kit.ablation.activations.run import RESULT, Run, Settings, study_faces
from m4kit.ablation.activations.workers import train_all
from m4kit.files import write_whole
from m4kit.network import ACTIVATIONS
from m4kit.training import TrainingError
from m4kit.training.data import decoded_crops

VERSION = 2
"""Version of a study's folder. It is raised when an old folder can no longer be continued."""

_PLAN = "study.json"


class StudyError(TrainingError):
    """A study cannot start or continue."""


@dataclass(frozen=True)
class Plan:
    """The trainings that a study compares.

    - For each activation, trainings of `search_steps` steps with the first `search_seeds` of the seeds search its
      learning rate among `rates`. The best rate has the lowest validation NME at the end, of the averaged weights and
      as the mean over these seeds. A rate at which one diverged is never the best.
    - Then each activation is trained for `steps` steps with each seed, at its best rate.

    `labels` is the digest of the faces that the study trains on (`Labels.digest`), empty before it runs.
    """

    activations: tuple[str, ...] = tuple(ACTIVATIONS)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 1000
    search_steps: int = 150
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    search_seeds: int = 1
    settings: Settings = field(default_factory=Settings)
    labels: str = ""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.activations) - set(ACTIVATIONS)):
            raise StudyError(
                f"expected activations out of {', '.join(ACTIVATIONS)}, got {', '.join(unknown)}"
            )
        if not (self.activations and self.seeds and self.rates):
            raise StudyError("expected at least one activation, one seed and one learning rate")
        for name in ("activations", "seeds", "rates"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise StudyError(f"{name}: expected each once, got {getattr(self, name)}")
        if min(self.steps, self.search_steps) < 1 or not all(0 < rate < math.inf for rate in self.rates):
            raise StudyError(
                f"expected steps, search_steps and rates above 0, got {self.steps}, {self.search_steps} and "
                f"{self.rates}"
            )
        if not 1 <= self.search_seeds <= len(self.seeds):
            raise StudyError(
                f"expected search_seeds from 1 to the number of seeds, {len(self.seeds)}, got {self.search_seeds}"
            )

    def searches(self) -> list[Run]:
        """The trainings that search learning rates, seed by seed; none if there is only one rate."""
        if len(self.rates) == 1:
            return []
        return [
            Run(activation, rate, seed, self.search_steps)
            for seed in self.seeds[: self.search_seeds]
            for activation in self.activations
            for rate in self.rates
        ]

    def trainings(self, best: Mapping[str, float]) -> list[Run]:
        """The full trainings, seed by seed, so that an unfinished study is balanced."""
        return [Run(name, best[name], seed, self.steps) for seed in self.seeds for name in self.activations]

    def to_dict(self) -> dict:
        """The plan as plain values for JSON."""
        names = ("activations", "seeds", "steps", "search_steps", "rates", "search_seeds", "labels")
        plain = {name: getattr(self, name) for name in names} | {"settings": self.settings.to_dict()}
        return json.loads(json.dumps(plain))

    @classmethod
    def from_dict(cls, values: Mapping) -> Plan:
        """The plan from the values of `to_dict`."""
        lists = {name: tuple(values[name]) for name in ("activations", "seeds", "rates")}
        return cls(**(dict(values) | lists | {"settings": Settings.from_dict(values["settings"])}))


class Study:
    """A study in the folder `out`: its plan, and one folder below `runs` per training.

    `command` is the command line that runs it. The first plan of a folder is saved at once, a later one when it runs.

    The same plan in the same folder continues the study. A plan may grow (more seeds, activations or steps). A plan
    with other `settings`, or that runs on other labels, raises `StudyError`, because its trainings could not be
    compared.
    """

    def __init__(self, plan: Plan, out: str | Path, *, command: str = ""):
        self.plan, self.out, self.command = plan, Path(out), command
        if (self.out / _PLAN).is_file():
            kept, _ = _read_plan(self.out)
            self.plan = replace(plan, labels=kept.labels)
            if kept.settings != plan.settings:
                ours, theirs = plan.settings.to_dict(), kept.settings.to_dict()
                differing = sorted(name for name in ours if ours[name] != theirs[name])
                raise StudyError(
                    f"{self.out}: expected the settings of the study in this folder, got another "
                    f"{', '.join(differing)}; give the same to continue it, or another folder for a new study"
                )
        else:
            self.out.mkdir(parents=True, exist_ok=True)
            self._keep()

    @classmethod
    def open(cls, out: str | Path) -> Study:
        """Open the study in a folder. Raises `StudyError` if there is none."""
        study = cls.__new__(cls)
        (study.plan, study.command), study.out = _read_plan(Path(out)), Path(out)
        return study

    def folder(self, run: Run) -> Path:
        """Folder of a training."""
        return self.out / "runs" / run.name

    def result(self, run: Run) -> dict | None:
        """How a training ended (see `run.train`), or `None` if it has not ended."""
        path = self.folder(run) / RESULT
        return json.loads(path.read_text()) if path.is_file() else None

    def search_errors(self) -> dict[Run, float]:
        """Final validation NME of each search that has ended, infinite if it diverged."""
        return {run: self._final_error(run) for run in self.plan.searches() if self.result(run) is not None}

    def best_rates(self) -> dict[str, float]:
        """Best learning rate of each activation whose searches have all ended."""
        plan, errors = self.plan, self.search_errors()
        if not plan.searches():
            return dict.fromkeys(plan.activations, plan.rates[0])
        best = {}
        for name in plan.activations:
            own = [run for run in plan.searches() if run.activation == name]
            if all(run in errors for run in own):
                at = {rate: [errors[run] for run in own if run.learning_rate == rate] for rate in plan.rates}
                # If all diverged, the lowest rate is the most likely to work with a longer warm-up.
                best[name] = min(plan.rates, key=lambda rate: (sum(at[rate]), rate))
        return best

    def trainings(self) -> list[Run]:
        """The full trainings; empty until all searches have ended."""
        best = self.best_rates()
        return self.plan.trainings(best) if len(best) == len(self.plan.activations) else []

    def run(
        self,
        labels: str | Path,
        data: str | Path,
        *,
        cache: str | Path | None = None,
        jobs: int = 1,
        checkpoint_minutes: float = 1.0,
        progress: bool = True,
    ) -> None:
        """Run all trainings that have not ended: the searches first, `jobs` at a time with one core each.

        `labels` is a labels file, `data` the folder of the archives that it names, and `cache` a folder for the
        decoded crops (default: `out`). A training that diverges is a result. If a training fails for another reason,
        the others continue, and `StudyError` at the end gives its message.
        """
        if jobs < 1:
            raise StudyError(f"expected at least one job, got {jobs}")
        settings = self.plan.settings
        faces = study_faces(labels, settings)
        if self.plan.labels not in ("", faces.digest()):
            raise StudyError(
                f"{self.out}: expected the labels of the trainings in this folder, got others in {labels}; give the "
                "same to continue them, or another folder for a new study"
            )
        crops = decoded_crops(
            faces, data=data, cache=cache or self.out, crop_size=settings.crop_size, progress=progress
        )
        # Saved only when the trainings can begin: until then, the folder accepts other labels.
        self.plan = replace(self.plan, labels=faces.digest())
        self._keep()
        given = {
            "labels": Path(labels).resolve(),
            "crops": crops.resolve(),
            "checkpoint_minutes": checkpoint_minutes,
            "jobs": jobs,
        }
        self._run_all("searches", self.plan.searches(), given, progress)
        self._run_all("trainings", self.trainings(), given, progress)

    def _keep(self) -> None:
        about = {"version": VERSION, "command": self.command, "plan": self.plan.to_dict()}
        write_whole(self.out / _PLAN, f"{json.dumps(about, indent=2)}\n".encode())

    def _run_all(self, word: str, runs: Sequence[Run], given: dict, progress: bool) -> None:
        runs = [run for run in runs if self.result(run) is None]
        folders = [self.folder(run).resolve() for run in runs]
        total = sum(run.steps for run in runs)
        with tqdm(total=total, desc=word, unit="step", disable=not progress, mininterval=2) as bar:
            failures = train_all(runs, folders, self.plan.settings, bar=bar, **given)
        if failures:
            raise StudyError(
                f"{len(failures)} of {len(runs)} {word} failed; run the same command again to continue them. "
                + "; ".join(failures)
            )

    def _final_error(self, run: Run) -> float:
        if self.result(run)["status"] != "finished":
            return math.inf
        lines = (self.folder(run) / "metrics.jsonl").read_text().splitlines()
        errors = [entry["validation"]["nme"] for entry in map(json.loads, lines) if "validation" in entry]
        return errors[-1] if math.isfinite(errors[-1]) else math.inf


def _read_plan(out: Path) -> tuple[Plan, str]:
    """The plan in a folder, and the command line that last ran it."""
    try:
        about = json.loads((out / _PLAN).read_text())
        version = about["version"]
    except FileNotFoundError as error:
        raise StudyError(
            f"{out}: expected the folder of a study of the activations; start one with `m4kit ablate activations`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{out / _PLAN}: expected the plan of a study, got a file that cannot be read ({error})"
        ) from error
    if version != VERSION:
        raise StudyError(
            f"{out}: expected a study of version {VERSION}, got version {version}; give another folder"
        )
    return Plan.from_dict(about["plan"]), about["command"]
