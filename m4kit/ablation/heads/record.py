"""The record of a study of the heads' weights: what it found, as text, as a file, and as a table."""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from m4kit import metrics
from m4kit.ablation.heads.judge import GROUPS, HEADS, PARTS, Judgement
from m4kit.ablation.record import RecordError
from m4kit.files import whole_file

VERSION = 2
"""Of the record; a change in what it holds or means counts it up."""

PACKAGED = "head_study.npz"
"""The record's name in `m4kit/assets`."""

BEST = "best static"
"""The setting that all others are compared with."""

LEARNED, UNIFORM, DYNAMIC, SEPARATE = "learned static", "uniform", "dynamic", "best separate"

VERDICTS = ("does not differ", "better", "worse")

_COLUMNS = ("weights", "nme", "bins", "groups", "pose", "vertices")
_SHAPES = ((len(PARTS), HEADS), (), (len(metrics.YAW_BINS),), (len(GROUPS),), (3,), ())
_PLAIN = ("intervals", "differences", "grid_intervals", "grid_differences")
_ABOUT = {
    **{"dataset": str, "inputs": str, "weights_file": str, "network": str, "chosen_on": str, "counts": list},
    **{"faces": int, "resamples": int, "seed": int, "confidence": float},
}
DIGITS = 4
"""Decimals of a percent to which differences are kept: less would be rounding, and no difference."""


@dataclass(frozen=True, eq=False)
class HeadStudy:
    """What the study of the heads' weights found on n faces; angles are degrees, errors percents as for `Judgement`.

    - `settings`: names of the s settings that are compared, and `table` their errors, a row each. The row of
      "dynamic" has the mean of the faces' weights as `weights`.
    - `intervals` (s, 2): bootstrap intervals of the settings' `headline`; `differences` (s, s, 3): the headline of
      the row's setting less that of the column's, and the paired bootstrap interval of this difference.
    - `grid`: the errors of all static weights that were tried (the simplex), `grid_intervals` (g, 2) of their
      headlines, and `grid_differences` (g, 3) from the best static ones. Empty where nothing was searched, because
      the best came from another set's study, whose name is `chosen_on`.
    - `dataset`, `inputs`, `weights_file`: what was judged, in words; `network`: the fingerprint of its heads
      (`M4Net.heads_digest`), empty where it is not known; `faces`: how many; `counts` (3,): how many in each yaw bin,
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
        """What settings are compared by, in words."""
        return "NME balanced" if all(self.counts) else "NME over all faces"

    def row(self, setting: str) -> int:
        """The row of a setting."""
        if setting not in self.settings:
            raise ValueError(f"expected a setting out of {', '.join(self.settings)}, got {setting!r}")
        return self.settings.index(setting)

    def weights(self, setting: str) -> np.ndarray:
        """The heads' weights (3, 4) for camera, identity and expression; of "dynamic", their means."""
        return self.table.weights[self.row(setting)]

    def verdict(self, setting: str, other: str = BEST) -> str:
        """How a setting compares with another: "better", "worse", or "does not differ" if the interval holds 0."""
        return VERDICTS[int(verdicts(self.differences[self.row(setting), self.row(other)]))]

    @property
    def not_differing(self) -> np.ndarray:
        """Which weights of the grid do not differ from the best static ones, (g,) bool."""
        return verdicts(self.grid_differences) == 0

    def report(self) -> str:
        """The study as text: a line a setting."""
        lines = [
            f"{self.faces} faces of {self.dataset}, {self.inputs}; weights {self.weights_file or 'not named'}",
            f"{self.criterion} in %, with {100 * self.confidence:.0f} % intervals (bootstrap over faces, "
            f"{self.resamples} resamples)",
        ]
        if self.chosen_on:
            lines.append(f"the best weights were chosen on {self.chosen_on}; nothing was searched here")
        else:
            lines.append("the best weights were chosen on these very faces, which favours them")
        lines += aligned(self._rows())
        if SEPARATE in self.settings:
            lines.append(
                f"{SEPARATE}: "
                + "; ".join(
                    f"{part} {_joined(row)}" for part, row in zip(PARTS, self.weights(SEPARATE), strict=True)
                )
            )
        if len(self.grid):
            lines.append(
                f"{self.not_differing.sum()} of {len(self.grid)} static weights do not differ from the best "
                f"({self.grid.headline.min():.2f} to {self.grid.headline.max():.2f} %)"
            )
        return "\n".join(lines)

    def _rows(self) -> list[list[str]]:
        table, reference = self.table, self.row(BEST)
        posed, meshed = (bool(np.isfinite(some).all()) for some in (table.pose, table.vertices))
        titles = ["setting", "heads' weights", "NME", "interval"]
        if all(self.counts):
            titles += [f"{low}-{high}" for low, high in metrics.YAW_BINS]
        titles += [*GROUPS, *["pose"] * posed, *["vertices"] * meshed, f"less {BEST}"]
        rows = [titles]
        for row, name in enumerate(self.settings):
            weights = table.weights[row]
            low, high = self.intervals[row]
            numbers = [*(table.bins[row] if all(self.counts) else ()), *table.groups[row]]
            numbers += [table.pose[row].mean()] * posed + [table.vertices[row]] * meshed
            difference, least, most = self.differences[row, reference]
            rows.append(
                [
                    name,
                    "see below" if name == SEPARATE else "mean " * (name == DYNAMIC) + _joined(weights[0]),
                    f"{table.headline[row]:.2f}",
                    f"{low:.2f} to {high:.2f}",
                    *(f"{number:.2f}" for number in numbers),
                    ""
                    if name == BEST
                    else f"{difference:+.3f} ({least:+.3f} to {most:+.3f}) {self.verdict(name)}",
                ]
            )
        return rows

    def save(self, path: str | Path) -> Path:
        """Write the record as `.npz` without pickle, whole or not at all; the path."""
        path = Path(path)
        about = {name: getattr(self, name) for name in _ABOUT} | {"version": VERSION}
        arrays = {name: getattr(self, name) for name in _PLAIN}
        for prefix in ("table", "grid"):
            arrays |= {f"{prefix}_{name}": getattr(getattr(self, prefix), name) for name in _COLUMNS}
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part, part.open("wb") as file:
            np.savez_compressed(
                file, about=np.array(json.dumps(about)), settings=np.array(self.settings), **arrays
            )
        return path

    @classmethod
    def packaged(cls) -> HeadStudy:
        """The study of the packaged network on its validation people; `docs/evaluation.md` has its command.

        Raises `RecordError` if the package holds none.
        """
        return cls.load(Path(str(resources.files("m4kit.assets") / PACKAGED)))

    @classmethod
    def load(cls, path: str | Path) -> HeadStudy:
        """Read a record that `save` wrote.

        Raises `RecordError` if it is missing, truncated, lacks columns, or is of another version.
        """
        expected = f"{path}: expected a record of the head study (.npz, version {VERSION})"
        try:
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError as error:
            raise RecordError(
                f"{path}: no such record; write one with `m4kit ablate heads --out DIR`"
            ) from error
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RecordError(
                f"{expected}, got a file that is truncated or something else ({error}); run the study anew"
            ) from error
        about = _about(arrays, expected)
        missing = sorted(set(_expected_shapes(0, 0)) - set(arrays))
        if missing:
            raise RecordError(
                f"{expected}, but its columns {', '.join(missing)} are missing; run the study anew"
            )
        settings, grid = arrays["settings"], arrays["grid_nme"]
        for name, shape in _expected_shapes(settings.size, grid.size).items():
            if arrays[name].shape != shape:
                raise RecordError(
                    f"{expected} with {name} of shape {shape}, got {arrays[name].shape}; run the study anew"
                )
        table, grid = (
            Judgement(*(arrays[f"{prefix}_{name}"] for name in _COLUMNS)) for prefix in ("table", "grid")
        )
        about["counts"] = tuple(about["counts"])
        plain = {name: arrays[name] for name in _PLAIN}
        return cls(settings=tuple(map(str, settings)), table=table, grid=grid, **plain, **about)

    def write_csv(self, path: str | Path) -> Path:
        """Write all settings and the grid as a table for other programs, a row each; the path."""
        path = Path(path)
        titles = ["setting", *(f"{part}_{head + 1}" for part in PARTS for head in range(HEADS))]
        titles += ["nme", "nme_balanced", *(f"nme_yaw_{low}_{high}" for low, high in metrics.YAW_BINS)]
        titles += [*(f"nme_{group}" for group in GROUPS), "yaw", "pitch", "roll", "vertices"]
        titles += ["low", "high", "difference", "difference_low", "difference_high", "against_best_static"]
        every = self.table.joined(self.grid)
        intervals = np.full((len(every), 2), np.nan)
        intervals[: len(self.settings)], intervals[len(self.settings) :] = self.intervals, self.grid_intervals
        differences = np.concatenate([self.differences[:, self.row(BEST)], self.grid_differences])
        errors = [every.nme, every.balanced, every.bins, every.groups, every.pose, every.vertices]
        numbers = np.column_stack(
            [every.weights.reshape(len(every), len(PARTS) * HEADS), *errors, intervals, differences]
        ).round(DIGITS)
        names = [*self.settings, *["grid"] * len(self.grid)]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(titles)
            for name, row, verdict in zip(names, numbers.tolist(), verdicts(differences), strict=True):
                # What is not known is left empty.
                known = ("" if np.isnan(number) else number for number in row)
                writer.writerow([name, *known, VERDICTS[verdict]])
        return path


