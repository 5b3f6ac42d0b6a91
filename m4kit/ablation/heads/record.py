"""The record of a study of the head weights: its results, its report, its file and its table."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m4kit import metrics
from m4kit.ablation.heads.judge import GROUPS, HEADS, Judgement
from m4kit.ablation.record import RecordFormat, reshaped
from m4kit.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

BEST = "best static"
"""The static weights with the lowest error. If a study searched them, its own faces chose them."""

OTHER_HALF = "best of other half"
"""The people are split into halves, and each face is judged under the best static weights of the half without it."""

LEARNED, UNIFORM, DYNAMIC = "learned static", "uniform", "dynamic"

VERDICTS = ("does not differ", "better", "worse")

DIGITS = 4
"""Decimals of a percent to which differences are kept. Smaller ones are rounding errors."""

_SHAPES = {
    **{"weights": (HEADS,), "nme": (), "bins": (len(metrics.YAW_BINS),), "groups": (len(GROUPS),)},
    **{"pose": (3,), "vertices": ()},
}
"""The shape of each column of a `Judgement`, without its rows."""

_FORMAT = RecordFormat(
    name="head study",
    version=3,
    columns=("setting", *_SHAPES, "interval", "differences"),
    about=(
        *("dataset", "inputs", "weights_file", "network", "faces", "counts", "chosen_on"),
        *("confidence", "resamples", "seed"),
    ),
    command="m4kit ablate heads --out DIR",
)


@dataclass(frozen=True, eq=False)
class HeadStudy:
    """Results of a study of the head weights on n faces. Angles are degrees, errors percents as in `Judgement`.

    - `settings`: names of the s settings that are compared. `table`: their errors, one row each. The rows of
      "dynamic" and "best of other half" have the mean of the faces' weights as `weights`.
    - `intervals` (s, 2): bootstrap intervals of the settings' `headline`. `differences` (s, s, 3): headline of the
      row's setting minus that of the column's, and its paired bootstrap interval.
    - `grid`: errors of all static weights that were tried (the simplex). `grid_intervals` (g, 2): intervals of their
      headlines. `grid_differences` (g, 3): their differences from the `reference`. All are empty if nothing was
      searched because the best weights came from the study of another set, `chosen_on`.
    - `dataset`, `inputs`, `weights_file`: what was evaluated, in words. `network`: fingerprint of its heads
      (`M4Net.heads_digest`), empty if not known. `faces`: their number; `counts` (3,): the number in each yaw bin,
      zeros if a yaw is not known.
    """

    dataset: str
    inputs: str
    weights_file: str
    faces: int
    counts: tuple[int, ...]
    settings: tuple[str, ...]
    table: Judgement = field(repr=False)
    intervals: np.ndarray = field(repr=False)
    differences: np.ndarray = field(repr=False)
    grid: Judgement = field(repr=False)
    grid_intervals: np.ndarray = field(repr=False)
    grid_differences: np.ndarray = field(repr=False)
    network: str = ""
    chosen_on: str = ""
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0

    @property
    def criterion(self) -> str:
        """The error that settings are compared by, in words."""
        return "NME balanced" if all(self.counts) else "NME over all faces"

    @property
    def reference(self) -> str:
        """The setting that all others are compared with: the best static weights, if possible of other faces."""
        return OTHER_HALF if OTHER_HALF in self.settings else BEST

    def row(self, setting: str) -> int:
        """Find the row of a setting. Raises `ValueError` if the study does not have it."""
        if setting not in self.settings:
            raise ValueError(f"expected a setting out of {', '.join(self.settings)}, got {setting!r}")
        return self.settings.index(setting)

    def weights(self, setting: str) -> np.ndarray:
        """Return the head weights (4,) of a setting; their means over the faces if each face has its own."""
        return self.table.weights[self.row(setting)]

    def difference(self, setting: str, other: str | None = None) -> np.ndarray:
        """Return a setting's error minus another's, by default the reference's, and its paired interval: (3,)."""
        return self.differences[self.row(setting), self.row(other or self.reference)]

    def verdict(self, setting: str, other: str | None = None) -> str:
        """Say how a setting compares with another, by default the reference.

        It is "better", "worse", or "does not differ" if the interval holds 0. Against the weights that these faces
        have not chosen, those that they chose are "chosen on these faces".
        """
        if setting == BEST and (other or self.reference) == OTHER_HALF:
            return "chosen on these faces"
        return VERDICTS[int(verdicts(self.difference(setting, other)))]

    @property
    def not_worse(self) -> np.ndarray:
        """Which weights of the grid are not worse than the reference, (g,) bool."""
        return verdicts(self.grid_differences) != VERDICTS.index("worse")

    def report(self) -> str:
        """Write the study as text, one line per setting."""
        lines = [
            f"{self.faces} faces of {self.dataset}, {self.inputs}; weights {self.weights_file or 'not named'}",
            f"{self.criterion} in %, with {100 * self.confidence:.0f} % intervals (bootstrap over faces, those "
            f"of one person together, {self.resamples} resamples)",
        ]
        if self.chosen_on:
            lines.append(f"the best weights were chosen on {self.chosen_on}; nothing was searched here")
        else:
            lines.append(f"{BEST}: chosen on these same faces, which favours it")
        if OTHER_HALF in self.settings:
            lines.append(
                f"{OTHER_HALF}: each face under the best static weights of the half of the people without it"
            )
        lines.append(as_text(self.summary()))
        if len(self.grid):
            lines.append(
                f"{self.not_worse.sum()} of {len(self.grid)} static weights are not worse than {self.reference} "
                f"(all: {self.grid.headline.min():.2f} to {self.grid.headline.max():.2f} %)"
            )
        return "\n".join(lines)

    def summary(self) -> pd.DataFrame:
        """Tabulate the settings, one row each: their weights, errors and intervals, and how they compare."""
        import pandas as pd

        table, reference = self.table, self.row(self.reference)
        posed, meshed = (bool(np.isfinite(some).all()) for some in (table.pose, table.vertices))
        weights = [" ".join(f"{weight:.3g}" for weight in own.round(3)) for own in table.weights]
        for name in {DYNAMIC, OTHER_HALF} & {*self.settings}:
            weights[self.row(name)] = f"mean {weights[self.row(name)]}"
        compared = [difference_text(*self.difference(name)) for name in self.settings]
        columns = {
            "setting": self.settings,
            "heads' weights": weights,
            "NME": table.headline,
            "interval": [f"{low:.3f} to {high:.3f}" for low, high in self.intervals],
        }
        if all(self.counts):
            columns |= {f"{low}-{high}": table.bins[:, k] for k, (low, high) in enumerate(metrics.YAW_BINS)}
        columns |= {group: table.groups[:, k] for k, group in enumerate(GROUPS)}
        columns |= {"pose": table.pose.mean(axis=1)} if posed else {}
        columns |= {"vertices": table.vertices} if meshed else {}
        minus = f"minus {self.reference}"
        columns |= {minus: compared, "verdict": [self.verdict(name) for name in self.settings]}
        # With two digits, the best and the next best look the same.
        shown = pd.DataFrame(columns).round(3)
        shown.loc[reference, [minus, "verdict"]] = ""
        return shown

    def save(self, path: str | Path) -> Path:
        """Write the record as a parquet file, atomically; returns the path."""
        every, s, g = self.table.joined(self.grid), len(self.settings), len(self.grid)
        columns = {"setting": [*self.settings, *[None] * g]}
        columns |= {name: list(getattr(every, name)) for name in _SHAPES}
        columns["interval"] = [*self.intervals, *self.grid_intervals]
        columns["differences"] = [*self.differences.reshape(s, -1), *self.grid_differences]
        return _FORMAT.write(path, columns, {name: getattr(self, name) for name in _FORMAT.about})

    @classmethod
    def packaged(cls) -> HeadStudy:
        """Load the study of the packaged network on its validation people; `docs/evaluation.md` has its command."""
        return cls.load(Path(str(resources.files("m4kit.assets") / "head_study.parquet")))

    @classmethod
    def load(cls, path: str | Path) -> HeadStudy:
        """Read a record that `save` wrote. Raises `RecordError` if it is missing, damaged or of another version."""
        table, about = _FORMAT.read(path)
        settings = tuple(table["setting"].dropna())
        s, g = len(settings), len(table) - len(settings)

        def column(name: str, rows: slice, shape: tuple[int, ...]) -> np.ndarray:
            values = np.hstack([np.zeros(0), *table[name][rows]])
            return reshaped(path, name, values, shape)

        named, rest = (
            Judgement(**{name: column(name, rows, (count, *shape)) for name, shape in _SHAPES.items()})
            for rows, count in ((slice(s), s), (slice(s, None), g))
        )
        return cls(
            settings=settings,
            table=named,
            intervals=column("interval", slice(s), (s, 2)),
            differences=column("differences", slice(s), (s, s, 3)),
            grid=rest,
            grid_intervals=column("interval", slice(s, None), (g, 2)),
            grid_differences=column("differences", slice(s, None), (g, 3)),
            **about | {"counts": tuple(about["counts"])},
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Tabulate all settings and then the grid, one row each, with intervals and difference from the reference."""
        import pandas as pd

        every = self.table.joined(self.grid)
        differences = np.concatenate([self.differences[:, self.row(self.reference)], self.grid_differences])
        columns = {
            **{f"weight_{head + 1}": every.weights[:, head] for head in range(HEADS)},
            **{"nme": every.nme, "nme_balanced": every.balanced},
            **{f"nme_yaw_{low}_{high}": every.bins[:, k] for k, (low, high) in enumerate(metrics.YAW_BINS)},
            **{f"nme_{group}": every.groups[:, k] for k, group in enumerate(GROUPS)},
            **{name: every.pose[:, k] for k, name in enumerate(("yaw", "pitch", "roll"))},
            "vertices": every.vertices,
        }
        ends = np.concatenate([self.intervals, self.grid_intervals])
        columns |= {"low": ends[:, 0], "high": ends[:, 1]}
        columns |= dict(zip(("difference", "difference_low", "difference_high"), differences.T, strict=True))
        table = pd.DataFrame(columns).round(DIGITS)
        table.insert(0, "setting", [*self.settings, *["grid"] * len(self.grid)])
        tried = np.array(VERDICTS)[verdicts(self.grid_differences)]
        table["verdict"] = [*map(self.verdict, self.settings), *tried]
        return table


def verdicts(differences: np.ndarray) -> np.ndarray:
    """Judge differences: indices into `VERDICTS` (...) of differences (..., 3) with their intervals."""
    return np.where(differences[..., 2] < 0, 1, np.where(differences[..., 1] > 0, 2, 0))


def weights_text(weights: np.ndarray) -> str:
    """Write head weights (n,) with two decimals."""
    return " ".join(f"{weight:.2f}" for weight in weights)


def difference_text(middle: float, low: float, high: float) -> str:
    """Write a difference with its interval: `+0.123 (-0.010 to +0.250)`."""
    return f"{middle:+.3f} ({low:+.3f} to {high:+.3f})"
