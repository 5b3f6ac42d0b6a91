"""A scene report as one web page that opens offline: what failed where, and the worst faces first.

Charts are SVG and pictures JPEG, all inside the page. JavaScript switches metrics and filters the gallery; without it
the page shows everything at once.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from m4kit.datasets.scenes import CLEAN
from m4kit.metrics import FAILURE_NME
from m4kit.pages import picture_url, render_page
from m4kit.scenes import figures
from m4kit.scenes.cells import (
    METRICS,
    cells,
    half_life_words,
    half_lives,
    heat_grid,
    present,
    scenes_of,
    severity_word,
    title_of,
    true_errors,
    values_of,
)
from m4kit.scenes.heat import LEGEND, heat_rows
from m4kit.scenes.report_data import ReportData, ReportError
from m4kit.scenes.taxonomy import MISSED, RULES

FACES_BYTES = 8_000_000
"""Budget for the gallery's pictures, so that the page stays under 10 MB."""

SIDE, MOST_FACES = 180, 400

_HEAT = ("failure_rate", "recall", "nme", "landmark_drift", "pose_error", "mesh_drift", "failure_probability")
_LINES = ("recall", "failure_rate", "failure_probability", "head_spread")


def write_page(report: ReportData, path: str | Path, *, title: str) -> Path:
    """Write the page and return its path."""
    path, note = Path(path), str(report.settings.get("failure_note", ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    lives = list(half_lives(report).dropna(subset="half_life").itertuples())
    page = render_page(
        "scenes.html",
        title=title,
        facts=_facts(report),
        note=note[:1].upper() + note[1:],
        tiles=_tiles(report),
        heat_legend=LEGEND,
        heats=[_heat(metric, table) for metric in _HEAT if len(table := cells(report, metric))],
        half_lives=[[life.condition, *half_life_words(life)] for life in lives],
        charts=_charts(report),
        filters=_filters(report),
        cards=_cards(report),
        faces=len(report.faces),
        side=SIDE,
        rules=[(label, report.failures[label], rule) for label, rule in RULES.items()],
        settings={name: value for name, value in report.settings.items() if value not in ("", None)},
    )
    path.write_text(page, encoding="utf-8")
    return path


def _facts(report: ReportData) -> list[str]:
    photos, unread = len(report), int((~report.photos["read"]).sum())
    facts = [
        f"{photos} photos",
        f"{scenes_of(report.photos).nunique()} scenes",
        f"{report.faces['face'].notna().sum()} faces found",
    ]
    return facts + [f"{unread} photos not read"] * bool(unread)


def _tiles(report: ReportData) -> list[dict[str, str]]:
    """The report's main numbers."""
    tiles = []
    error = "nme" if report.faces["nme"].notna().any() else "landmark_drift"
    for metric in ("recall", error, "failure_rate", "failure_probability"):
        known = values_of(report, metric).dropna()
        if len(known):
            label, unit, *_ = METRICS[metric]
            tiles.append({"value": f"{known.mean():.1f}", "unit": unit, "label": label})
            tiles[-1]["note"] = f"mean of {len(known)} faces"
    lives = half_lives(report)
    for life in lives[np.isfinite(lives["half_life"])].nsmallest(1, "half_life").itertuples():
        tiles.append({"value": life.condition, "unit": "", "label": "wins first"})
        tiles[-1]["note"] = f"half-life: severity {half_life_words(life)[-1]}"
    return tiles


def _heat(metric: str, table: pd.DataFrame) -> dict[str, object]:
    """A metric's heat map: its label, its severities, and each condition with its cells."""
    places = heat_grid(table)
    return {
        "metric": metric,
        "label": title_of(metric),
        "severities": places.severities,
        "rows": heat_rows(places, metric),
    }


def _charts(report: ReportData) -> list[tuple[Markup, str]]:
    """The figures that the report has numbers for, with their captions."""
    error = "nme" if report.faces["nme"].notna().any() else "landmark_drift"
    wanted = [
        *((figures.line_chart, metric, "by severity, with 95 % intervals") for metric in (error, *_LINES)),
        (figures.violins, error, "over the faces of each condition"),
        (figures.score_scatter, None, "Failure probability and true error of each face"),
        (figures.reliability, None, "How many faces failed, by their failure probability"),
    ]
    drawn = []
    for figure, metric, words in wanted:
        try:
            made = figure(report) if metric is None else figure(report, metric)
        except ReportError:
            # The report has no such numbers: real photos have no severity, a set without truth no error.
            continue
        drawn.append((_svg(made), words if metric is None else f"{METRICS[metric].label} {words}"))
    return drawn


def _svg(figure: Figure) -> Markup:
    """A figure as an SVG element; many points become a picture."""
    for axes in figure.axes:
        for collection in axes.collections:
            collection.set_rasterized(len(collection.get_offsets()) > 200)
    buffer = io.StringIO()
    # Without a date the same report gives the same page.
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :].replace("<svg ", '<svg role="img" ', 1))


def _filters(report: ReportData) -> list[tuple[str, str, list[str]]]:
    severities = sorted(report.faces["severity"].dropna().unique())
    return [
        ("Condition", "condition", present(report.faces["condition"])),
        ("Severity", "severity", [severity_word(one) for one in severities]),
        ("Failure", "failures", [label for label in RULES if report.failures[label]]),
    ]


def _cards(report: ReportData) -> list[dict[str, object]]:
    """The worst faces, as many as fit."""
    cards, taken = [], 0
    errors = true_errors(report.faces).to_numpy()
    for row in figures.worst_first(report)[:MOST_FACES].tolist():
        picture = picture_url(figures.face_picture(report, row, side=SIDE), FACES_BYTES, sides=(SIDE,))
        taken += len(picture)
        if taken > FACES_BYTES:
            break
        cards.append({"picture": picture} | _card(report.faces.iloc[row], errors[row]))
    return cards


def _card(face: pd.Series, error: float) -> dict[str, object]:
    missed, numbers = pd.isna(face["face"]), []
    if missed:
        numbers.append(MISSED)
    elif np.isfinite(error):
        numbers.append(f"{'drift' if np.isnan(face['nme']) else 'NME'} {error:.1f} %")
    if np.isfinite(face["failure_probability"]):
        numbers.append(f"p {100 * face['failure_probability']:.0f} %")
    failures, reasons = (
        [] if pd.isna(face[name]) else face[name].split("; ") for name in ("failures", "reasons")
    )
    return {
        "photo": face["photo"],
        "condition": CLEAN if pd.isna(face["condition"]) else face["condition"],
        "severity": severity_word(face["severity"]),
        "bad": missed or error > FAILURE_NME,
        "numbers": numbers,
        "failures": failures,
        "reasons": reasons,
    }
