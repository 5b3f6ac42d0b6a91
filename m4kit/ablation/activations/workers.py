"""Worker processes that train the runs of a study in parallel, one process and one core per run."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from m4kit.ablation.activations.run import Run, Settings, study_labels, train

_POLL_SECONDS = 1.0

_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # glibc keeps the memory that a step frees, so that the next step has no page faults.
    **{"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4000000000"},
}


def train_all(
    runs: Sequence[Run],
    folders: Sequence[Path],
    settings: Settings,
    *,
    labels: Path,
    crops: Path,
    checkpoint_minutes: float,
    jobs: int,
    bar: tqdm,
) -> list[str]:
    """Train runs in their folders, `jobs` at a time; returns one message per run that failed.

    The others continue when one fails. `bar` counts steps. If this process ends or raises, the workers end too.
    """
    # Not forked: a copy of a process that has used torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    waiting = list(zip(runs, folders, strict=True))
    working: dict[BaseProcess, tuple[Run, Path, int]] = {}
    failures = []
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run, folder = waiting.pop(0)
                folder.mkdir(parents=True, exist_ok=True)
                given = {"run": run, "folder": folder, "settings": settings, "labels": labels, "crops": crops}
                given["checkpoint_minutes"] = checkpoint_minutes
                process = context.Process(target=_train, kwargs=given, daemon=True)
                with _environment():
                    process.start()
                working[process] = run, folder, 0
            wait([process.sentinel for process in working], timeout=_POLL_SECONDS)
            for process, (run, folder, done) in list(working.items()):
                code = process.exitcode
                steps = _steps_done(folder) if code is None else run.steps
                bar.update(steps - done)
                working[process] = run, folder, steps
                if code is not None:
                    del working[process]
                if code:
                    failures.append(_failure(run, folder, code))
    finally:
        for process in working:
            process.kill()
    return failures


def _train(
    *, run: Run, folder: Path, settings: Settings, labels: Path, crops: Path, checkpoint_minutes: float
) -> None:
    """Train a run in this process, with its output in `log.txt`."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout = sys.stderr = (folder / "log.txt").open("w", buffering=1)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    # CPUs are slow with numbers close to 0.
    torch.set_flush_denormal(True)
    faces = study_labels(labels, settings.sources)
    train(run, settings, faces, crops, folder, checkpoint_minutes=checkpoint_minutes)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def _environment() -> Iterator[None]:
    """Set the environment variables that a new process inherits."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _steps_done(folder: Path) -> int:
    """Number of steps in the log of a run."""
    metrics = folder / "metrics.jsonl"
    return metrics.read_text().count('"loss"') if metrics.is_file() else 0


def _failure(run: Run, folder: Path, code: int) -> str:
    log = folder / "log.txt"
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return f"{run.name}: {lines[-1] if lines else f'exit status {code}'} (see {log})"
