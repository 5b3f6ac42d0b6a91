"""One training of the activation study, in its own folder."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from m4kit import __version__
from m4kit.ablation.activations.units import stage_gradients, units
from m4kit.face_model import FaceModel
from m4kit.files import write_whole
from m4kit.network import M4Net, to_input
from m4kit.training import Diverged, TrainingError
from m4kit.training.data import Batches, Labels
from m4kit.training.loop import Config, Trainer, available_device
from m4kit.training.transfer import set_whitening, whitening_of

RESULT = "result.json"
"""In the folder of a run: how it ended. A run without this file has not ended."""

UNIT_FACES = 64
"""Number of validation faces for the statistics of the units."""


class Run(NamedTuple):
    """The settings in which the trainings of a study differ."""

    activation: str
    learning_rate: float
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Name of the folder of the run."""
        return f"{self.activation}_lr{self.learning_rate:g}_seed{self.seed}_steps{self.steps}"


@dataclass(frozen=True)
class Settings:
    """The settings that all trainings of a study share.

    `size` and `crop_size` are the network's. `sources` are those sources of the labels that faces are taken from.
    Every `validate_every` steps, the errors on `validation_faces` held-out faces, the gradients and the statistics of
    the units are recorded.
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
        """The settings as plain values for JSON."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping) -> Settings:
        """The settings from the values of `to_dict`."""
        return cls(**(dict(values) | {"sources": tuple(values["sources"])}))


class ActivationTrainer(Trainer):
    """A training that logs each step, and statistics of the units at each validation.

    Each step's line in `metrics.jsonl` has wall-clock `seconds` and `cpu_seconds`. Each validation adds a line with
    `units` (see `units.units`) and `gradients`, the norms of each stage's gradients after clipping in the previous
    step.
    """

    log_every = 1

    def run(self) -> Path:
        """Run as `Trainer.run`, but validate before the first step too."""
        if self.step == 0:
            self.validate()
        return super().run()

    def validate(self) -> dict[str, float]:
        """Compute errors on the held-out faces, and log them with the units and gradients."""
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
    """The faces of a labels file that come from these sources.

    Raises `TrainingError` if a source is missing, or if there are no validation faces.
    """
    labels = Labels.load(path)
    if missing := sorted(set(sources) - set(labels.source.tolist())):
        raise TrainingError(
            f"{path}: expected faces of the sources {', '.join(sources)}, got none of {', '.join(missing)}; the file "
            f"has {', '.join(np.unique(labels.source))}"
        )
    labels = labels.subset(np.isin(labels.source, sources))
    if not labels.validation.any():
        raise TrainingError(f"{path}: expected faces that are held out for validation, got none")
    return labels


def study_faces(path: str | Path, settings: Settings) -> Labels:
    """The faces of a labels file that a study with these settings trains on.

    Raises `TrainingError` if no training of the study can begin.
    """
    settings.config(Run("relu", 1e-3, 0, 1))
    available_device(settings.device)
    labels = study_labels(path, settings.sources)
    Batches(labels.split()[0], settings.batch, seed=0, stop=1)
    return labels


def fresh_network(run: Run, settings: Settings, labels: Labels) -> M4Net:
    """Initial network of a training: the same random draws for all activations, scaled to suit each."""
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
) -> dict:
    """Train a run to its end, or continue it; returns how it ended, which is also written to `result.json`.

    A loss that is not finite ends a run as "diverged".
    """
    folder = Path(folder)
    if (folder / RESULT).is_file():
        return json.loads((folder / RESULT).read_text())
    training = ActivationTrainer(
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
    # An ended run needs no checkpoint.
    training.checkpoint.unlink(missing_ok=True)
    return result


def machine(device: str) -> str:
    """Name of the processor of a device."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, one of {os.cpu_count()} cores"
