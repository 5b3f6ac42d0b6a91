"""A scene report: what `analyse` found, one row per face and one row per photo, and its summaries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from m4kit.scenes.cells import groups, interval, markdown, scenes_of, values_of
from m4kit.scenes.page import write_page
from m4kit.scenes.report_data import ReportData, failure_counts
from m4kit.scenes.tables import Column, Table, table_of
from m4kit.scenes.taxonomy import RULES

FIGURES = (
    *("nme", "pose_error", "landmark_drift", "mesh_drift", "pose_drift"),
    *("score", "head_spread", "flip_consistency", "jitter_consistency", "failure_probability"),
)
"""Columns of the faces whose means `summary` gives."""

SUMMARY_COLUMNS = (
    Column("condition", "text", "one of the seven, `distractor`, or empty: clean or not known"),
    Column("severity", "number", "NaN where there is none"),
    Column("photos", "whole", "photos that could be read"),
    Column("unread", "whole", "photos that could not"),
    Column("faces", "whole", "faces of the reference"),
    Column("found", "whole", "detections"),
    Column("hits", "whole", "faces of the reference that a detection hits"),
    Column("recall", "number", "hits / faces over all photos that have a reference"),
    Column("recall_low", "number", "95 % bootstrap interval, scenes drawn anew"),
    Column("recall_high", "number", "its upper end"),
    Column("precision", "number", "hits / found over the photos whose faces are all labelled"),
    *(
        column
        for name in FIGURES
        for column in (
            Column(name, "number", f"mean over the faces that have `{name}`"),
            Column(f"{name}_faces", "whole", "how many have it"),
            Column(f"{name}_low", "number", "95 % bootstrap interval of the mean, scenes drawn anew"),
            Column(f"{name}_high", "number", "its upper end"),
        )
    ),
    *(Column(label, "whole", rule) for label, rule in RULES.items()),
)


class SceneReport(ReportData):
    """What `analyse` found, with its summary, its findings as text and its page."""

    def summary(self) -> Table:
        """A row for each condition and severity, with counts: the columns of `SUMMARY_COLUMNS`."""
        rows, scenes = [], scenes_of(self.faces)
        recall = values_of(self.faces, self.photos, "recall") / 100
        for (condition, severity), of_photos in groups(self.photos):
            of_faces = np.isin(self.faces["photo"], self.photos["photo"][of_photos])
            row = {"condition": condition} | ({} if np.isnan(severity) else {"severity": severity})
            row |= _counts(self.photos, of_photos) | _means(self.faces, of_faces)
            found = of_faces & np.isfinite(recall)
            if found.any():
                row |= _ends("recall", recall[found], scenes[found])
            rows.append(row)
        return table_of(rows, SUMMARY_COLUMNS)

    def report(self) -> str:
        """The summary as text, a line for each condition and severity."""
        summary = self.summary()
        lines = [
            (
                "condition",
                "photos",
                "faces",
                "recall",
                "precision",
                "NME",
                "pose",
                "drift",
                "spread",
                "failures",
            )
        ]
        for row in range(len(summary["condition"])):
            of = {name: values[row] for name, values in summary.items()}
            severity = "" if np.isnan(of["severity"]) else f" {of['severity']:g}"
            failed = sorted(((of[label], label) for label in RULES if of[label]), reverse=True)
            lines.append(
                (
                    f"{of['condition'] or 'clean or unknown'}{severity}",
                    f"{of['photos']}" + (f" (+{of['unread']} unread)" if of["unread"] else ""),
                    f"{of['faces']}",
                    *(_percent(of[name]) for name in ("recall", "precision")),
                    *(
                        _mean(of[name], of[f"{name}_faces"], unit)
                        for name, unit in (
                            ("nme", " %"),
                            ("pose_error", "°"),
                            ("landmark_drift", " %"),
                            ("head_spread", " %"),
                        )
                    ),
                    ", ".join(f"{label} {count}" for count, label in failed) or "none",
                )
            )
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def to_markdown(self) -> str:
        """The findings as Markdown tables: means with counts and 95 % intervals, and each condition's half-life."""
        return markdown(self)

    def to_html(self, path: str | Path, *, title: str = "Where it fails") -> Path:
        """Write the report as one web page under 10 MB that opens offline, and give its path."""
        return write_page(self, path, title=title)


def _counts(photos: Table, rows: np.ndarray) -> dict[str, object]:
    read = rows & photos["read"]
    known, complete = read & (photos["faces"] >= 0), read & photos["all_labelled"]
    counts: dict[str, object] = {
        "photos": int(read.sum()),
        "unread": int((rows & ~photos["read"]).sum()),
        "faces": int(photos["faces"][known].sum()),
        "found": int(photos["found"][read].sum()),
        "hits": int(photos["hits"][known].sum()),
    }
    if counts["faces"]:
        counts["recall"] = counts["hits"] / counts["faces"]
    if found := int(photos["found"][complete].sum()):
        counts["precision"] = int(photos["hits"][complete].sum()) / found
    return counts


def _means(faces: Table, rows: np.ndarray) -> dict[str, object]:
    means: dict[str, object] = dict(failure_counts(faces["failures"][rows]))
    scenes = scenes_of(faces)
    for name in FIGURES:
        known = rows & np.isfinite(faces[name])
        means[f"{name}_faces"] = int(known.sum())
        if known.any():
            means[name] = float(faces[name][known].mean())
            means |= _ends(name, faces[name][known], scenes[known])
    return means


def _ends(name: str, values: np.ndarray, scenes: np.ndarray) -> dict[str, float]:
    """The columns of a mean's interval."""
    return dict(zip((f"{name}_low", f"{name}_high"), interval(values, scenes), strict=True))


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f} %"


def _mean(value: float, count: int, unit: str) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}{unit} (n = {count})"
