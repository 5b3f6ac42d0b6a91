"""Writes a scene report as one web page that opens offline: what failed where, and the worst faces first.

Charts and landmarks are SVG and pictures JPEG, all inside the page. JavaScript switches metrics, filters the gallery,
shows it in steps and enlarges a face; without it the page shows everything at once.
"""

from __future__ import annotations

import io
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from m4kit.camera import CROP_SIZE
from m4kit.datasets.scenes import CLEAN
from m4kit.landmarks import LANDMARK_GROUPS
from m4kit.metrics import FAILURE_NME
from m4kit.pages import image_url, render_page
from m4kit.scenes import figures
from m4kit.scenes.cells import (
    METRICS,
    cells,
    half_life_table,
    half_life_words,
    half_lives,
    heat_grid,
    present,
    scenes_of,
    severity_word,
    true_errors,
    values_of,
)
from m4kit.scenes.columns import WORDS
from m4kit.scenes.heat import LEGEND, heat_rows
from m4kit.scenes.report_data import ReportData, ReportError
from m4kit.scenes.taxonomy import MISSED, RULES
from m4kit.visualize.drawing import angle_text
from m4kit.visualize.style import GRID, INK, SOFT

FACES_BYTES = 8_000_000
"""Budget for the gallery's pictures, so that the page stays under 10 MB."""

MOST_FACES = 400

STEP = 24
"""Faces that the gallery shows at once."""

_DETAILS = (
    *(
        "nme",
        "landmark_drift",
        "mesh_drift",
        "pose_error",
        "pose_drift",
        "checked_failure_probability",
        "score",
    ),
    *("head_spread", "flip_consistency", "jitter_consistency", "turn", "size", "sharpness", "exposure"),
)
"""Columns that an enlarged face shows, where they are known."""

_INKS = {
    INK: "var(--text)",
    SOFT: "var(--soft)",
    GRID: "var(--line)",
    "#ffffff": "var(--card)",
}
"""The colours of the figures' text, axes and paper, and the page's colours for them, which follow a dark theme."""

_HEAT = (
    "failure_rate",
    "recall",
    "nme",
    "landmark_drift",
    "pose_error",
    "mesh_drift",
    "checked_failure_probability",
)
_LINES = ("recall", "failure_rate", "checked_failure_probability", "head_spread")


