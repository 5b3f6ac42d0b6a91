"""What both training loops share: learning-rate schedule, weight average, workers and checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from m4kit.files import whole_file
from m4kit.training import TrainingError
from m4kit.weights import read_pickled


def rate_factor(done: float, *, warm_up: float, last: float) -> float:
    """Compute the factor of the learning rate once the share `done` of a training is complete.

    It rises linearly over the share `warm_up`, then falls along half a cosine to `last`. torch's schedulers count
    steps; this one also serves a training that ends by the clock.
    """
    if done < warm_up:
        # Never 0, or the first step would do nothing.
        return max(done, 1e-3) / warm_up
    along = (done - warm_up) / (1 - warm_up)
    return last + (1 - last) * (1 + math.cos(math.pi * along)) / 2


def weight_average(network: nn.Module, decay: float) -> AveragedModel:
    """Make an exponential moving average of a network's weights and batch-norm statistics, in `eval` mode.

    Call `update_parameters(network)` after each step. The decay starts small, so that the average soon forgets the
    start, and grows to `decay`.
    """

    @torch.no_grad()
    def update(averaged: list, values: list, count: torch.Tensor) -> None:
        n = int(count)
        # Each list has one data type; counters of batches are not averaged.
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, values, 1 - min(decay, (1 + n) / (10 + n)))

    average = AveragedModel(network, multi_avg_fn=update, use_buffers=True).eval().requires_grad_(False)
    # The start counts as the first model; with 0, the first update would copy the network.
    average.n_averaged.fill_(1)
    return average


def of_workers(count: int) -> dict[str, object]:
    """Return the options of a `DataLoader` with so many processes; with 0, the main process loads."""
    # A forked process could wait forever for a lock of the training's threads.
    return {
        "num_workers": count,
        "worker_init_fn": _one_thread,
        "multiprocessing_context": "spawn" if count else None,
    }


def _one_thread(_worker: int) -> None:
    # torch's processes have one thread already.
    cv2.setNumThreads(1)


class Checkpoint:
    """The file from which a stopped training continues.

    `parts` are the objects with a state: network, average, optimizer. `config` holds all options that make a run the
    same run; a checkpoint with other values is refused, and so is one of another `version`. torch's random state is
    kept too.
    """

    def __init__(self, path: Path, parts: Mapping, config: Mapping, *, version: int):
        self.path, self.parts, self.config, self.version = path, parts, config, version

    def save(self, **progress) -> None:
        """Write the state of all parts and `progress`; the old file stays until the new one is complete."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"version": self.version, "config": dict(self.config), "progress": progress}
        state["random"] = torch.get_rng_state()
        try:
            with whole_file(self.path) as part:
                torch.save(state, part)
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"{self.path}: writing the checkpoint failed ({error}); the previous one is still whole, so make "
                "room and start the same command again"
            ) from error

    def restore(self, complete: Callable[[Mapping], Mapping] = dict) -> dict | None:
        """Load the file into the parts and return its progress, or None if there is no file.

        `complete` adds to the stored config the options that did not exist when it was written. Raises
        `TrainingError` for a file that is damaged, of another version, or of a run with another config.
        """
        if not self.path.is_file():
            return None
        try:
            state = read_pickled(self.path)
        except Exception as error:
            raise TrainingError(
                f"{self.path}: expected a checkpoint of a training, but reading it failed ({error}); remove it to "
                "start again from the beginning"
            ) from error
        if state.get("version") != self.version:
            raise TrainingError(
                f"{self.path}: expected a checkpoint of version {self.version}, got version {state.get('version')}; "
                "finish the run with the m4kit that began it, or train into another folder"
            )
        theirs = complete(state["config"])
        keys = self.config.keys() | theirs.keys()
        if differing := sorted(key for key in keys if self.config.get(key) != theirs.get(key)):
            raise TrainingError(
                f"{self.path}: it belongs to a run with another {', '.join(differing)}; give the same options to "
                "continue it, or another folder to begin a new run"
            )
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        return state["progress"]
