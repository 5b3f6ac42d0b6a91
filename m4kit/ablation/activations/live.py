"""Live training of networks with several activations, on synthetic faces and in a thread. Needs no data set."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import cv2
import numpy as np
import torch

from m4kit.face_model import FaceModel
from m4kit.inference import one_thread
from m4kit.network import ACTIVATIONS, M4Net, to_input
from m4kit.training.losses import GeometryLoss
from m4kit.training.synthetic import random_face
from m4kit.training.synthetic_head import Head
from m4kit.training.transfer import set_whitening, whitening_of

READY, DRAWING, TRAINING = "ready", "drawing", "training"
STOPPED, DONE, DIVERGED, FAILED = "stopped", "done", "diverged", "failed"

_REPORT_SECONDS = 0.5


class LiveTraining:
    """Trains the small network with each of several activations, alternating after each step.

    `start` trains in the background for `seconds`. `stop` stops after the current step, and `start` continues. All
    networks see the same faces in the same order, at `crop_size` pixels and without augmentation, and have the same
    initial draws. The same seed gives the same `losses`, no matter how often the training was stopped.

    The training does not use torch's global random generator, so the notebook can. RReLU is the exception: it always
    draws from that generator, which is seeded for each of its steps and restored afterwards. Drawing or seeding in
    another thread during such a step changes RReLU's losses, and that seed is lost.

    - `losses`: training loss of each activation, one number per step. A loss that is not finite ends its training.
    - `state`: "ready", "drawing", "training", "stopped", "done", "diverged" (no loss is finite), or "failed", with
      an `error`.
    - `drawn`: number of faces drawn so far, out of `faces`. `elapsed`: seconds of training so far.
    """

    def __init__(
        self,
        activations: Sequence[str] = ("sigmoid", "relu"),
        *,
        seconds: float = 60.0,
        faces: int = 128,
        crop_size: int = 32,
        batch: int = 16,
        learning_rate: float = 1e-3,
        seed: int = 0,
        model: FaceModel | None = None,
    ):
        unknown = sorted(set(activations) - set(ACTIVATIONS))
        if unknown or not activations:
            raise ValueError(
                f"expected activations out of {', '.join(ACTIVATIONS)}, got {', '.join(unknown) or 'none'}"
            )
        if not (seconds > 0 and 0 < learning_rate < math.inf and 1 < batch <= faces):
            raise ValueError(
                "expected seconds and learning_rate above 0 and a batch of at least 2 and at most all faces, got "
                f"{seconds}, {learning_rate} and {batch} of {faces} faces"
            )
        self.activations, self.seconds, self.faces = tuple(dict.fromkeys(activations)), seconds, faces
        self.crop_size, self.batch, self.learning_rate, self.seed = crop_size, batch, learning_rate, seed
        self.model = model or FaceModel.load()
        self.losses: dict[str, list[float]] = {name: [] for name in self.activations}
        self.state, self.error = READY, None
        self.drawn, self.elapsed = 0, 0.0
        self._crops = np.empty((faces, crop_size, crop_size, 3), np.uint8)
        self._parameters = np.empty((faces, 62), np.float32)
        self._networks: dict[str, M4Net] = {}
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        self._head: Head | None = None
        self._loss = GeometryLoss(self.model, seed=seed)
        self._until = seconds
        self._stop, self._thread = threading.Event(), None

    @property
    def running(self) -> bool:
        """Whether the training is running."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop after the current step."""
        return self._stop.is_set()

    @property
    def progress(self) -> float:
        """Progress from 0 to 1. Drawing the faces is the first fifth."""
        return 0.2 * self.drawn / self.faces + 0.8 * min(self.elapsed / self._until, 1)

    @property
    def diverged(self) -> tuple[str, ...]:
        """The activations whose loss is no longer finite."""
        return tuple(name for name, losses in self.losses.items() if losses and not math.isfinite(losses[-1]))

    def start(self, report: Callable[[], None] = lambda: None) -> None:
        """Start or continue the training in the background; after the end, continue for the same time again.

        Does nothing once all networks have diverged. `report` is called in the thread twice a second and at the end.
        """
        if self.running:
            return
        if self.state == DONE:
            self._until += self.seconds
        # Not in the thread: new networks draw random weights, and the notebook may draw at the same time.
        if not self._networks:
            self._networks = {name: self._fresh(name) for name in self.activations}
        self._stop.clear()
        self.error = None
        self._thread = threading.Thread(target=self._run, args=(report,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current step, and wait for it."""
        self._stop.set()
        self.wait()

    def wait(self) -> None:
        """Wait until the training is done, stopped or diverged."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    # Its pictures are small, and the notebook needs the other cores.
    @one_thread()
    def _run(self, report: Callable[[], None]) -> None:
        try:
            self.state = DRAWING
            self._draw(report)
            self.state = TRAINING
            self._train(report)
            if len(self.diverged) == len(self.activations):
                self.state = DIVERGED
            else:
                self.state = STOPPED if self._stop.is_set() else DONE
        # An exception in a thread is not visible, so it is kept for the reader of the report.
        except Exception as error:
            self.state, self.error = FAILED, error
        report()

    def _draw(self, report: Callable[[], None]) -> None:
        if self.drawn < self.faces and self._head is None:
            self._head = Head(self.model)
        reported = time.monotonic()
        while self.drawn < self.faces and not self._stop.is_set():
            face = random_face(np.random.default_rng([self.seed, self.drawn]), self.model, self._head)
            size = (self.crop_size, self.crop_size)
            self._crops[self.drawn] = cv2.resize(face.crop, size, interpolation=cv2.INTER_AREA)
            self._parameters[self.drawn] = face.parameters
            self.drawn += 1
            reported = _report_if_due(report, reported)

    def _train(self, report: Callable[[], None]) -> None:
        if self._stop.is_set():
            return
        if not self._optimizers:
            self._prepare()
        reported = before = time.monotonic()
        while not self._stop.is_set() and self.elapsed < self._until:
            going = [name for name in self.activations if name not in self.diverged]
            if not going:
                return
            # A whole round, so that all have the same number of steps.
            for name in going:
                self.losses[name].append(self._step(name, len(self.losses[name])))
            now = time.monotonic()
            self.elapsed, before = self.elapsed + now - before, now
            reported = _report_if_due(report, reported)

    def _fresh(self, name: str) -> M4Net:
        with _draws_of(self.seed):
            return M4Net("small", name, crop_size=self.crop_size)

    def _prepare(self) -> None:
        """Set the whitening from all faces, and make the optimizers."""
        for network in self._networks.values():
            set_whitening(network, whitening_of(self._parameters))
            network.to(memory_format=torch.channels_last)
        self._optimizers = {
            name: torch.optim.AdamW(
                network.parameters(), lr=self.learning_rate, weight_decay=0.01, fused=True
            )
            for name, network in self._networks.items()
        }

    def _step(self, name: str, step: int) -> float:
        network, optimizer = self._networks[name], self._optimizers[name]
        chosen = np.random.default_rng([self.seed, step]).choice(self.faces, self.batch, replace=False)
        truth = torch.tensor(self._parameters[chosen])
        unknown = torch.full((self.batch, 68, 2), torch.nan)
        batch = {"parameters": truth, "points21": unknown[:, :21], "points68": unknown}
        x = to_input(self._crops[chosen], crop_size=self.crop_size)
        # Only RReLU draws random numbers. For the others, the generator is left to the notebook.
        with _draws_of(self.seed + step) if name == "rrelu" else nullcontext():
            loss, _ = self._loss(network, network.train().outputs(x), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())


@contextmanager
def _draws_of(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator, for all threads, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which also seeds the GPUs.
        torch.default_generator.manual_seed(seed)
        yield


def _report_if_due(report: Callable[[], None], last: float) -> float:
    """Report if half a second has passed since `last`; returns the time of the last report."""
    if time.monotonic() - last < _REPORT_SECONDS:
        return last
    report()
    return time.monotonic()