def write_page(report: ReportData, path: str | Path, *, title: str) -> Path:
    """Write the page and return its path."""
    path, note = Path(path), str(report.settings.get("failure_note", ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    heads, lives = half_life_table(report)
    page = render_page(
        "scenes.html",
        title=title,
        facts=_facts(report),
        note=note[:1].upper() + note[1:],
        tiles=_tiles(report),
        heat_legend=LEGEND,
        intervals=_has_intervals(report),
        heats=[_heat(metric, table) for metric in _HEAT if len(table := cells(report, metric))],
        half_life_heads=heads,
        half_lives=lives,
        nme_known=bool(report.faces["nme"].notna().any()),
        charts=_charts(report),
        filters=_filters(report),
        cards=_cards(report),
        faces=len(report.faces),
        step=STEP,
        groups={name: "rgb({} {} {})".format(*colour) for name, (_, colour) in LANDMARK_GROUPS.items()},
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
    for metric in ("recall", error, "failure_rate", "checked_failure_probability"):
        known = values_of(report, metric).dropna()
        if len(known):
            words, note = METRICS[metric], f"mean of {len(known)} faces"
            value = f"{known.mean():.1f}"
            tiles.append({"value": value, "unit": words.unit, "label": words.label, "note": note})
    lives = half_lives(report)
    for life in lives[np.isfinite(lives["half_life"])].nsmallest(1, "half_life").itertuples():
        note = f"half-life: severity {half_life_words(life)[-1]}"
        tiles.append({"value": life.condition, "unit": "", "label": "fails first", "note": note})
    return tiles


def _heat(metric: str, table: pd.DataFrame) -> dict[str, object]:
    """A metric's heat map: its label, its severities, and each condition with its cells."""
    places = heat_grid(table)
    return {
        "metric": metric,
        "label": METRICS[metric].title,
        "severities": places.severities,
        "rows": heat_rows(places, metric),
    }


def _charts(report: ReportData) -> list[tuple[Markup, str]]:
    """The figures that the report has numbers for, with their captions."""
    error = "nme" if report.faces["nme"].notna().any() else "landmark_drift"
    by_severity = "by severity" + ", with 95 % intervals" * _has_intervals(report)
    lines = [(partial(figures.line_chart, metric=metric), metric) for metric in (error, *_LINES)]
    wanted = [
        *((draw, f"{METRICS[metric].label} {by_severity}") for draw, metric in lines),
        (partial(figures.violins, metric=error), f"{METRICS[error].label} over the faces of each condition"),
        (figures.score_scatter, "Checked failure probability and error of each face"),
        (figures.reliability, "How many faces failed, by their checked failure probability"),
    ]
    drawn = []
    for draw, caption in wanted:
        # The report may have no such numbers: real photos have no severity, a set without truth no error.
        with suppress(ReportError):
            drawn.append((_svg(draw(report)), caption))
    return drawn


def _has_intervals(report: ReportData) -> bool:
    """Whether means have intervals: the bootstrap draws whole scenes, so it needs more than one."""
    return scenes_of(report.faces).nunique() > 1


def _svg(figure: Figure) -> Markup:
    """A figure as an SVG element; many points become a picture."""
    for axes in figure.axes:
        for collection in axes.collections:
            collection.set_rasterized(len(collection.get_offsets()) > 200)
    buffer = io.StringIO()
    # Without a date the same report gives the same page.
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    for colour, variable in _INKS.items():
        text = text.replace(colour, variable)
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
        picture = image_url(report.thumbnail_jpeg(row))
        taken += len(picture)
        if taken > FACES_BYTES:
            break
        cards.append({"picture": picture} | _lines(report, row) | _card(report.faces.iloc[row], errors[row]))
    return cards


def _lines(report: ReportData, row: int) -> dict[str, object]:
    """SVG paths over a face's thumbnail: the landmarks' contours by group, and dots at the true places."""
    lines, right = {}, report.reference_landmarks(row)
    if pd.notna(report.faces["face"].iloc[row]):
        # SVG counts from a pixel's corner, and m4kit from its centre.
        places = report.face(row).landmarks[:, :2] + 0.5
        for name, (contours, _) in LANDMARK_GROUPS.items():
            lines[name] = "".join(_path(places[list(contour)]) for contour in contours)
    dots = "" if right is None else "".join(f"M{x:.1f} {y:.1f}h0" for x, y in right + 0.5)
    return {"lines": lines, "dots": dots if lines else "", "side": CROP_SIZE}


def _path(points: np.ndarray) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _card(face: pd.Series, error: float) -> dict[str, object]:
    missed, numbers = pd.isna(face["face"]), []
    if missed:
        numbers.append(MISSED)
    elif np.isfinite(error):
        numbers.append(f"{'drift' if np.isnan(face['nme']) else 'NME'} {error:.1f} %")
    if np.isfinite(face["checked_failure_probability"]):
        numbers.append(f"p {100 * face['checked_failure_probability']:.0f} %")
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
        "details": _details(face),
    }


def _details(face: pd.Series) -> list[tuple[str, str]]:
    """The labels and values beside the picture of an enlarged face."""
    details = []
    for prefix, label in (("", "Box found"), ("true_", "Box to find")):
        left, top, right, bottom = (face[prefix + side] for side in ("left", "top", "right", "bottom"))
        if np.isfinite(left):
            size = f"{right - left:.0f} \N{MULTIPLICATION SIGN} {bottom - top:.0f} px"
            details.append((label, f"{size} at {left:.0f}, {top:.0f}"))
    if np.isfinite(face["yaw"]):
        angles = (angle_text(face[name]) for name in ("yaw", "pitch", "roll") if np.isfinite(face[name]))
        details.append(("Yaw, pitch, roll", ", ".join(angles)))
    for name in _DETAILS:
        value, words = face[name], WORDS[name]
        if np.isfinite(value):
            value *= words.times
            unit = words.unit if words.unit in ("", "°") else f"\N{NO-BREAK SPACE}{words.unit}"
            details.append((words.label, f"{value:{'.0f' if abs(value) >= 100 else '.3g'}}{unit}"))
    return details
