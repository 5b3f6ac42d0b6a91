"""Numbers of the activation study: speed, volatility, final loss, errors, and significant differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from m4kit.ablation.activations.record import BEST, ActivationRecord, RunRecord

if TYPE_CHECKING:
    import pandas as pd

RELU_SERIES = ("relu", "elu", "rrelu")
REFERENCE = "sigmoid"
LAST = 0.2
"""The share of a training, at its end, whose losses count as final."""

WINDOW = 25
"""Steps of the moving mean that smooths or detrends a loss."""


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean of values (n,) over `window` values, and over fewer at the ends."""
    if window < 1:
        raise ValueError(f"expected a window of at least one step, got {window}")
    values = np.asarray(values, dtype=float)
    sums = np.concatenate([[0], np.cumsum(values)])
    places = np.arange(len(values))
    low = np.maximum(places - (window - 1) // 2, 0)
    high = np.minimum(places + window // 2 + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def last_part(losses: np.ndarray) -> np.ndarray:
    """The last fifth (`LAST`) of losses (n,), at least one."""
    return losses[-max(round(LAST * len(losses)), 1) :]


def final_loss(run: RunRecord) -> float:
    """Mean loss over the last part of a training; NaN if it diverged."""
    return np.nan if run.diverged else float(last_part(run.loss).mean())


def volatility(run: RunRecord) -> float:
    """Batch-to-batch variation of the loss over the last part, in percent of its mean; NaN if it diverged.

    This is the standard deviation of the loss after its moving mean is subtracted.
    """
    if run.diverged:
        return np.nan
    left = (run.loss - smoothed(run.loss, WINDOW))[-len(last_part(run.loss)) :]
    return float(100 * left.std() / last_part(run.loss).mean())


def dead_units(runs: Iterable[RunRecord]) -> float:
    """Largest share of dead units of a stage at the end of a training, in percent; NaN if none is known."""
    return 100 * max((float(run.dead[-1].max()) for run in runs if not run.diverged), default=np.nan)


def steps_to(run: RunRecord, level: float) -> float:
    """First step at which the mean loss of the last 25 steps is at most `level`; infinite if it never is."""
    window = min(WINDOW, len(run.loss))
    if not window:
        return np.inf
    sums = np.concatenate([[0], np.cumsum(run.loss, dtype=float)])
    trailing = (sums[window:] - sums[:-window]) / window
    reached = np.flatnonzero(trailing <= level)
    return float(run.step[reached[0] + window - 1]) if len(reached) else np.inf


def grouped(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Trainings by activation."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.activation, []).append(run)
    return groups


def at_best_rate(runs: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    """The trainings of each activation at its best learning rate: the one with the lowest NME at the end.

    The NME is the mean over seeds; a rate at which a training diverged comes last. Only a search has several rates.
    """
    best: list[RunRecord] = []
    for own in grouped(runs).values():
        rates = sorted({run.learning_rate for run in own})
        at = {rate: [run for run in own if run.learning_rate == rate] for rate in rates}
        errors = {rate: np.mean([_last_nme(run) for run in some]) for rate, some in at.items()}
        best += at[min(rates, key=errors.get)]
    return tuple(best)


def _last_nme(run: RunRecord) -> float:
    known = not run.diverged and np.isfinite(run.nme[-1])
    return float(run.nme[-1]) if known else np.inf


def default_levels(runs: Iterable[RunRecord]) -> tuple[float, ...]:
    """Loss levels for `steps_to`: 1.5, 1.2 and 1 times the median final loss of the trainings, rounded."""
    finals = [loss for run in runs if np.isfinite(loss := final_loss(run))]
    if not finals:
        return ()
    return tuple(float(f"{factor * np.median(finals):.2g}") for factor in (1.5, 1.2, 1.0))


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of values, one per seed; NaN for fewer than two."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return np.nan, np.nan
    reach = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - reach), float(values.mean() + reach)


def activation_table(
    record: ActivationRecord,
    *,
    purpose: str = BEST,
    activations: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
    levels: Sequence[float] | None = None,
) -> pd.DataFrame:
    """One row per activation and learning rate. Each number is the mean over the seeds that did not diverge.

    Only a search has several rates of an activation.

    - `learning_rate`, `seeds` (their number) and `diverged` (the number of these that did).
    - `to <level>`: steps until the loss reaches the level; median over seeds, infinite if most never reach it.
    - `loss`, `volatility` (%), and the validation errors `nme` and `balanced` (%) and `pose` (degrees, mean of yaw,
      pitch and roll), each with Student's 95 % interval over seeds, `..._low` and `..._high`, NaN for fewer than two.
    - `dead` (%): largest share of dead units of a stage at the end, of any seed.
    - `milliseconds` and `cpu_milliseconds` per step.

    Raises `ValueError` if the record has no such training.
    """
    import pandas as pd

    activations = record.activations if activations is None else tuple(activations)
    runs = record.select(purpose=purpose, activations=activations, seeds=seeds)
    if not runs:
        raise ValueError(
            f"expected trainings with the purpose {purpose}, got none with these activations and seeds; the record "
            f"has {', '.join(sorted({word for run in record.runs for word in run.purposes}))}"
        )
    levels = default_levels(runs) if levels is None else tuple(levels)
    rows = [
        {"activation": name} | _row([run for run in own if run.learning_rate == rate], levels)
        for name, own in grouped(runs).items()
        for rate in sorted({run.learning_rate for run in own})
    ]
    return pd.DataFrame(rows)


def _row(runs: Sequence[RunRecord], levels: Sequence[float]) -> dict:
    fine = [run for run in runs if not run.diverged]
    row = {"learning_rate": runs[0].learning_rate, "seeds": len(runs), "diverged": len(runs) - len(fine)}
    row |= {f"to {level:g}": float(np.median([steps_to(run, level) for run in runs])) for level in levels}
    for name, measure in MEASURES.items():
        values = [measure(run) for run in fine]
        low, high = interval(values)
        row |= {name: np.mean(values) if fine else np.nan, f"{name}_low": low, f"{name}_high": high}
    clocks = {"milliseconds": "seconds", "cpu_milliseconds": "cpu_seconds"}
    row["dead"] = dead_units(fine)
    times = {name: np.concatenate([getattr(run, clock) for run in runs]) for name, clock in clocks.items()}
    return row | {
        name: 1000 * float(np.median(values)) if len(values) else np.nan for name, values in times.items()
    }


MEASURES: dict[str, Callable[[RunRecord], float]] = {
    "loss": final_loss,
    "volatility": volatility,
    "nme": lambda run: float(run.nme[-1]),
    "balanced": lambda run: float(run.balanced[-1]),
    "pose": lambda run: float((run.yaw[-1] + run.pitch[-1] + run.roll[-1]) / 3),
}
"""The measures that activations are compared by. Lower is better."""


def against(
    record: ActivationRecord,
    *,
    reference: str = REFERENCE,
    others: Iterable[str] | None = None,
    purpose: str = BEST,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Tests whether each of `others` (the ReLU series) differs from the `reference`: one row per activation and
    measure.

    Trainings with the same seed are compared: they have the same faces in the same order, the same augmentation and
    the same random draws for the initial weights. `seeds` is the number of such pairs in which neither diverged.
    `difference` is their mean difference, with Student's interval `low` to `high`. `p` is of the paired t test, with
    Holm's correction over all rows. `permutation_p` is from the exact test that flips the signs of the differences,
    and `permutation_least` is the smallest p that so many pairs can give. With three that is 0.25, so this test alone
    can then show no difference at 5 %.

    `verdict` is "lower" or "higher" if p is below 1 - `confidence`, else "not told apart", which does not prove that
    they are the same. It is "too few seeds to tell" for fewer than two pairs. Only the seeds vary: the intervals do
    not say what other faces would change. Of a search, each activation's best rate is compared.
    """
    import pandas as pd

    others = (
        tuple(name for name in RELU_SERIES if name in record.activations) if others is None else tuple(others)
    )
    groups = {
        name: at_best_rate(record.select(purpose=purpose, activations=[name]))
        for name in (reference, *others)
    }
    rows = []
    for name in others:
        for measure, value in MEASURES.items():
            ours, theirs = (
                {run.seed: value(run) for run in groups[group] if not run.diverged}
                for group in (name, reference)
            )
            differences = np.array(
                [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
            )
            row = {"activation": name, "measure": measure, "seeds": len(differences)}
            rows.append(row | _compared(differences, confidence))
    table = pd.DataFrame(rows, columns=[*_ROW_NAMES])
    table["p"] = _holm(table["p"].to_numpy(dtype=float))
    significant = table["p"] < 1 - confidence
    table["verdict"] = np.select(
        [table["p"].isna(), significant & (table["difference"] < 0), significant],
        ["too few seeds to tell", "lower", "higher"],
        "not told apart",
    )
    return table


_ROW_NAMES = (
    *("activation", "measure", "seeds", "difference", "low", "high"),
    *("p", "permutation_p", "permutation_least"),
)


def _compared(differences: np.ndarray, confidence: float) -> dict[str, float]:
    """The mean of differences (n,), one per seed, with its interval and tests."""
    names = ("low", "high", "p", "permutation_p", "permutation_least")
    difference = float(differences.mean()) if len(differences) else np.nan
    if len(differences) < 2:
        return {"difference": difference} | dict.fromkeys(names, np.nan)
    low, high = interval(differences, confidence)
    if not np.ptp(differences):
        # Without any variation there is nothing to test.
        return {"difference": difference, "low": low, "high": high} | dict.fromkeys(names[2:], np.nan)
    p = float(stats.ttest_1samp(differences, 0).pvalue)
    values = (low, high, p, *_flipped(differences))
    return {"difference": difference} | dict(zip(names, values, strict=True))


def _flipped(differences: np.ndarray) -> tuple[float, float]:
    """p of the exact test that flips the signs of differences (n,), and the least p that so many can give."""
    signs = np.array(list(product((1, -1), repeat=len(differences))))
    means = abs(signs @ differences)
    # All signs flipped at once give the same mean, so the least is two of all.
    return float((means >= means[0] * (1 - 1e-9)).mean()), 2 / len(signs)


def _holm(p: np.ndarray) -> np.ndarray:
    """p values (k,) with Holm's correction for their number (Scand. J. Statistics 1979); NaN stays NaN."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted
