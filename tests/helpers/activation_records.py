"""Made-up records of an activation study."""

import numpy as np

from m4kit.ablation.activations.record import ActivationRecord, RunRecord
from m4kit.ablation.activations.units import BINS

STAGES = ("conv1", "dw4_1", "head1")


def run_record(
    activation="relu",
    seed=0,
    *,
    loss=None,
    nme=5.0,
    rate=1e-3,
    purposes=("best",),
    status="finished",
):
    """A training with the given loss (n,), whose validation NME falls from 20 to `nme`."""
    loss = np.linspace(20, 10, 40) if loss is None else np.asarray(loss, float)
    n, s, random = len(loss), len(STAGES), np.random.default_rng(seed)
    histograms = np.stack([np.exp(-np.square(BINS[:-1] - shift) / 2) for shift in (0, 1)])
    histograms = np.repeat((histograms / histograms.sum(1, keepdims=True))[:, None], s, 1)
    return RunRecord(
        activation=activation,
        learning_rate=rate,
        seed=seed,
        planned=n,
        purposes=purposes,
        status=status,
        why="the loss is nan" if status == "diverged" else "",
        machine="a machine, one of 2 cores",
        versions={"m4kit": "0.1.0"},
        config={"steps": n},
        stages=STAGES,
        step=np.arange(1, n + 1, dtype=np.int32),
        loss=loss.astype(np.float32),
        **{name: (loss / 4).astype(np.float32) for name in ("landmarks", "vertices", "parameters")},
        **{name: (loss / 8).astype(np.float32) for name in ("rotation", "points", "gradient")},
        seconds=np.full(n, 0.25, np.float32),
        cpu_seconds=np.full(n, 0.125, np.float32),
        validated=np.array([0, n], np.int32),
        nme=np.array([20, nme], np.float32),
        balanced=np.array([22, nme + 1], np.float32),
        **{name: np.array([30, nme / 2], np.float32) for name in ("yaw", "pitch", "roll")},
        dead=np.full((2, s), 0.25, np.float32),
        saturated=np.full((2, s), 0.5, np.float32),
        input_mean=random.standard_normal((2, s)).astype(np.float16).astype(np.float32),
        input_std=np.ones((2, s), np.float32),
        stage_gradients=np.ones((2, s), np.float32),
        histograms=histograms.astype(np.float32),
    )


def record_of(*runs):
    """A record of these trainings."""
    plan = {"settings": {"size": "small", "crop_size": 64, "batch": 64}, "steps": 40}
    return ActivationRecord(tuple(runs), "m4kit", plan)
