"""Computes metrics by condition and severity: mean, 95 % interval and count, and the half-life of each condition.

Every metric is one number per face: recall, for instance, is 1 for a face that is found and 0 for a missed one.
Bootstrap intervals draw whole scenes, since the versions of one photo fail together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy

from m4kit.conditions import CONDITIONS
from m4kit.datasets.sample import DISTRACTOR
from m4kit.datasets.scenes import CLEAN
from m4kit.metrics import FAILURE_NME
from m4kit.scenes.columns import NUMBER, TEXT, WORDS, Words, frame_of
from m4kit.scenes.report_data import ReportData, ReportError

RESAMPLES = 500

FEWEST = 5
"""A mean over fewer faces than this is marked where other cells have as many: one face says little."""

KEYS = ["condition", "severity"]

_ORDER = {name: place for place, name in enumerate((*CONDITIONS, DISTRACTOR))}


METRICS = {
    "nme": WORDS["nme"],
    "failure_rate": Words(f"Failed or missed (error above {FAILURE_NME:g} %)", "%", 100.0),
    "recall": Words("Recall", "%", 100.0, more_is_worse=False),
    "precision": Words("Precision", "%", 100.0, more_is_worse=False),
    **{
        name: WORDS[name]
        for name in (
            *("pose_error", "landmark_drift", "mesh_drift", "pose_drift", "shape_drift"),
            *(
                "checked_failure_probability",
                "score",
                "head_spread",
                "flip_consistency",
                "jitter_consistency",
            ),
            *("sharpness", "contrast", "exposure"),
        )
    },
}
"""The metrics of `cells` and of the figures."""


def values_of(report: ReportData, metric: str) -> pd.Series:
    """A metric for each row of a report's faces, in its unit; NaN where it is not known.

    Raises `ValueError` for a metric that is not in `METRICS`.
    """
    if metric not in METRICS:
        raise ValueError(f"expected a metric out of {', '.join(METRICS)}, got {metric!r}")
    faces, photos = report.faces, report.photos
    missed, hit = faces["face"].isna(), faces["truth"].notna()
    if metric == "recall":
        values = (~missed).where(hit)
    elif metric == "precision":
        complete = faces["photo"].isin(photos.loc[photos["all_labelled"], "photo"])
        values = hit.where(complete & ~missed)
    elif metric == "failure_rate":
        error = true_errors(faces)
        values = (error > FAILURE_NME).where(error.notna()).mask(missed, True)
    else:
        values = faces[metric]
    return METRICS[metric].times * values.astype(float)


def true_errors(faces: pd.DataFrame) -> pd.Series:
    """The landmarks' error of each face in percent: against the truth, else against the clean photo's landmarks."""
    return faces["nme"].fillna(faces["landmark_drift"])


def error_words(faces: pd.DataFrame) -> str:
    """What `true_errors` are, with the unit: the NME, the drift from the clean photo, or some of each."""
    kinds = [WORDS[name] for name in ("nme", "landmark_drift") if faces[name].notna().any()]
    if len(kinds) == 2 and faces.loc[faces["landmark_drift"].notna(), "nme"].notna().all():
        # Every face has its true error.
        kinds = kinds[:1]
    return f"{' or '.join(one.label for one in kinds)}, %"


def counted_once(faces: pd.DataFrame) -> pd.DataFrame:
    """The faces without repeated clean ones: at severity 0 a photo is the same under every condition and seed."""
    repeated = faces[faces["severity"] == 0].duplicated(["clean", "face"], keep="last")
    return faces.drop(index=repeated.index[repeated])


def scenes_of(table: pd.DataFrame) -> pd.Series:
    """The scene of each row of faces or photos: the name of its clean photo, else its own."""
    return table["clean"].fillna(table["photo"])


def present(conditions: pd.Series) -> list[str]:
    """Which conditions occur, in the order of all figures; `clean` stands for none."""
    words = set(conditions.fillna(CLEAN))
    return [one for one in (CLEAN, *CONDITIONS, DISTRACTOR) if one in words]


def grouped(table: pd.DataFrame) -> DataFrameGroupBy:
    """The rows by condition and severity, in the order of all figures: those without a condition first."""
    return table.sort_values(
        KEYS,
        key=lambda column: column.map(_ORDER) if column.name == "condition" else column,
        na_position="first",
        kind="stable",
    ).groupby(KEYS, sort=False, dropna=False)


def interval(values: np.ndarray, scenes: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of values (n,) from scenes (n,); (NaN, NaN) for a single scene.

    Like `metrics.bootstrap(values, groups=scenes)`, but computed from sums: a report has hundreds of intervals.
    """
    names, scene = np.unique(scenes, return_inverse=True)
    if len(names) < 2:
        return np.nan, np.nan
    sums, counts = np.bincount(scene, weights=values), np.bincount(scene)
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def cells(report: ReportData, metric: str) -> pd.DataFrame:
    """One row for each condition and severity that has the metric.

    Columns: `condition`, `severity`, `mean`, `faces` and `scenes` (their counts), `low` and `high` (the 95 % interval
    of the mean; NaN for a single scene), and `few`: whether there are fewer than `FEWEST` faces, and fewer than
    another row has.
    """
    faces = report.faces
    table = faces[KEYS].assign(value=values_of(report, metric), scene=scenes_of(faces))
    groups = grouped(table.dropna(subset="value"))
    found = groups.agg(mean=("value", "mean"), faces=("value", "size"), scenes=("scene", "nunique"))
    ends = [interval(group["value"], group["scene"]) for _, group in groups]
    found[["low", "high"]] = np.reshape(ends, (-1, 2))
    found["few"] = found["faces"] < min(FEWEST, found["faces"].max())
    return found.reset_index()


