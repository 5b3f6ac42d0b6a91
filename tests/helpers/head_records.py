"""Made-up studies of the head weights, in which every number is known."""

import numpy as np

from m4kit.ablation import HeadStudy, simplex
from m4kit.ablation.heads.judge import Judgement

SLOPE = np.array([4.0, 3.0, 2.0, 1.0])
"""The error of each head alone in percent; that of weights is the weighted sum."""

LEARNED = np.array([0.13, 0.22, 0.31, 0.34])


def judgement(weights, error):
    n = len(weights)
    return Judgement(
        weights=weights,
        nme=error,
        bins=np.repeat(error[:, None], 3, axis=1),
        groups=np.repeat(error[:, None], 5, axis=1),
        pose=np.ones((n, 3)),
        vertices=np.full(n, np.nan),
    )


def linear_study(*, network="these heads", error=lambda weights: weights @ SLOPE, extra=(), **changes):
    """A study whose errors are a function of the weights. Each interval reaches 0.5 to both sides."""
    grid = np.concatenate([simplex(0.1), LEARNED[None], *extra])
    lowest = grid[error(grid).argmin()]
    settings = np.stack([*np.eye(4), np.full(4, 0.25), LEARNED, lowest, lowest])
    best = error(grid).min()

    def above(weights):
        return np.stack([error(weights) - best + shift for shift in (0, -0.5, 0.5)], axis=1)

    def around(weights):
        return np.stack([error(weights) - 0.5, error(weights) + 0.5], axis=1)

    about = {
        "dataset": "made-up people",
        "inputs": "ground-truth boxes",
        "weights_file": "made-up",
        "faces": 30,
        "counts": (10, 10, 10),
        "settings": (
            *(f"head {k + 1}" for k in range(4)),
            "uniform",
            "learned static",
            "best static",
            "best of other half",
        ),
        "table": judgement(settings, error(settings)),
        "intervals": around(settings),
        "differences": above(settings)[:, None] - above(settings)[None] * [1, 0, 0],
        "grid": judgement(grid, error(grid)),
        "grid_intervals": around(grid),
        "grid_differences": above(grid),
        "network": network,
    }
    return HeadStudy(**about | changes)
