"""Summarises what `analyse` found: a table, the findings as text, and a page."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from m4kit.conditions import CONDITIONS
from m4kit.metrics import FAILURE_NME, auroc, surest
from m4kit.scenes.cells import KEYS, METRICS, cells, counted_once, grouped, half_life_table, severity_word
from m4kit.scenes.page import write_page
from m4kit.scenes.report_data import ReportData
from m4kit.scenes.taxonomy import RULES, failure_flags
from m4kit.tables import as_text

FIGURES = (
    *("nme", "pose_error", "landmark_drift", "mesh_drift", "pose_drift"),
    *("score", "head_spread", "flip_consistency", "jitter_consistency", "checked_failure_probability"),
)
"""Columns of the faces whose means `summary` gives."""

_UNKNOWN = "clean or unknown"

_IN_MARKDOWN = ("nme", "recall", "failure_rate", "pose_error", "checked_failure_probability")


class SceneReport(ReportData):
    """What `analyse` found.

    - `faces`: one row per detection and one per missed face; `photos`: one row per photo. `columns.FACE_COLUMNS` and
      `columns.PHOTO_COLUMNS` explain their columns; you can add others, which are saved too.
    - `settings`: what the photos were analysed with.
    - `failures`: number of faces for each label of `taxonomy.RULES`.
    - `face(row)`, `thumbnail(row)`, `reference_landmarks(row)`: a row of `faces`, counted from 0, as a picture with
      its answer.
    - `save(folder)` and `SceneReport.load(folder)`.
    """

    def summary(self) -> pd.DataFrame:
        """Counts and means for each condition and severity.

        - `photos`, `unread`: photos that could be read, and that could not;
        - `faces`, `found`, `hits`: faces of the reference, detections, and faces that a detection hits;
        - `recall` (hits / faces) with `recall_low` and `recall_high`, its 95 % interval;
        - `precision` (hits / found) over the photos whose faces are all labelled;
        - for each of `FIGURES` its mean, with `..._faces`, how many faces have it, and `..._low` and `..._high`;
        - for each label of `taxonomy.RULES` its number of faces.
        """
        photos = self.photos
        compared = photos["read"] & photos["faces"].notna()
        complete = photos["read"] & photos["all_labelled"]
        counts = photos[KEYS].assign(
            photos=photos["read"],
            unread=~photos["read"],
            faces=photos["faces"].where(compared),
            found=photos["found"],
            hits=photos["hits"].where(compared),
            hits_of_all=photos["hits"].where(complete),
            found_in_all=photos["found"].where(complete),
        )
        table = grouped(counts).sum().astype("int64")
        shares = {"recall": ("hits", "faces"), "precision": ("hits_of_all", "found_in_all")}
        for name, (part, whole) in shares.items():
            table[name] = table[part] / table[whole].where(table[whole] > 0)
        table = table.drop(columns=["hits_of_all", "found_in_all"]).reset_index()
        ends = self._means("recall")[[*KEYS, "recall_low", "recall_high"]]
        labels = grouped(failure_flags(self.faces["failures"]).join(self.faces[KEYS])).sum().reset_index()
        for other in (ends, *map(self._means, FIGURES), labels):
            table = table.merge(other, on=KEYS, how="left")
        counted = [*(f"{name}_faces" for name in FIGURES), *RULES]
        return table.fillna(dict.fromkeys(counted, 0)).astype(dict.fromkeys(counted, "int64"))

    def overview(self) -> pd.DataFrame:
        """The main figures of `summary` for readers, with units, and which failures there are."""
        table = self.summary()
        failed = [
            sorted(((row[name], name) for name in RULES if row[name]), reverse=True)
            for _, row in table.iterrows()
        ]
        columns = {
            "condition": table["condition"].fillna(_UNKNOWN),
            "severity": table["severity"].map(severity_word),
            **{name: table[name] for name in ("photos", "unread", "faces", "found")},
            **{f"{name}, %": (100 * table[name]).round(1) for name in ("recall", "precision")},
            "NME, %": table["nme"].round(2),
            "faces with an NME": table["nme_faces"],
            "pose error, °": table["pose_error"].round(2),
            "drift, %": table["landmark_drift"].round(2),
            "heads' spread, %": table["head_spread"].round(2),
            "failures": [
                ", ".join(f"{label} {count}" for count, label in found) or "none" for found in failed
            ],
        }
        return pd.DataFrame(columns)

    def report(self) -> str:
        """The overview as text, one line for each condition and severity."""
        return as_text(self.overview())

    def to_markdown(self) -> str:
        """The findings as Markdown tables: means with counts and 95 % intervals, and each condition's half-life."""
        tables = {metric: cells(self, metric) for metric in _IN_MARKDOWN}
        tables = {metric: table for metric, table in tables.items() if len(table)}
        titles = [METRICS[metric].title for metric in tables]
        lines = ["Mean (n faces) [95 % interval; whole scenes are drawn].", ""]
        lines += _heading("condition", "severity", *titles)
        filled = [table.assign(metric=metric) for metric, table in tables.items()]
        for (condition, severity), group in grouped(pd.concat(filled)) if filled else ():
            texts = {row.metric: _cell(row) for row in group.itertuples()}
            name = "" if np.isnan(severity) else f"{severity:g}"
            words = _UNKNOWN if pd.isna(condition) else condition
            lines.append(_line(words, name, *(texts.get(metric, "") for metric in tables)))
        heads, lives = half_life_table(self)
        if lives:
            lines += ["", *_heading(*heads), *(_line(*life) for life in lives)]
        return "\n".join([*lines, *self._prediction_of_failures()]) + "\n"

    def to_html(self, path: str | Path, *, title: str = "Where it fails") -> Path:
        """Write the report as one web page under 10 MB that opens offline; returns its path."""
        return write_page(self, path, title=title)

    def _means(self, metric: str) -> pd.DataFrame:
        """A metric's `cells` as columns of the summary, in the unit of the table of faces."""
        table = cells(self, metric).drop(columns=["scenes", "few"])
        table[["mean", "low", "high"]] /= METRICS[metric].times
        return table.rename(
            columns={"mean": metric} | {name: f"{metric}_{name}" for name in ("faces", "low", "high")}
        )

    def _prediction_of_failures(self) -> list[str]:
        """How well the checked failure probability ranks faces with a high NME; empty unless there are both kinds.

        A clean face counts once.
        """
        faces = counted_once(self.faces.dropna(subset=["nme", "checked_failure_probability"]))
        nme, probability = faces["nme"].to_numpy(), faces["checked_failure_probability"].to_numpy()
        failed = nme > FAILURE_NME
        if not failed.any() or failed.all():
            return []
        lines = [
            "",
            f"Checked failure probability, {len(nme)} faces found, {failed.sum()} with an NME above "
            f"{FAILURE_NME:g} %: AUROC {auroc(probability, failed):.3f}; NME {nme.mean():.2f} %, without the least "
            f"sure tenth {nme[surest(probability)].mean():.2f} %.",
            "",
            *_heading("condition, severity 3 and more", "AUROC", "faces", "failed"),
        ]
        for condition in CONDITIONS:
            own = ((faces["condition"] == condition) & (faces["severity"] >= 3)).to_numpy()
            if own.any():
                area = auroc(probability[own], failed[own])
                figure = "-" if np.isnan(area) else f"{area:.2f}"
                lines.append(_line(condition, figure, f"{own.sum()}", f"{failed[own].sum()}"))
        return lines


def _cell(row: NamedTuple) -> str:
    between = "" if np.isnan(row.low) else f" [{row.low:.2f}, {row.high:.2f}]"
    return f"{row.mean:.2f} ({row.faces}){between}"


def _heading(*words: str) -> list[str]:
    return [_line(*words), _line(*["---"] * len(words))]


def _line(*words: str) -> str:
    return f"| {' | '.join(words)} |"
