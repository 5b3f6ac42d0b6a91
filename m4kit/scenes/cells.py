"""A metric by condition and severity: its mean with a 95 % interval and its count, and where a condition has won.

Every metric is a number a face: recall is 1 for a face that is found and 0 for one that is missed. Intervals are
bootstrap intervals in which scenes are drawn anew, since the versions of one photo fail together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from m4kit.conditions import CONDITIONS
from m4kit.metrics import FAILURE_NME, auroc, surest
from m4kit.scenes.report_data import ReportData
from m4kit.scenes.tables import Column, Table, table_of

RESAMPLES = 500


class Metric(NamedTuple):
    """How a metric is called, its unit, what a face's number is multiplied by to be in it, and whether more of it is
    worse."""

    label: str
    unit: str = ""
    times: float = 1.0
    more_is_worse: bool = True


METRICS = {
    "nme": Metric("NME", "%"),
    "failure_rate": Metric(f"Failed or missed (NME above {FAILURE_NME:g} %)", "%", 100.0),
    "recall": Metric("Recall", "%", 100.0, False),
    "precision": Metric("Precision", "%", 100.0, False),
    "pose_error": Metric("Pose error", "°"),
    "landmark_drift": Metric("Landmarks' drift from the clean photo", "%"),
    "mesh_drift": Metric("Mesh drift from the clean photo", "%"),
    "pose_drift": Metric("Pose drift from the clean photo", "°"),
    "shape_drift": Metric("Shape drift from the clean photo", "mm"),
    "failure_probability": Metric("Failure probability", "%", 100.0),
    "score": Metric("Detector score", "", 1.0, False),
    "head_spread": Metric("Heads' spread", "%"),
    "flip_consistency": Metric("Change when mirrored", "%"),
    "jitter_consistency": Metric("Change when the crop moves", "%"),
    "sharpness": Metric("Sharpness of the face", "", 1.0, False),
    "contrast": Metric("Contrast of the face", "", 1.0, False),
    "exposure": Metric("Brightness of the face", "", 1.0, False),
}
"""What can be asked for by condition and severity."""

CELL_COLUMNS = (
    Column("condition", "text", "one of the seven, `distractor`, or empty: clean or not known"),
    Column("severity", "number", "NaN where there is none"),
    Column("mean", "number", "in the metric's unit"),
    Column("low", "number", "95 % bootstrap interval, scenes drawn anew; NaN for a single scene"),
    Column("high", "number", "its upper end"),
    Column("count", "whole", "faces"),
    Column("scenes", "whole", "scenes that they come from"),
)

HALF_LIFE_COLUMNS = (
    Column("condition", "text", "one of the seven"),
    Column(
        "nme_doubles",
        "number",
        "severity where the mean NME is twice that at 0; inf if beyond those measured",
    ),
    Column(
        "recall_halves",
        "number",
        "severity where the recall is half of that at 0; inf if beyond those measured",
    ),
    Column("half_life", "number", "the smaller one"),
    Column(
        "measured",
        "number",
        "largest severity measured: the smaller of the two figures', or that of the one known; NaN if neither is",
    ),
)


def values_of(faces: Table, photos: Table, metric: str) -> np.ndarray:
    """A metric's number for each row of a report's faces, (n,), in its unit; NaN where it says nothing.

    Raises `ValueError` for a metric that is none of `METRICS`.
    """
    if metric not in METRICS:
        raise ValueError(f"expected a metric out of {', '.join(METRICS)}, got {metric!r}")
    hit, missed = faces["truth"] >= 0, faces["face"] < 0
    if metric == "recall":
        values = np.where(hit, np.where(missed, 0.0, 1.0), np.nan)
    elif metric == "precision":
        complete = np.isin(faces["photo"], photos["photo"][photos["all_labelled"]])
        values = np.where(complete & ~missed, hit.astype(float), np.nan)
    elif metric == "failure_rate":
        error = true_errors(faces)
        values = np.where(missed, 1.0, np.where(np.isfinite(error), error > FAILURE_NME, np.nan))
    else:
        values = faces[metric].astype(float)
    return METRICS[metric].times * values


def true_errors(faces: Table) -> np.ndarray:
    """The landmarks' error of each row, (n,), in percent: by the truth, else by what is found in the clean photo."""
    return np.where(np.isfinite(faces["nme"]), faces["nme"], faces["landmark_drift"])


def counted_once(faces: Table, chosen: np.ndarray) -> np.ndarray:
    """Which of the chosen rows, (n,) each, to count when all conditions are taken together.

    At severity 0 a photo is the same under every condition and seed, so each of its faces is left in once.
    """
    chosen = chosen.copy()
    untouched = np.flatnonzero(chosen & (faces["severity"] == 0))
    chosen[untouched] = False
    chosen[list({(faces["clean"][row], faces["face"][row]): row for row in untouched}.values())] = True
    return chosen


