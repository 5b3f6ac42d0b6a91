"""Trains M4Net: `Config` holds all options, `Trainer` runs them on CPU or GPU and resumes a stopped run."""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from m4kit.face_model import FaceModel
from m4kit.inference import one_thread
from m4kit.network import M4Net
from m4kit.training import Diverged, TrainingError
from m4kit.training.augmentation import Augmentation
from m4kit.training.checkpoint import Checkpoint, of_workers, rate_factor, weight_average
from m4kit.training.data import Batches, Faces, Labels
from m4kit.training.losses import GeometryLoss, LossWeights
from m4kit.training.validation import validate
from m4kit.weights import check_fits

VERSION = 1
"""Version of configs, raised when an old one can no longer be read."""
CHECKPOINT_VERSION = 4
"""Version of checkpoints, raised when the same config trains differently than before."""

FILES = ("config.json", "metrics.jsonl", "checkpoint.pt", "weights.safetensors")
"""What a `Trainer` writes."""

LONGEST_STEP_SECONDS = 60
"""A step counts for at most this long, because a suspended process does not train."""

LAST_RATE = 0.01
"""The last learning rate as a share of the highest."""


@dataclass(frozen=True)
class Config:
    """All options of a training; printed at its start and saved with its result.

    - `steps`, or `minutes` instead: then the schedule follows the clock and the training ends on time on any machine,
      but two runs differ. `validate_every` counts steps, `checkpoint_minutes` follows the clock.
    - `warm_up`: share of the training in which the learning rate rises. `clip`: largest norm of the gradient. `ema`:
      decay of the weight average.
    - `workers`: processes that prepare batches; 0 prepares them in the main process.
    - `parallel`: parts of each batch that are computed side by side, on one CPU core each, with batch-norm statistics
      of their own. This is faster than all cores on one batch, above all where other programs need the cores too.
      With rrelu, whose slopes are random, such a run is not exactly repeatable.
    - `frozen`: a layer of the backbone, such as "dw3_2". All layers up to it keep their weights and batch-norm
      statistics. The early layers are the slowest, so a training from good weights gets faster.
    - `fusion_only`: train only the layer that weighs the heads for each face.
    """

    steps: int = 6000
    minutes: float | None = None
    batch: int = 64
    learning_rate: float = 8e-4
    warm_up: float = 0.03
    weight_decay: float = 0.01
    clip: float = 3000.0
    ema: float = 0.999
    precision: str = "bf16"
    device: str = "cpu"
    workers: int = 1
    parallel: int = 1
    seed: int = 0
    fixed_head_weights: tuple[float, ...] | None = None
    frozen: str | None = None
    fusion_only: bool = False
    validate_every: int = 400
    validation_faces: int = 1000
    checkpoint_minutes: float = 3.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: LossWeights = field(default_factory=LossWeights)
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise TrainingError(f"expected precision bf16 or fp32, got {self.precision!r}")
        if self.parallel < 1 or self.batch % self.parallel:
            raise TrainingError(
                f"expected a batch of equal parts, got {self.batch} faces in {self.parallel} parts"
            )
        if min(self.steps, self.batch, self.validate_every) < 1 or (
            self.minutes is not None and self.minutes <= 0
        ):
            raise TrainingError(
                f"expected steps, batch, validate_every and minutes above 0, got {self.steps}, {self.batch}, "
                f"{self.validate_every} and {self.minutes}"
            )

    def to_dict(self) -> dict:
        """Return the config as plain values for JSON."""
        return json.loads(json.dumps(asdict(self)))