class HeatGrid(NamedTuple):
    """The rows of `cells` as a grid: headings, and `cells[condition][severity]`, a named tuple or None."""

    conditions: list[str]
    severities: list[str]
    cells: list[list]


def heat_grid(table: pd.DataFrame, *, like: pd.DataFrame | None = None) -> HeatGrid:
    """Arrange the rows of `cells` for a heat map; the column `real` holds photos without a severity.

    Its headings are those of `like`, by default those of the table.
    """
    like = table if like is None else like
    conditions = present(like["condition"])
    severities = [severity_word(one) for one in sorted(like["severity"].fillna(-np.inf).unique())]
    words = zip(table["condition"].fillna(CLEAN), map(severity_word, table["severity"]), strict=True)
    at = dict(zip(words, table.itertuples(), strict=True))
    return HeatGrid(
        conditions, severities, [[at.get((one, other)) for other in severities] for one in conditions]
    )


def severity_word(severity: float) -> str:
    """A severity as a heading; `real` for a photo without one."""
    return f"{severity:g}" if np.isfinite(severity) else "real"


def values_by_condition(
    report: ReportData, metric: str, *, severities: Sequence[float] | None = None
) -> dict[str, pd.DataFrame]:
    """Each condition's values of a metric, in the order of all figures: `value` and `scene`, by the faces' index.

    Uses all severities above 0, or those given. Raises `ReportError` if no face has the metric.
    """
    faces = report.faces
    table = pd.DataFrame({"value": values_of(report, metric), "scene": scenes_of(faces)})
    chosen = faces["severity"] != 0 if severities is None else faces["severity"].isin(list(severities))
    table = table[chosen].dropna(subset="value")
    conditions = faces["condition"].fillna(CLEAN)[table.index]
    found = {name: table[conditions == name] for name in present(conditions) if len(conditions)}
    if not found:
        raise ReportError(
            f"expected faces that have {metric} at a severity above 0, got none; choose another metric or severity"
        )
    return found


