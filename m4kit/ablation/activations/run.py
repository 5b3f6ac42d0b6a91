"""One training of the activation study, in a folder and a process of its own, on one core.

`python -m m4kit.ablation.activations.run` trains the run that a line of JSON on its standard input describes, and
ends as soon as that input closes: whoever started it has then ended too. On its standard output it gives the
number of each step done.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from m4kit import __version__
from m4kit.ablation.activations.units import stage_gradients, units
from m4kit.face_model import FaceModel
from m4kit.files import write_whole
from m4kit.network import M4Net, to_input
from m4kit.training import Diverged, TrainingError
from m4kit.training.command import set_whitening, whitening_of
from m4kit.training.data import Batches, Labels
from m4kit.training.loop import Config, Trainer, available_device

RESULT = "result.json"
"""In a run's folder: how it ended. A run without it has not ended."""

UNIT_FACES = 64
"""So many validation faces show what the units do."""


class Run(NamedTuple):
    """What tells one training of a study from another."""

    activation: str
    learning_rate: float
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.activation}_lr{self.learning_rate:g}_seed{self.seed}_steps{self.steps}"


@dataclass(frozen=True)
class Settings:
    """What all trainings of a study have in common.

    `size` and `crop_size` are the network's, `sources` the labels' sources to take faces of. `validate_every` is in
    steps; then the errors on `validation_faces` held-out faces, the gradients and the units are recorded.
    """

    size: str = "small"
    crop_size: int = 64
    batch: int = 64
    sources: tuple[str, ...] = ("aflw_train",)
    validate_every: int = 100
    validation_faces: int = 400
    device: str = "cpu"
    precision: str = "fp32"

    def config(self, run: Run, *, checkpoint_minutes: float = 1.0) -> Config:
        """The config of one training."""
        return Config(
            steps=run.steps,
            batch=self.batch,
            learning_rate=run.learning_rate,
            precision=self.precision,
            device=self.device,
            workers=0,
            seed=run.seed,
            validate_every=self.validate_every,
            validation_faces=self.validation_faces,
            checkpoint_minutes=checkpoint_minutes,
        )

    def to_dict(self) -> dict:
        """The settings as plain values, for JSON."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping) -> Settings:
        """The settings that `to_dict` gave."""
        return cls(**(dict(values) | {"sources": tuple(values["sources"])}))


class ActivationTrainer(Trainer):
    """A training that records each step, and with each validation what the units do.

    Each step's line has `seconds`, which it took, and `cpu_seconds`, which it computed: the same where nothing else
    ran.
    Beside the trainer's own lines, `metrics.jsonl` gets for each validation one with `units` (see `units`) and
    `gradients`, the norms of each stage's gradients after clipping in the step before.
    """

    log_every = 1

    def run(self) -> Path:
        """As `Trainer.run`, but validates before the first step too."""
        if self.step == 0:
            self.validate()
        return super().run()

    def validate(self) -> dict[str, float]:
        """Errors on the held-out faces, which are recorded with the units and gradients."""
        figures = super().validate()
        crops = np.stack([self.faces.crops[i] for i in self.held_out[:UNIT_FACES]])
        x = to_input(crops, crop_size=self.network.crop_size).to(self.config.device)
        stages = {
            stage: found._asdict() | {"histogram": [round(float(share), 5) for share in found.histogram]}
            for stage, found in units(self.network, x).items()
        }
        self._log({"units": stages, "gradients": stage_gradients(self.network)})
        return figures

    def _train_step(self, batch: Mapping[str, torch.Tensor], learning_rate: float) -> dict:
        start, cpu_start = time.perf_counter(), time.process_time()
        report = super()._train_step(batch, learning_rate)
        if not torch.isfinite(report["gradient"]):
            raise Diverged(f"the gradient is {float(report['gradient'])} after step {self.step}")
        return report | {
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu_start,
        }


def study_labels(path: str | Path, sources: tuple[str, ...]) -> Labels:
    """The faces of a labels file that come from those sources.

    Raises `TrainingError` if there is no such source, or nobody is held out.
    """
    labels = Labels.load(path)
    if missing := sorted(set(sources) - set(labels.source.tolist())):
        raise TrainingError(
            f"{path}: expected faces of the sources {', '.join(sources)}, got none of {', '.join(missing)}; the file "
            f"has {', '.join(np.unique(labels.source))}"
        )
    labels = labels.subset(np.isin(labels.source, sources))
    if not labels.validation.any():
        raise TrainingError(f"{path}: expected faces that are held out, to validate on; none is")
    return labels


def study_faces(path: str | Path, settings: Settings) -> Labels:
    """The faces of a labels file that a study of those settings trains on.

    Raises `TrainingError` if no training of the study could begin.
    """
    settings.config(Run("relu", 1e-3, 0, 1))
    available_device(settings.device)
    labels = study_labels(path, settings.sources)
    Batches(labels.split()[0], settings.batch, seed=0, stop=1)
    return labels


def fresh_network(run: Run, settings: Settings, labels: Labels) -> M4Net:
    """The network that a training begins with: the same draws for all activations, scaled to suit each."""
    torch.manual_seed(run.seed)
    network = M4Net(settings.size, run.activation, crop_size=settings.crop_size)
    set_whitening(network, whitening_of(labels.parameters[labels.split()[0]]))
    return network


def train(
    run: Run,
    settings: Settings,
    labels: Labels,
    crops: str | Path,
    folder: str | Path,
    *,
    model: FaceModel | None = None,
    checkpoint_minutes: float = 1.0,
    progress: bool = False,
    trainer: type[ActivationTrainer] = ActivationTrainer,
) -> dict:
    """Train a run to its end, from where it was stopped; how it ended, which also goes to `result.json`.

    A loss that is no longer finite ends a run as "diverged".
    """
    folder = Path(folder)
    if (folder / RESULT).is_file():
        return json.loads((folder / RESULT).read_text())
    training = trainer(
        fresh_network(run, settings, labels),
        model or FaceModel.load(),
        labels,
        crops,
        settings.config(run, checkpoint_minutes=checkpoint_minutes),
        out=folder,
        progress=progress,
    )
    status, why = "finished", ""
    try:
        training.run()
    except Diverged as error:
        status, why = "diverged", str(error)
    result = {
        "status": status,
        "why": why,
        "steps": training.step,
        "elapsed": round(training.elapsed, 1),
        "run": run._asdict(),
        "settings": settings.to_dict(),
        "config": training.config.to_dict(),
        "faces": [len(training.train_indices), len(training.held_out)],
        "versions": {"m4kit": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "machine": machine(settings.device),
    }
    write_whole(folder / RESULT, f"{json.dumps(result, indent=2)}\n".encode())
    # What a run goes on from is of no use to one that has ended.
    training.checkpoint.unlink(missing_ok=True)
    return result


def machine(device: str) -> str:
    """The kind of processor that a device is, in words."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, one of {os.cpu_count()} cores"


class _Reporting(ActivationTrainer):
    """Gives the number of each step done to whoever started the process."""

    pipe = sys.__stdout__

    def _log(self, entry: dict) -> None:
        super()._log(entry)
        if "loss" in entry:
            print(self.step, file=self.pipe, flush=True)


def main() -> None:
    """Train the run described on the standard input."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    # Numbers near 0 that a CPU is slow with.
    torch.set_flush_denormal(True)
    settings = Settings.from_dict(job["settings"])
    # What the trainer says would get between the numbers of the steps.
    with contextlib.redirect_stdout(sys.stderr):
        train(
            Run(**job["run"]),
            settings,
            study_labels(job["labels"], settings.sources),
            job["crops"],
            job["folder"],
            checkpoint_minutes=job["checkpoint_minutes"],
            trainer=_Reporting,
        )


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock would be held when the process ends by itself.
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