class Trainer:
    """Trains a network on labelled crops and writes all results into the folder `out`.

    The files are `config.json`; `metrics.jsonl`, one line every `log_every` steps and one per validation;
    `checkpoint.pt`; and at the end `weights.safetensors`, the averaged weights.

    If `out` holds a checkpoint of the same config, the run continues from it. With `steps` (not `minutes`) it ends
    with the same weights as an uninterrupted run.

    Raises `TrainingError` for labels, and `WeightsError` for weights, of another face model.
    """

    log_every = 20

    def __init__(
        self,
        network: M4Net,
        model: FaceModel,
        labels: Labels,
        crops: str | Path,
        config: Config,
        *,
        out: str | Path,
        progress: bool = True,
    ):
        if not len(model.symmetry):
            raise TrainingError(
                "expected a face model with the symmetry of its modes, which mirrored faces need; use the "
                "packaged one"
            )
        labels.check_fits(model)
        check_fits(network, model)
        network.notes["face_model"] = model.fingerprint
        torch.manual_seed(config.seed)
        self.config, self.labels, self.model, self.progress = config, labels, model, progress
        self.out = Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.train_indices, held_out = labels.split()
        random = np.random.default_rng(config.seed)
        # A fixed draw, so that every validation sees the same faces.
        self.held_out = np.sort(random.permutation(held_out)[: config.validation_faces])
        self.faces = Faces(
            Path(crops),
            labels,
            symmetry=model.symmetry,
            augmentation=config.augmentation,
            seed=config.seed,
        )
        if (side := self.faces.crops.shape[1]) != network.crop_size:
            raise TrainingError(
                f"{crops}: expected crops of {network.crop_size} pixels for this network, got {side}; decode them "
                f"with decoded_crops(..., crop_size={network.crop_size})"
            )
        device = available_device(config.device)
        self.network = network.to(device, memory_format=torch.channels_last)
        if config.fixed_head_weights is not None:
            network.fix_head_weights(config.fixed_head_weights)
        if config.fusion_only:
            if network.fusion != "dynamic":
                raise TrainingError(
                    f"fusion_only: expected a network with dynamic fusion, got {network.fusion}; static weights are "
                    "trained with the rest, or set by fix_head_weights"
                )
            network.requires_grad_(False)
            network.head_scores.requires_grad_(True)
        for module in self._frozen(network):
            module.requires_grad_(False)
        self.average = weight_average(network, config.ema)
        self.loss = GeometryLoss(model, config.loss, seed=config.seed).to(device)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config.learning_rate, fused=True)
        self.step, self.elapsed = 0, 0.0
        parts = {"network": self.network, "averaged": self.average, "optimizer": self.optimizer}
        self._checkpoint = Checkpoint(
            self.out / "checkpoint.pt", parts, self._about(), version=CHECKPOINT_VERSION
        )
        self._resume()
        (self.out / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")

        self.twins = [self.network, *(_twin_of(self.network) for _ in range(config.parallel - 1))]
        self.pool = ThreadPoolExecutor(config.parallel)

    @property
    def averaged(self) -> M4Net:
        """The network with the averaged weights."""
        return self.average.module

    @property
    def checkpoint(self) -> Path:
        """The file from which a stopped run continues."""
        return self._checkpoint.path

    @property
    def weights(self) -> Path:
        """The file of the finished run's weights."""
        return self.out / "weights.safetensors"

    def run(self) -> Path:
        """Train to the end and return the file of the averaged weights.

        Raises `Diverged`, with the names of the batch, when the loss is no longer finite.
        """
        config = self.config
        if self._progress() >= 1 and self.weights.is_file():
            return self.weights
        last = saved = time.monotonic()
        bar = tqdm(
            total=config.steps if config.minutes is None else None,
            initial=self.step,
            desc="training",
            disable=not self.progress,
            mininterval=5,
        )
        batches = iter(self._loader())
        with bar:
            while (done := self._progress()) < 1:
                report = self._train_step(next(batches), self._learning_rate(done))
                last, before = time.monotonic(), last
                self.elapsed += min(last - before, LONGEST_STEP_SECONDS)
                bar.update()
                if self.step % self.log_every == 0:
                    values = {name: round(float(value), 4) for name, value in report.items()}
                    bar.set_postfix(loss=values["loss"], done=f"{self._progress():.0%}")
                    self._log({"elapsed": round(self.elapsed, 1)} | values)
                if self.step % config.validate_every == 0:
                    bar.write(_validation_text(self.step, self.validate()))
                if time.monotonic() - saved > config.checkpoint_minutes * 60:
                    self.save_checkpoint()
                    saved = time.monotonic()
        if self.step % config.validate_every:
            figures = self.validate()
            if self.progress:
                tqdm.write(_validation_text(self.step, figures))
        self.save_checkpoint()
        # The steps that were done, in place of those that the config allowed.
        run = json.dumps(config.to_dict() | {"steps": self.step, "minutes": round(self.elapsed / 60, 1)})
        self.averaged.save(self.weights, run=run, licence=self.network.notes.get("licence", ""))
        return self.weights

    def validate(self) -> dict[str, float]:
        """Measure the errors of the averaged weights on the held-out faces, and write them to `metrics.jsonl`."""
        if not len(self.held_out):
            return {}
        figures = validate(
            self.averaged,
            self.model,
            self.faces,
            self.held_out,
            precision=self.config.precision,
            device=self.config.device,
        )
        self._log({"elapsed": round(self.elapsed, 1), "validation": figures})
        return figures

    def save_checkpoint(self) -> None:
        """Write the state from which the run continues."""
        self._checkpoint.save(step=self.step, elapsed=self.elapsed)

    def _resume(self) -> None:
        progress = self._checkpoint.restore(lambda config: _of_the_run(_with_defaults(config)))
        if progress is None:
            (self.out / "metrics.jsonl").unlink(missing_ok=True)
            return
        self.step, self.elapsed = progress["step"], progress["elapsed"]
        self._drop_metrics_after(self.step)

    def _about(self) -> dict:
        """Collect the options that make a run the same run."""
        names = ("size", "activation", "fusion", "crop_size")
        about = _of_the_run(self.config.to_dict()) | {name: getattr(self.network, name) for name in names}
        return about | {"labels": self.labels.digest()}

    def _drop_metrics_after(self, step: int) -> None:
        path = self.out / "metrics.jsonl"
        if not path.is_file():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                # The line was cut off when the run stopped.
                break
            if entry["step"] <= step:
                kept.append(line)
        path.write_text("".join(f"{line}\n" for line in kept))

    def _groups(self) -> list[dict]:
        trainable = [p for p in self.network.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trainable if p.dim() > 1], "weight_decay": self.config.weight_decay},
            {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
        ]

    def _frozen(self, network: M4Net) -> list[nn.Module]:
        """List the parts of the backbone that are not trained."""
        if self.config.frozen is None:
            return []
        parts = dict(network.backbone.named_children())
        if self.config.frozen not in parts:
            raise TrainingError(
                f"frozen: expected a layer of the backbone ({', '.join(parts)}), got {self.config.frozen!r}"
            )
        return list(parts.values())[: list(parts).index(self.config.frozen) + 1]

    def _progress(self) -> float:
        if self.config.minutes is None:
            return self.step / self.config.steps
        return self.elapsed / (self.config.minutes * 60)

    def _learning_rate(self, done: float) -> float:
        return self.config.learning_rate * rate_factor(done, warm_up=self.config.warm_up, last=LAST_RATE)

    def _loader(self) -> DataLoader:
        config = self.config
        stop = config.steps if config.minutes is None else self.step + 10**9
        keys = Batches(self.train_indices, config.batch, seed=config.seed, start=self.step, stop=stop)
        return DataLoader(
            self.faces,
            batch_sampler=keys,
            **of_workers(config.workers),
            prefetch_factor=4 if config.workers else None,
            # Its own generator, or a resumed run would draw other slopes for rrelu than an uninterrupted one.
            generator=torch.Generator(),
        )

    def _train_step(self, batch: Mapping[str, torch.Tensor], learning_rate: float) -> dict[str, torch.Tensor]:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        parts = zip(*(value.chunk(config.parallel) for value in batch.values()), strict=True)
        parts = [dict(zip(batch, part, strict=True)) for part in parts]
        if config.parallel == 1:
            results = [self._gradients(self.network, batch)]
        else:
            results = list(self.pool.map(one_thread()(self._gradients), self.twins, parts))
        loss = torch.stack([loss for loss, _ in results]).mean()
        terms = {name: torch.stack([terms[name] for _, terms in results]).mean() for name in results[0][1]}
        if not torch.isfinite(loss):
            names = ", ".join(str(self.labels.names[int(i)]) for i in batch["index"][:4])
            broken = [name for name, term in terms.items() if not torch.isfinite(term)]
            raise Diverged(
                f"the loss is {float(loss)} at step {self.step} "
                f"({', '.join(broken) or 'in a head'}), on the batch of {names}, ...; "
                "check the labels of these faces, or lower the learning rate"
            )
        trained = [p for p in self.network.parameters() if p.grad is not None]
        for twin in self.twins[1:]:
            torch._foreach_add_(
                [p.grad for p in trained], [p.grad for p in twin.parameters() if p.grad is not None]
            )
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        self.average.update_parameters(self.network)
        if self.network.fusion == "static":
            # Head weights of 0 have logits of minus infinity, which do not average.
            logits, mean = self.network.head_logits.detach(), self.averaged.head_logits
            mean.copy_(torch.where(logits.isfinite(), mean, logits))
        return {"loss": loss, **terms, "gradient": norm, "learning_rate": learning_rate}

    def _gradients(
        self, network: M4Net, batch: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Compute a network's gradients on a part of a batch and return the part's loss and terms."""
        config, device = self.config, torch.device(self.config.device)
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        # Batch norms that are not trained keep their statistics.
        network.train(not config.fusion_only)
        for module in self._frozen(network):
            module.eval()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            outputs = network.outputs(_normalised(batch["crop"]))
        loss, terms = self.loss(network, outputs, batch)
        network.zero_grad(set_to_none=True)
        (loss / config.parallel).backward()
        return loss.detach(), terms

    def _log(self, entry: dict) -> None:
        with (self.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step} | entry) + "\n")


def available_device(name: str) -> torch.device:
    """Return the torch device of that name; raises `TrainingError` if this machine has none."""
    try:
        return torch.empty(0, device=name).device
    # AssertionError and ImportError come from a torch that was built without such devices.
    except (AssertionError, ImportError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        raise TrainingError(
            f"device: expected one that torch finds on this machine, got {name!r} ({why}); give cpu, or install a "
            "torch build for your GPU"
        ) from error


def config_from_dict(values: Mapping) -> Config:
    """Read a config from the values of `Config.to_dict`; raises `TrainingError` for anything else."""
    if not isinstance(values, Mapping):
        raise TrainingError(f"expected a config (names and values), got {type(values).__name__}")
    known = {f.name for f in dataclasses.fields(Config)}
    if values.get("version") != VERSION or set(values) != known:
        odd = sorted(set(values) ^ known)
        raise TrainingError(
            f"expected a config of version {VERSION}, got version {values.get('version')}"
            + (f" with other fields ({', '.join(odd)})" if odd else "")
            + "; write the file again with this m4kit"
        )
    try:
        values = _with_defaults(values)
        augmentation, loss = values.pop("augmentation"), values.pop("loss")
        fixed = values.pop("fixed_head_weights")
        return Config(
            **values,
            fixed_head_weights=None if fixed is None else tuple(fixed),
            augmentation=Augmentation(**augmentation | {"scale": tuple(augmentation["scale"])}),
            loss=LossWeights(**loss),
        )
    except TypeError as error:
        raise TrainingError(
            f"expected a config with the values of Config.to_dict, got others ({error}); write the file again with "
            "this m4kit"
        ) from error


def _with_defaults(values: Mapping) -> dict:
    """Fill a config with today's defaults for the options that did not exist when it was written."""
    defaults = Config().to_dict()
    filled = defaults | dict(values)
    return filled | {name: defaults[name] | filled[name] for name in ("augmentation", "loss")}


def _of_the_run(config: Mapping) -> dict:
    """Select the options that matter for a run's result: how often the checkpoint is written does not."""
    return {name: value for name, value in config.items() if name != "checkpoint_minutes"}


def _twin_of(network: M4Net) -> M4Net:
    """Copy a network so that both share the parameters, each with its own gradients and batch-norm statistics."""
    twin = copy.deepcopy(network)
    for mine, shared in zip(twin.parameters(), network.parameters(), strict=True):
        mine.data = shared.data
    return twin


def _normalised(crops: torch.Tensor) -> torch.Tensor:
    """Make the network's input of a batch of crops (B, S, S, 3) uint8, channels last in memory."""
    return crops.permute(0, 3, 1, 2).float().sub(127.5).div(128)


def _validation_text(step: int, figures: Mapping[str, float]) -> str:
    return f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