def yes_or_no(metric: str, values: pd.Series) -> bool:
    """Whether a metric is yes or no for each face, such as recall."""
    return metric in ("recall", "precision", "failure_rate") and values.isin([0, 100]).all()


def half_lives(report: ReportData) -> pd.DataFrame:
    """Severity at which the NME doubles or the recall halves: one row for each condition of the report.

    Columns:

    - `condition`;
    - `nme_doubles`: where the mean NME is twice that at severity 0; inf if beyond the severities measured;
    - `recall_halves`: where the recall is half of that at severity 0; inf likewise;
    - `half_life`: the smaller of the two;
    - `measured`: the largest severity at which both (or the one known) were measured.

    The mean is interpolated linearly between severities. Its value at severity 0 comes from photos of that severity,
    else from those without a condition; NaN where the report has neither. The NME covers only faces that are found,
    and missed ones would be the worst: read the two together.
    """
    nme, recall = cells(report, "nme"), cells(report, "recall")
    rows = []
    for condition in CONDITIONS:
        if condition in {*nme["condition"], *recall["condition"]}:
            doubles, nme_measured = _crossing(nme, condition, factor=2.0)
            halves, recall_measured = _crossing(recall, condition, factor=0.5)
            rows.append(
                {
                    "condition": condition,
                    "nme_doubles": doubles,
                    "recall_halves": halves,
                    "half_life": np.fmin(doubles, halves),
                    "measured": np.fmin(nme_measured, recall_measured),
                }
            )
    columns = dict.fromkeys(("nme_doubles", "recall_halves", "half_life", "measured"), NUMBER)
    return frame_of(rows, {"condition": TEXT} | columns)


def half_life_words(life: NamedTuple) -> list[str]:
    """A row of `half_lives` in words: where the NME doubles, where the recall halves, and the half-life."""
    return [
        "-" if np.isnan(one) else f"> {life.measured:g}" if np.isinf(one) else f"{one:.1f}"
        for one in (life.nme_doubles, life.recall_halves, life.half_life)
    ]


def half_life_table(report: ReportData) -> tuple[list[str], list[list[str]]]:
    """The half-lives in words: headings, and a row for each condition that has one.

    A column that is known for no condition is left out: without true landmarks there is no NME that could double.
    """
    lives = half_lives(report).dropna(subset="half_life")
    heads = {"nme_doubles": "NME doubles at", "recall_halves": "recall halves at"}
    known = [name for name in heads if lives[name].notna().any()]
    # With one column, the smaller of the two is that column again.
    chosen = [number for number, name in enumerate(heads) if name in known] + [2] * (len(known) > 1)
    rows = [[life.condition, *(half_life_words(life)[one] for one in chosen)] for life in lives.itertuples()]
    return ["condition", *(heads[name] for name in known), *["half-life"] * (len(known) > 1)], rows


def _crossing(table: pd.DataFrame, condition: str, *, factor: float) -> tuple[float, float]:
    """The severity at which a condition's mean reaches `factor` times that at 0, and the largest one measured.

    The first is inf if the mean does not reach it; both are NaN if this is not known.
    """
    own = table[(table["condition"] == condition) & table["severity"].notna()]
    severities, means = own["severity"].to_numpy(), own["mean"].to_numpy()
    clean = table[table["condition"].isna()]
    if len(own) and severities[0] > 0 and len(clean):
        start = np.average(clean["mean"], weights=clean["faces"])
        severities, means = np.append(0.0, severities), np.append(start, means)
    if not len(own) or severities[0] > 0 or means[0] == 0:
        # A mean of 0, as where the clean photo's answer is the truth, cannot double.
        return np.nan, np.nan
    way = (means - means[0]) / ((factor - 1) * means[0])
    for number in range(1, len(way)):
        if way[number] >= 1:
            share = (1 - way[number - 1]) / (way[number] - way[number - 1])
            severity = severities[number - 1] + share * np.diff(severities)[number - 1]
            return float(severity), float(severities[-1])
    return np.inf, float(severities[-1])