def title_of(metric: str) -> str:
    """What an axis or a heading calls a metric."""
    about = METRICS[metric]
    return f"{about.label}, {about.unit}" if about.unit else about.label


class HeatGrid(NamedTuple):
    """Cells by condition and severity: `rows[condition, severity]` is a row of the table of `cells`, -1 for none.

    A severity of -1 stands for photos that have none; `severity_words` says so.
    """

    conditions: tuple[str, ...]
    severities: tuple[float, ...]
    rows: np.ndarray

    @property
    def condition_words(self) -> list[str]:
        """The conditions as headings."""
        return [one or "clean" for one in self.conditions]

    @property
    def severity_words(self) -> list[str]:
        """The severities as headings."""
        return ["real" if one < 0 else f"{one:g}" for one in self.severities]


def heat_grid(table: Table) -> HeatGrid:
    """Where each row of the table that `cells` gives stands in a heat map."""
    # NaN, which is equal to nothing, is no severity: a real photo.
    severity = np.nan_to_num(table["severity"], nan=-1.0).tolist()
    conditions, severities = present(table["condition"]), tuple(sorted(set(severity)))
    rows = np.full((len(conditions), len(severities)), -1)
    for row, key in enumerate(zip(table["condition"].tolist(), severity, strict=True)):
        rows[conditions.index(key[0]), severities.index(key[1])] = row
    return HeatGrid(conditions, severities, rows)


def present(conditions: np.ndarray) -> tuple[str, ...]:
    """Which conditions occur among those (n,), in the order of all figures."""
    return tuple(one for one in ("", *CONDITIONS, "distractor") if one in conditions)


def scenes_of(table: Table) -> np.ndarray:
    """The scene that each row of faces or photos shows, (n,): its clean photo's name, else its own."""
    return np.where(table["clean"] != "", table["clean"], table["photo"])


def groups(table: Table) -> Iterator[tuple[tuple[str, float], np.ndarray]]:
    """Condition and severity in the order of `CONDITIONS`, without one first, and the rows that have them, (n,)
    bool."""
    order = {name: number for number, name in enumerate(("", *CONDITIONS))}
    # NaN is equal to nothing; -1 stands for it.
    severities = np.nan_to_num(table["severity"], nan=-1.0)
    keys = set(zip(table["condition"].tolist(), severities.tolist(), strict=True))
    for condition, severity in sorted(keys, key=lambda key: (order.get(key[0], len(order)), *key)):
        rows = (table["condition"] == condition) & (severities == severity)
        yield (condition, np.nan if severity < 0 else severity), rows