def verdicts(differences: np.ndarray) -> np.ndarray:
    """Places in `VERDICTS` (...) of differences (..., 3)."""
    return np.where(differences[..., 2] < 0, 1, np.where(differences[..., 1] > 0, 2, 0))


def _expected_shapes(settings: int, grid: int) -> dict[str, tuple[int, ...]]:
    """The arrays of a record and their shapes."""
    shapes = {f"table_{name}": (settings, *shape) for name, shape in zip(_COLUMNS, _SHAPES, strict=True)}
    shapes |= {f"grid_{name}": (grid, *shape) for name, shape in zip(_COLUMNS, _SHAPES, strict=True)}
    shapes |= {"settings": (settings,), "intervals": (settings, 2)}
    shapes |= {"differences": (settings, settings, 3), "grid_intervals": (grid, 2)}
    return shapes | {"grid_differences": (grid, 3)}


def _about(arrays: Mapping[str, np.ndarray], expected: str) -> dict[str, object]:
    """What the record says of itself in words, once its version is known to be this one."""
    try:
        about = json.loads(str(arrays["about"]))
        version = about.pop("version")
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise RecordError(
            f"{expected}, got another .npz, which does not say what it is; give a record"
        ) from error
    if version != VERSION:
        raise RecordError(f"{expected}, got version {version}; run the study anew with this m4kit")
    missing = sorted(set(_ABOUT) - set(about))
    if missing or any(not isinstance(about[name], kind) for name, kind in _ABOUT.items()):
        raise RecordError(f"{expected}, but what it says of itself lacks {', '.join(missing) or 'sense'}")
    return {name: about[name] for name in _ABOUT}


def aligned(rows: list[list[str]]) -> list[str]:
    """The rows as lines whose columns lie below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _joined(weights: np.ndarray) -> str:
    return " ".join(f"{weight:.3g}" for weight in weights.round(3))
