"""The training itself: one config, one `Trainer`, the same on CPU and GPU, and after a kill."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from m4kit.face_model import FaceModel
from m4kit.files import whole_file
from m4kit.network import M4Net
from m4kit.training import Diverged, TrainingError
from m4kit.training.augmentation import Augmentation
from m4kit.training.data import Batches, Faces, Labels
from m4kit.training.losses import GeometryLoss, LossWeights
from m4kit.training.validation import validate

VERSION = 1
"""Of configs: raised when an old one can no longer be read."""
CHECKPOINT_VERSION = 2
"""Of checkpoints: raised when the same config trains otherwise, so that an old run would not end as it began."""

LONGEST_STEP_SECONDS = 60


@dataclass(frozen=True)
class Config:
    """All that decides a training, printed at its start and saved with its result.

    Give `steps`, or `minutes` instead: then the schedule follows the clock and ends on time, on any machine, at the
    price that two runs differ. `validate_every` is in steps, `checkpoint_minutes` on the clock.

    `workers` are the processes that prepare batches; 0 does it in between. `parallel` cuts each batch into parts that
    are computed side by side, one CPU core each, with batch norms of their own: faster than the same cores on one
    part, and much so where other programs want them too. (With rrelu, whose slopes are drawn at random, such a run
    cannot be repeated exactly.)

    `frozen` names a layer of the backbone, such as "dw3_2": all up to it stay as the start has them, statistics of
    batch norms included. The early layers are the slowest, so a start that sees well already trains faster.

    `fusion_only` trains the layer that weighs the heads anew for each face and leaves all else as the start has it.
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
        """The config as plain values, for JSON."""
        return json.loads(json.dumps(asdict(self)))


