"""Activations trained live, side by side, on faces drawn on the spot: no data set, a minute, in a thread."""

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
from m4kit.network import ACTIVATIONS, M4Net, to_input
from m4kit.training.command import set_whitening, whitening_of
from m4kit.training.losses import GeometryLoss
from m4kit.training.synthetic import random_face
from m4kit.training.synthetic_head import Head

READY, DRAWING, TRAINING = "ready", "drawing", "training"
STOPPED, DONE, DIVERGED, FAILED = "stopped", "done", "diverged", "failed"

_REPORT_SECONDS = 0.5


class LiveTraining:
    """The small network trained with each of some activations, by turns, step by step, so that all are as far.

    `start` trains in the background for `seconds`; `stop` stops it after the step in hand, and `start` goes on. All
    see the same faces in the same order, at `crop_size` pixels and not augmented, and begin with the same draws: the
    same seed gives the same `losses`, however often it was stopped.

    Meanwhile torch's random numbers are the notebook's own, but for RReLU: it draws from the one generator that the
    whole process has, seeded for each of its steps and put back after it. Who draws elsewhere during such a step gets
    numbers of the step, and changes RReLU's losses; who seeds then, loses the seed.

    - `losses`: each activation's training loss, a number a step. One that is no longer finite ends its training.
    - `state`: "ready", "drawing", "training", "stopped", "done", "diverged" once no loss is finite, or "failed", then
      with an `error`.
    - `drawn`: faces drawn so far, of `faces`; `elapsed`: seconds of training so far.
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
        """Whether it trains now."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def progress(self) -> float:
        """How much is done, 0 to 1: drawing is the first fifth."""
        return 0.2 * self.drawn / self.faces + 0.8 * min(self.elapsed / self._until, 1)

    @property
    def diverged(self) -> tuple[str, ...]:
        """The activations whose loss is no longer finite."""
        return tuple(name for name, losses in self.losses.items() if losses and not math.isfinite(losses[-1]))

    def start(self, report: Callable[[], None] = lambda: None) -> None:
        """Train in the background until done or stopped, from where it was; once done, for as long again.

        Once all have diverged there is nothing to go on with. `report` is called in the thread twice a second and at
        the end.
        """
        if self.running:
            return
        if self.state == DONE:
            self._until += self.seconds
        # Here and not in the thread, for new networks draw their weights at random, as the notebook may then.
        if not self._networks:
            self._networks = {name: self._fresh(name) for name in self.activations}
        self._stop.clear()
        self.error = None
        self._thread = threading.Thread(target=self._run, args=(report,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the step in hand, and wait for that."""
        self._stop.set()
        self.wait()

    def wait(self) -> None:
        """Wait until it is done, stopped or diverged."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

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
        # Nobody sees what a thread raises: it is kept, and shown by whoever reads the report.
        except Exception as error:
            self.state, self.error = FAILED, error
        report()

    def _draw(self, report: Callable[[], None]) -> None:
        if self.drawn < self.faces and self._head is None:
            self._head = Head(self.model)
        said = time.monotonic()
        while self.drawn < self.faces and not self._stop.is_set():
            face = random_face(np.random.default_rng([self.seed, self.drawn]), self.model, self._head)
            size = (self.crop_size, self.crop_size)
            self._crops[self.drawn] = cv2.resize(face.crop, size, interpolation=cv2.INTER_AREA)
            self._parameters[self.drawn] = face.parameters
            self.drawn += 1
            said = _said(report, said)

    def _train(self, report: Callable[[], None]) -> None:
        if self._stop.is_set():
            return
        if not self._optimizers:
            self._prepare()
        said = before = time.monotonic()
        while not self._stop.is_set() and self.elapsed < self._until:
            going = [name for name in self.activations if name not in self.diverged]
            if not going:
                return
            # A whole round, so that all have done as many steps.
            for name in going:
                self.losses[name].append(self._step(name, len(self.losses[name])))
            now = time.monotonic()
            self.elapsed, before = self.elapsed + now - before, now
            said = _said(report, said)

    def _fresh(self, name: str) -> M4Net:
        with _draws_of(self.seed):
            return M4Net("small", name, crop_size=self.crop_size)

    def _prepare(self) -> None:
        """What can be done once all faces are drawn: whitening, and the optimizers."""
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
        nobody = torch.full((self.batch, 68, 2), torch.nan)
        batch = {"parameters": truth, "points21": nobody[:, :21], "points68": nobody}
        x = to_input(self._crops[chosen], crop_size=self.crop_size)
        # Only RReLU draws at random. For the others the generator stays as it is: the notebook may be drawing.
        with _draws_of(self.seed + step) if name == "rrelu" else nullcontext():
            loss, _ = self._loss(network, network.train().outputs(x), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())


@contextmanager
def _draws_of(seed: int) -> Iterator[None]:
    """Torch's random numbers on the CPU are those of `seed`, in all threads; afterwards they go on as before."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which seeds the graphics cards as well.
        torch.default_generator.manual_seed(seed)
        yield


def _said(report: Callable[[], None], last: float) -> float:
    """Report if half a second has gone by since `last`; when it was done last."""
    if time.monotonic() - last < _REPORT_SECONDS:
        return last
    report()
    return time.monotonic()
