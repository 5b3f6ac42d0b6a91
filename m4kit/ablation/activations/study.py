"""The study of the activations: which trainings it takes, in which order, and how they are run side by side."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from m4kit.ablation.activations.run import RESULT, Run, Settings, study_faces
from m4kit.files import write_whole
from m4kit.network import ACTIVATIONS
from m4kit.training import TrainingError
from m4kit.training.data import decoded_crops

VERSION = 1
"""Of a study's folder: raised when an old one can no longer be gone on with."""

BEST, COMMON, BOTH = "best", "common", "both"

_PLAN = "study.json"
_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
"""glibc keeps what a training step frees for the next one, which then need not fault in every page."""


class StudyError(TrainingError):
    """A study cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What the study compares.

    - For each activation, trainings of `search_steps` steps with the first seed look for its learning rate among
      `rates`: the best is that of the lowest validation NME at the end (the averaged weights, on the same held-out
      faces for all). A diverged one never is.
    - Then each activation is trained for `steps` steps with each seed: with its own best rate ("best"), with the one
      that is best for all ("common": the lowest geometric mean of NME over the activations; rates at which one
      diverged come last), or "both".

    `labels` is the digest of the faces that it trains on (`Labels.digest`), empty until it does.
    """

    activations: tuple[str, ...] = tuple(ACTIVATIONS)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 1000
    search_steps: int = 150
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    learning_rates: str = BEST
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
        if self.learning_rates not in (BEST, COMMON, BOTH):
            raise StudyError(f"expected learning_rates best, common or both, got {self.learning_rates!r}")

    def searches(self) -> list[Run]:
        """The short trainings that look for learning rates; none where there is nothing to choose."""
        if len(self.rates) == 1:
            return []
        return [
            Run(activation, rate, self.seeds[0], self.search_steps)
            for activation in self.activations
            for rate in self.rates
        ]

    def trainings(self, best: Mapping[str, float], common: float) -> list[Run]:
        """The trainings themselves, seed by seed, so that a study that is cut short is balanced."""
        runs = []
        for seed in self.seeds:
            for kind in (BEST, COMMON) if self.learning_rates == BOTH else (self.learning_rates,):
                runs += [
                    Run(name, best[name] if kind == BEST else common, seed, self.steps)
                    for name in self.activations
                ]
        # An activation whose best rate is the common one is trained once for both.
        return list(dict.fromkeys(runs))

    def to_dict(self) -> dict:
        """The plan as plain values, for JSON."""
        names = ("activations", "seeds", "steps", "search_steps", "rates", "learning_rates", "labels")
        plain = {name: getattr(self, name) for name in names} | {"settings": self.settings.to_dict()}
        return json.loads(json.dumps(plain))

    @classmethod
    def from_dict(cls, values: Mapping) -> Plan:
        """The plan that `to_dict` gave."""
        lists = {name: tuple(values[name]) for name in ("activations", "seeds", "rates")}
        return cls(**(dict(values) | lists | {"settings": Settings.from_dict(values["settings"])}))