class Trainer:
    """Trains a network on labelled crops and keeps all about the run in the folder `out`.

    - `config.json`; `metrics.jsonl`, a line every `log_every` steps and one each validation; `checkpoint.pt`;
      and at the end `weights.safetensors`, the averaged (EMA) weights.
    - Where `out` holds a checkpoint of the same config, the run goes on from it; with `steps` (not
    `minutes`) it ends
      in the same weights as if it had never stopped.
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
            raise TrainingError("the face model says nothing of its symmetry, which mirrored faces need")
        torch.manual_seed(config.seed)
        self.config, self.labels, self.model, self.progress = config, labels, model, progress
        self.out = Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.train_indices, held_out = labels.split()
        random = np.random.default_rng(config.seed)
        # A fixed draw, in the order of the file, so that every validation sees the same faces.
        self.held_out = np.sort(random.permutation(held_out)[: config.validation_faces])
        self.faces = Faces(
            Path(crops),
            labels,
            symmetry=model.symmetry.numpy(),
            augmentation=config.augmentation,
            seed=config.seed,
        )
        if (side := self.faces.crops.shape[1]) != network.crop_size:
            raise TrainingError(
                f"{crops}: expected crops of {network.crop_size} pixels, as the network has them, got {side}; give "
                f"decoded_crops crop_size={network.crop_size}"
            )
        device = available_device(config.device)
        self.network = network.to(device, memory_format=torch.channels_last)
        if config.fixed_head_weights is not None:
            network.fix_head_weights(config.fixed_head_weights)
        if config.fusion_only:
            if network.fusion != "dynamic":
                raise TrainingError(
                    f"fusion_only: expected a network of dynamic fusion, got {network.fusion}; static weights are "
                    "learned with the rest, or set by fix_head_weights"
                )
            network.requires_grad_(False)
            network.head_scores.requires_grad_(True)
        for module in self._frozen(network):
            module.requires_grad_(False)
        self.averaged = M4Net(network.size, network.activation, network.fusion, crop_size=network.crop_size)
        self.averaged.load_state_dict(network.state_dict(), strict=True)
        self.averaged.to(device, memory_format=torch.channels_last).eval()
        self.loss = GeometryLoss(model, config.loss, seed=config.seed).to(device)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config.learning_rate, fused=True)
        self.step = 0
        self.elapsed = 0.0
        self._resume()
        self._write_json("config.json", config.to_dict())

        self.twins = [self.network, *(_twin_of(self.network) for _ in range(config.parallel - 1))]
        self.pool = ThreadPoolExecutor(config.parallel, initializer=torch.set_num_threads, initargs=(1,))

    @property
    def checkpoint(self) -> Path:
        """The file that a killed run goes on from."""
        return self.out / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        """The file of the finished run's weights."""
        return self.out / "weights.safetensors"

    def run(self) -> Path:
        """Train to the end; gives the file of the averaged weights.

        Raises `Diverged` when the loss is no longer finite, naming the batch.
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
                # A run that was suspended has not trained meanwhile.
                last, before = time.monotonic(), last
                self.elapsed += min(last - before, LONGEST_STEP_SECONDS)
                bar.update()
                if self.step % self.log_every == 0:
                    values = {name: round(float(value), 4) for name, value in report.items()}
                    bar.set_postfix(loss=values["loss"], done=f"{self._progress():.0%}")
                    self._log({"elapsed": round(self.elapsed, 1)} | values)
                if self.step % config.validate_every == 0:
                    bar.write(_in_words(self.step, self.validate()))
                if time.monotonic() - saved > config.checkpoint_minutes * 60:
                    self.save_checkpoint()
                    saved = time.monotonic()
        if self.step % config.validate_every:
            tqdm.write(_in_words(self.step, self.validate())) if self.progress else self.validate()
        self.save_checkpoint()
        # What was run, in place of what the config allowed.
        run = json.dumps(config.to_dict() | {"steps": self.step, "minutes": round(self.elapsed / 60, 1)})
        self.averaged.save(self.weights, run=run, licence=self.network.notes.get("licence", ""))
        return self.weights

    def validate(self) -> dict[str, float]:
        """Errors of the averaged weights on the held-out faces; also written to `metrics.jsonl`."""
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
        """Write the whole state; the file before it is replaced only once the new one is whole."""
        state = {
            "version": CHECKPOINT_VERSION,
            "config": self.config.to_dict() | self._about(),
            "step": self.step,
            "elapsed": self.elapsed,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        try:
            with whole_file(self.checkpoint) as part:
                torch.save(state, part)
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"{self.checkpoint}: writing the checkpoint failed ({error}); the one before it is still "
                "whole, so make room and start the same command again"
            ) from error

    def _resume(self) -> None:
        if not self.checkpoint.is_file():
            (self.out / "metrics.jsonl").unlink(missing_ok=True)
            return
        try:
            state = torch.load(self.checkpoint, map_location=self.config.device, weights_only=True)
        except Exception as error:
            raise TrainingError(
                f"{self.checkpoint}: expected a checkpoint of a training, but reading it failed ({error}); "
                "remove it to start anew"
            ) from error
        if state.get("version") != CHECKPOINT_VERSION:
            raise TrainingError(
                f"{self.checkpoint}: it is of version {state.get('version')}, but this m4kit goes on with "
                f"version {CHECKPOINT_VERSION}; finish it with the m4kit that began it, or train into another folder"
            )
        ours, theirs = self.config.to_dict() | self._about(), _with_defaults(state["config"])
        # How often it is kept changes nothing of a run.
        keys = (ours.keys() | theirs.keys()) - {"checkpoint_minutes"}
        differing = sorted(key for key in keys if ours.get(key) != theirs.get(key))
        if differing:
            raise TrainingError(
                f"{self.checkpoint}: it is of a run with another {', '.join(differing)}; give the same "
                "options to go on with it, or another folder to begin a new run"
            )
        self.network.load_state_dict(state["network"], strict=True)
        self.averaged.load_state_dict(state["averaged"], strict=True)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())
        self.step, self.elapsed = state["step"], state["elapsed"]
        self._forget_metrics_after(self.step)

    def _about(self) -> dict[str, str | int]:
        """What else than the config makes a run the same one."""
        network = self.network
        return {
            "size": network.size,
            "activation": network.activation,
            "fusion": network.fusion,
            "crop_size": network.crop_size,
            "labels": self.labels.digest(),
        }

    def _forget_metrics_after(self, step: int) -> None:
        path = self.out / "metrics.jsonl"
        if not path.is_file():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                # The line that the kill cut off.
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
        """The backbone's parts that are not trained."""
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
        """Linear warm-up, then half a cosine down to a hundredth."""
        if done < self.config.warm_up:
            # Never 0, or the first step would do nothing.
            return self.config.learning_rate * max(done, 1e-3) / self.config.warm_up
        along = (done - self.config.warm_up) / (1 - self.config.warm_up)
        return self.config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * along)) / 2)

    def _loader(self) -> DataLoader:
        config = self.config
        stop = config.steps if config.minutes is None else self.step + 10**9
        keys = Batches(self.train_indices, config.batch, seed=config.seed, start=self.step, stop=stop)
        return DataLoader(
            self.faces,
            batch_sampler=keys,
            num_workers=config.workers,
            worker_init_fn=_one_thread,
            # A forked worker would inherit the threads' locks of the training.
            multiprocessing_context="spawn" if config.workers else None,
            prefetch_factor=4 if config.workers else None,
            # Of its own, or a run that goes on would draw other slopes for rrelu than one that never stopped.
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
            results = list(self.pool.map(self._gradients, self.twins, parts))
        loss = torch.stack([loss for loss, _ in results]).mean()
        terms = {name: torch.stack([terms[name] for _, terms in results]).mean() for name in results[0][1]}
        if not torch.isfinite(loss):
            names = ", ".join(str(self.labels.names[int(i)]) for i in batch["index"][:4])
            broken = [name for name, term in terms.items() if not torch.isfinite(term)]
            raise Diverged(
                f"the loss is {float(loss)} at step {self.step} "
                f"({', '.join(broken) or 'in a head'}), on the batch of {names}, ...; "
                "look at these faces' labels, or lower the learning rate"
            )
        trained = [p for p in self.network.parameters() if p.grad is not None]
        for twin in self.twins[1:]:
            torch._foreach_add_(
                [p.grad for p in trained], [p.grad for p in twin.parameters() if p.grad is not None]
            )
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        self._average()
        return {"loss": loss, **terms, "gradient": norm, "learning_rate": learning_rate}

    def _gradients(
        self, network: M4Net, batch: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Put the gradients of a part of a batch into a network; gives the part's loss and terms."""
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

    @torch.no_grad()
    def _average(self) -> None:
        # A short memory at first, so that the start is soon forgotten.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        averaged = self.averaged.state_dict()
        pairs = [
            (averaged[name], value)
            for name, value in self.network.state_dict().items()
            # Weights fixed at 0 have logits of minus infinity, which do not average.
            if value.is_floating_point() and (name != "head_logits" or bool(value.isfinite().all()))
        ]
        means, values = ([pair[i] for pair in pairs] for i in (0, 1))
        torch._foreach_lerp_(means, values, 1 - decay)

    def _log(self, entry: dict) -> None:
        with (self.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step} | entry) + "\n")

    def _write_json(self, name: str, value: dict) -> None:
        (self.out / name).write_text(json.dumps(value, indent=2) + "\n")


