"""Evaluates each head: the network runs once, and any head weights are evaluated by fusing again."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

from m4kit import metrics
from m4kit.datasets import Sample
from m4kit.engine import Engine, TorchEngine
from m4kit.evaluate.crops import in_order, over_crops
from m4kit.evaluate.landmarks import LandmarkEvaluation, compare
from m4kit.face_model import FaceModel
from m4kit.network import M4Net
from m4kit.parameters import fuse, head_spread, landmarks_in_crop, split
from m4kit.views import regress
from m4kit.weights import check_fits


@dataclass(frozen=True)
class HeadAnswers:
    """Raw parameters of the heads (n, 4, 62) for n faces, and the network's weights of the heads (n, 4).

    `network` is the fingerprint of the heads (`M4Net.heads_digest`), empty if unknown. `interrupted` is what stopped
    the run before its end; then it has the faces so far.
    """

    samples: tuple[Sample, ...] = field(repr=False)
    heads: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    model: FaceModel = field(repr=False)
    published_crops: bool
    left_out: tuple[str, ...] = ()
    network: str = ""
    interrupted: KeyboardInterrupt | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.samples)

    def evaluate(self, weights=None) -> LandmarkEvaluation:
        """Errors under head weights (4,) or (n, 4), by default those of the network."""
        weights = self.weights if weights is None else np.asarray(weights, dtype=float)
        parameters = fuse(self.heads, weights)
        return compare(
            self.samples,
            landmarks_in_crop(self.model, parameters),
            split(parameters).camera,
            published_crops=self.published_crops,
            left_out=self.left_out,
        )

    def spread(self) -> np.ndarray:
        """Disagreement of the heads on each face, (n,), in percent (`parameters.head_spread`)."""
        return head_spread(self.model, self.heads, self.weights)

    def report(self) -> str:
        """Errors of each head alone and of uniform weights, and how the heads' spread correlates with the error.

        It is empty if a true yaw is unknown.
        """
        fused, count = self.evaluate(), self.heads.shape[1]
        if not fused.turns_known:
            return ""
        alone = [self.evaluate(np.eye(count)[k]).balanced.mean for k in range(count)]
        uniform = self.evaluate(np.full(count, 1 / count)).balanced.mean
        spread, bins = self.spread(), metrics.yaw_bin(fused.true_poses[:, 0])
        within = [
            _correlation(spread[chosen], fused.nme[chosen])
            for number in range(len(metrics.YAW_BINS))
            if (chosen := bins == number).sum() > 2
        ]
        return "\n".join(
            [
                f"mean head weights: {_joined(self.weights.mean(axis=0), 3)}",
                f"NME balanced of each head alone: {_joined(alone)} % (fused {fused.balanced.mean:.2f})",
                f"NME balanced with uniform weights: {uniform:.2f} %",
                f"Spearman correlation of the heads' spread with the error: {_correlation(spread, fused.nme):.2f} "
                f"(within the yaw bins: {_joined(within)})",
            ]
        )


def predict_heads(
    network: M4Net | Engine,
    model: FaceModel,
    samples: Iterable[Sample],
    *,
    published_crops: bool = False,
    batch_size: int = 50,
    views: int = 1,
    partial: bool = False,
    executor: Executor | None = None,
    progress: bool = True,
) -> HeadAnswers:
    """Run the network once on the ground-truth crop of every face, and keep the answer of each head.

    Crops and errors are as for `evaluate_landmarks`, `views` as for `views.regress`. With `partial`, Ctrl-C after the
    first batch is not raised: the answers so far are returned, and it is their `interrupted`. `executor` is as for
    `crops.over_crops`: give an engine of exported weights, whose copies in other processes read its file. Raises
    `WeightsError` if the network was trained for another face model.
    """
    check_fits(network, model)
    engine = TorchEngine(network) if isinstance(network, M4Net) else network
    left_out: list[str] = []
    done, interrupted = [], None
    options = {"published_crops": published_crops, "batch_size": batch_size, "left_out": left_out}
    batches = over_crops(
        functools.partial(regress, engine, model, views=views), samples, **options, executor=executor
    )
    try:
        for batch in tqdm(batches, desc="evaluate", unit="batch", disable=not progress):
            done.append(batch)
    except KeyboardInterrupt as stop:
        if not (partial and done):
            raise
        interrupted = stop
    done = in_order(done)
    heads, weights = (np.concatenate([batch.answer[place] for batch in done]) for place in (0, 1))
    return HeadAnswers(
        samples=tuple(sample for batch in done for sample in batch.samples),
        heads=heads,
        weights=weights,
        model=model,
        published_crops=published_crops,
        left_out=tuple(left_out),
        network=engine.notes["heads_digest"],
        interrupted=interrupted,
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan


def _joined(values: Iterable[float], digits: int = 2) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)