class Study:
    """A study in the folder `out`: a plan, and a folder below `runs` for each of its trainings.

    `command` is the command line that runs it. A plan is kept from when it runs, a folder's first at once.

    The same plan on the same folder goes on where it was. A plan may grow (more seeds, activations, steps); one with
    other `settings`, or run on other labels, raises `StudyError`, for its trainings would not compare.
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
                    f"{self.out}: it holds a study with another {', '.join(differing)}; give the same to go on "
                    "with it, or another folder to begin a new one"
                )
        else:
            self.out.mkdir(parents=True, exist_ok=True)
            self._keep()

    @classmethod
    def open(cls, out: str | Path) -> Study:
        """The study that a folder holds; `StudyError` if it holds none."""
        study = cls.__new__(cls)
        (study.plan, study.command), study.out = _read_plan(Path(out)), Path(out)
        return study

    def folder(self, run: Run) -> Path:
        """Where a training keeps its files."""
        return self.out / "runs" / run.name

    def result(self, run: Run) -> dict | None:
        """How a training ended (see `activation_run.train`), or `None` if it has not."""
        path = self.folder(run) / RESULT
        return json.loads(path.read_text()) if path.is_file() else None

    def search_errors(self) -> dict[Run, float]:
        """The validation NME at the end of the searches that have ended, infinite for those that diverged."""
        return {run: self._final_error(run) for run in self.plan.searches() if self.result(run) is not None}

    def best_rates(self) -> dict[str, float]:
        """Each activation's best learning rate, for those whose searches have all ended."""
        plan, errors = self.plan, self.search_errors()
        if not plan.searches():
            return dict.fromkeys(plan.activations, plan.rates[0])
        best = {}
        for name in plan.activations:
            own = [run for run in plan.searches() if run.activation == name]
            if all(run in errors for run in own):
                # Where all diverged, the lowest rate is the likeliest to go well over a longer warm-up.
                best[name] = min(own, key=lambda run: (errors[run], run.learning_rate)).learning_rate
        return best

    def common_rate(self) -> float | None:
        """The rate that is best for all activations together, once all searches have ended."""
        plan, errors = self.plan, self.search_errors()
        if not plan.searches():
            return plan.rates[0]
        if len(errors) < len(plan.searches()):
            return None

        def judged(rate: float) -> tuple[int, float]:
            at_rate = [error for run, error in errors.items() if run.learning_rate == rate]
            fine = [math.log(error) for error in at_rate if math.isfinite(error)]
            return len(at_rate) - len(fine), sum(fine)

        return min(plan.rates, key=judged)

    def trainings(self) -> list[Run]:
        """The trainings themselves that are known by now: all, once the searches have ended."""
        best, common = self.best_rates(), self.common_rate()
        if len(best) < len(self.plan.activations) or common is None:
            return []
        return self.plan.trainings(best, common)

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
        """Train all that has not ended: the searches, then the trainings; `jobs` side by side, one core each.

        `labels` is a labels file, `data` the folder of the archives that it names, `cache` a folder for the decoded
        crops (default: `out`). A training that diverges is one more result. If one fails otherwise, the others go on,
        and `StudyError` says at the end what it said.
        """
        if jobs < 1:
            raise StudyError(f"expected at least one job, got {jobs}")
        settings = self.plan.settings
        faces = study_faces(labels, settings)
        if self.plan.labels not in ("", faces.digest()):
            raise StudyError(
                f"{self.out}: it holds trainings on other labels than {labels}; give the same to go on with them, or "
                "another folder to begin a new study"
            )
        crops = decoded_crops(
            faces,
            data=data,
            cache=cache or self.out,
            crop_size=settings.crop_size,
            progress=progress,
        )
        # Only once the trainings can begin: until then, nothing is there that others would not compare with.
        self.plan = replace(self.plan, labels=faces.digest())
        self._keep()
        job = {
            "settings": settings.to_dict(),
            "labels": str(Path(labels).resolve()),
            "crops": str(crops.resolve()),
            "checkpoint_minutes": checkpoint_minutes,
        }
        self._run_all("searches", self.plan.searches(), job, jobs, progress)
        self._run_all("trainings", self.trainings(), job, jobs, progress)

    def _keep(self) -> None:
        about = {"version": VERSION, "command": self.command, "plan": self.plan.to_dict()}
        write_whole(self.out / _PLAN, f"{json.dumps(about, indent=2)}\n".encode())

    def _run_all(self, word: str, runs: Iterable[Run], job: dict, jobs: int, progress: bool) -> None:
        open_runs = [run for run in runs if self.result(run) is None]
        total = sum(run.steps for run in open_runs)
        processes: list[subprocess.Popen] = []
        failures = []
        with (
            tqdm(total=total, desc=word, unit="step", disable=not progress, mininterval=2) as bar,
            ThreadPoolExecutor(jobs) as pool,
        ):
            try:
                waiting = [pool.submit(self._run_one, run, job, processes, bar) for run in open_runs]
                for future in as_completed(waiting):
                    failures += [future.result()] if future.result() else []
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in processes:
                    process.kill()
                raise
        if failures:
            raise StudyError(
                f"{len(failures)} of {len(open_runs)} {word} failed; the same command again goes on with them. "
                + "; ".join(failures)
            )

    def _run_one(self, run: Run, job: dict, processes: list[subprocess.Popen], bar: tqdm) -> str | None:
        """Train in a process of its own; what went wrong, if anything."""
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        with (
            log.open("w") as errors,
            subprocess.Popen(
                [sys.executable, "-m", "m4kit.ablation.activations.run"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | _MALLOC | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            ) as process,
        ):
            processes.append(process)
            process.stdin.write(
                json.dumps(job | {"run": run._asdict(), "folder": str(folder.resolve())}) + "\n"
            )
            # Left open: the process ends by itself once this one is gone.
            process.stdin.flush()
            step = 0
            for line in process.stdout:
                # The first line of a run that goes on counts the steps it had done.
                bar.update(int(line) - step)
                step = int(line)
            code = process.wait()
        bar.update(run.steps - step)
        if code:
            words = log.read_text(errors="replace").strip().splitlines() or [f"exit status {code}"]
            return f"{run.name}: {words[-1]} (see {log})"
        return None

    def _final_error(self, run: Run) -> float:
        if self.result(run)["status"] != "finished":
            return math.inf
        lines = (self.folder(run) / "metrics.jsonl").read_text().splitlines()
        errors = [entry["validation"]["nme"] for entry in map(json.loads, lines) if "validation" in entry]
        return errors[-1] if math.isfinite(errors[-1]) else math.inf


def _read_plan(out: Path) -> tuple[Plan, str]:
    """The plan that a folder holds, and the command line that ran it last."""
    try:
        about = json.loads((out / _PLAN).read_text())
        version = about["version"]
    except FileNotFoundError as error:
        raise StudyError(
            f"{out}: expected the folder of a study of the activations; start one with `m4kit ablate activations`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{out / _PLAN}: expected the plan of a study, but reading it failed ({error})"
        ) from error
    if version != VERSION:
        raise StudyError(
            f"{out}: it is of version {version}, but this m4kit goes on with version {VERSION}; take another folder"
        )
    return Plan.from_dict(about["plan"]), about["command"]