def available_device(name: str) -> torch.device:
    """The device of that name; `TrainingError` where this machine has none."""
    try:
        return torch.empty(0, device=name).device
    # An AssertionError or ImportError where torch was built without such devices.
    except (AssertionError, ImportError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        raise TrainingError(
            f"device: expected one that torch finds on this machine, got {name!r} ({why}); give cpu, or install a "
            "torch for your GPU"
        ) from error


def config_from_dict(values: Mapping) -> Config:
    """The config that `Config.to_dict` gave; one of another version, or something else, raises `TrainingError`."""
    if not isinstance(values, Mapping):
        raise TrainingError(f"expected a config, names with their values, got {type(values).__name__}")
    known = {f.name for f in dataclasses.fields(Config)}
    if values.get("version") != VERSION or set(values) != known:
        odd = sorted(set(values) ^ known)
        raise TrainingError(
            f"expected a config of version {VERSION}, got version {values.get('version')}"
            + (f" with other fields ({', '.join(odd)})" if odd else "")
            + "; write it anew with this m4kit"
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
            f"expected a config with values as Config.to_dict gives them, got others ({error}); write it anew with "
            "this m4kit"
        ) from error


def _with_defaults(values: Mapping) -> dict:
    """A config as plain values; options that its m4kit did not have yet had the effect of today's defaults."""
    defaults = Config().to_dict()
    filled = defaults | values
    return filled | {name: defaults[name] | filled[name] for name in ("augmentation", "loss")}


def _twin_of(network: M4Net) -> M4Net:
    """A network with the same parameters in the same memory, but gradients and batch-norm statistics of its own."""
    twin = copy.deepcopy(network)
    for mine, shared in zip(twin.parameters(), network.parameters(), strict=True):
        mine.data = shared.data
    return twin


def _normalised(crops: torch.Tensor) -> torch.Tensor:
    """The network's input from a batch of crops (B, S, S, 3) uint8, channels last in memory."""
    return crops.permute(0, 3, 1, 2).float().sub(127.5).div(128)


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(1)


def _in_words(step: int, figures: Mapping[str, float]) -> str:
    return f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