def interval(values: np.ndarray, scenes: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of values (n,), finite, of those scenes (n,).

    (NaN, NaN) if there is but one scene.
    """
    names, scene = np.unique(scenes, return_inverse=True)
    if len(names) < 2:
        return np.nan, np.nan
    sums, counts = np.bincount(scene, weights=values), np.bincount(scene)
    drawn = np.random.default_rng(seed).integers(0, len(names), (RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def cells(report: ReportData, metric: str) -> Table:
    """A row for each condition and severity that has the metric: the columns of `CELL_COLUMNS`."""
    values, scenes, rows = values_of(report.faces, report.photos, metric), scenes_of(report.faces), []
    for (condition, severity), own in groups(report.faces):
        known = own & np.isfinite(values)
        if not known.any():
            continue
        low, high = interval(values[known], scenes[known])
        row = {"condition": condition, "mean": float(values[known].mean()), "low": low, "high": high}
        row |= {"count": int(known.sum()), "scenes": len(np.unique(scenes[known]))}
        rows.append(row if np.isnan(severity) else row | {"severity": severity})
    return table_of(rows, CELL_COLUMNS)


def half_lives(report: ReportData) -> Table:
    """How severe each condition must be to win: the columns of `HALF_LIFE_COLUMNS`.

    Between two severities the mean is taken as a straight line. What it is at severity 0 is read from the photos of
    that severity, or from those without a condition; NaN where the report has neither. The NME is that of the faces
    found, and those that are missed would be the worst: read the two together.
    """
    rows = []
    tables = {metric: cells(report, metric) for metric in ("nme", "recall")}
    for condition in CONDITIONS:
        if not any((table["condition"] == condition).any() for table in tables.values()):
            continue
        doubles, nme_measured = _crossing(tables["nme"], condition, factor=2.0)
        halves, recall_measured = _crossing(tables["recall"], condition, factor=0.5)
        rows.append(
            {
                "condition": condition,
                "nme_doubles": doubles,
                "recall_halves": halves,
                "half_life": np.fmin(doubles, halves),
                "measured": np.fmin(nme_measured, recall_measured),
            }
        )
    return table_of(rows, HALF_LIFE_COLUMNS)


def markdown(report: ReportData) -> str:
    """The findings as Markdown: NME, recall and failures by condition and severity, and the half-lives."""
    wanted = ("nme", "recall", "failure_rate", "pose_error", "failure_probability")
    tables = {metric: cells(report, metric) for metric in wanted}
    tables = {metric: table for metric, table in tables.items() if len(table["mean"])}
    titles = [f"{METRICS[metric].label}, {METRICS[metric].unit}" for metric in tables]
    lines = [
        "Mean (n faces) [95 % interval, scenes drawn anew].",
        "",
        _line(["condition", "severity", *titles]),
        _line(["---"] * (2 + len(tables))),
    ]
    for (condition, severity), _ in groups(report.photos):
        found = [_cell(table, condition, severity) for table in tables.values()]
        if any(found):
            name = "" if np.isnan(severity) else f"{severity:g}"
            lines.append(_line([condition or "clean or unknown", name, *found]))
    lines += [
        "",
        _line(["condition", "NME doubles at", "recall halves at", "half-life"]),
        _line(["---"] * 4),
    ]
    lives = half_lives(report)
    for row in range(len(lives["condition"])):
        lines.append(_line([lives["condition"][row], *half_life_words(lives, row)]))
    return "\n".join([*lines, *_foretelling(report)]) + "\n"


def _foretelling(report: ReportData) -> list[str]:
    """How well the failure probability told which of the found faces have an NME above 8 %; nothing without both.

    A face of a clean photo counts once.
    """
    faces = report.faces
    known = counted_once(faces, np.isfinite(faces["nme"]) & np.isfinite(faces["failure_probability"]))
    nme, probability = faces["nme"][known], faces["failure_probability"][known]
    failed = nme > FAILURE_NME
    if not failed.any() or failed.all():
        return []
    lines = [
        "",
        f"Failure probability, {len(nme)} faces found, {failed.sum()} with an NME above {FAILURE_NME:g} %: "
        f"AUROC {auroc(probability, failed):.3f}; NME {nme.mean():.2f} %, without the least sure tenth "
        f"{nme[surest(probability)].mean():.2f} %.",
        "",
        _line(["condition, severity 3 and more", "AUROC", "faces", "failed"]),
        _line(["---"] * 4),
    ]
    for condition in CONDITIONS:
        own = (faces["condition"][known] == condition) & (faces["severity"][known] >= 3)
        if own.any():
            area = auroc(probability[own], failed[own])
            figure = "-" if np.isnan(area) else f"{area:.2f}"
            lines.append(_line([condition, figure, f"{own.sum()}", f"{failed[own].sum()}"]))
    return lines


def half_life_words(lives: Table, row: int) -> list[str]:
    """In words what a row of `half_lives` says: where the NME doubles, where the recall halves, and the half-life."""
    severities = [float(lives[name][row]) for name in ("nme_doubles", "recall_halves", "half_life")]
    beyond = f"> {lives['measured'][row]:g}"
    return ["-" if np.isnan(one) else beyond if np.isinf(one) else f"{one:.1f}" for one in severities]


def _crossing(table: Table, condition: str, *, factor: float) -> tuple[float, float]:
    """The severity at which a condition's mean reaches `factor` times that at 0, and the largest one measured.

    The first is inf if the mean does not reach it; both are NaN if it is not known.
    """
    own = (table["condition"] == condition) & np.isfinite(table["severity"])
    order = np.argsort(table["severity"][own])
    severities, means = table["severity"][own][order], table["mean"][own][order]
    if not len(severities):
        return np.nan, np.nan
    if severities[0] > 0:
        clean = table["condition"] == ""
        if not clean.any():
            return np.nan, np.nan
        start = np.average(table["mean"][clean], weights=table["count"][clean])
        severities, means = np.append(0.0, severities), np.append(start, means)
    if means[0] == 0:
        # The clean photo's own answer is the truth: nothing is twice as much as nothing.
        return np.nan, np.nan
    way = (means - means[0]) / ((factor - 1) * means[0])
    for number in range(1, len(way)):
        if way[number] >= 1:
            share = (1 - way[number - 1]) / (way[number] - way[number - 1])
            severity = severities[number - 1] + share * np.diff(severities)[number - 1]
            return float(severity), float(severities[-1])
    return np.inf, float(severities[-1])


def _cell(table: Table, condition: str, severity: float) -> str:
    same = np.nan_to_num(table["severity"], nan=-1.0) == np.nan_to_num(severity, nan=-1.0)
    rows = np.flatnonzero((table["condition"] == condition) & same)
    if not len(rows):
        return ""
    of = {name: values[rows[0]] for name, values in table.items()}
    between = "" if np.isnan(of["low"]) else f" [{of['low']:.2f}, {of['high']:.2f}]"
    return f"{of['mean']:.2f} ({of['count']}){between}"


def _line(words) -> str:
    return f"| {' | '.join(words)} |"
