"""A scene report as one web page that opens offline: what failed where, and the worst faces first.

Charts are SVG, pictures JPEG, both inside the page; a little JavaScript switches metrics and filters the gallery, and
without it everything is seen at once.
"""

from __future__ import annotations

import base64
import io
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from m4kit.images import jpeg
from m4kit.metrics import FAILURE_NME
from m4kit.scenes import figures
from m4kit.scenes.cells import (
    METRICS,
    cells,
    half_life_words,
    half_lives,
    heat_grid,
    present,
    title_of,
    true_errors,
    values_of,
)
from m4kit.scenes.report_data import ReportData, ReportError
from m4kit.scenes.taxonomy import RULES

FACES_BYTES = 6_000_000
"""What the gallery's pictures may take before base64 makes them a third larger: the page stays under 10 MB."""

SIDE, MOST_FACES = 180, 400

_HEAT = ("failure_rate", "recall", "nme", "landmark_drift", "pose_error", "mesh_drift", "failure_probability")
_LINES = ("recall", "failure_rate", "failure_probability", "head_spread")


def write_page(report: ReportData, path: str | Path, *, title: str = "Where it fails") -> Path:
    """Write the page and give its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cards, left = _gallery(report)
    template = Template((resources.files("m4kit.scenes") / "page.html").read_text(encoding="utf-8"))
    path.write_text(
        template.substitute(
            title=escape(title),
            facts=_facts(report),
            note=_note(report),
            tiles=_tiles(report),
            heat=_heat(report),
            charts=_charts(report),
            filters=_filters(report),
            cards="\n".join(cards),
            left=left,
            rules=_rules(report),
            settings=_settings(report),
        ),
        encoding="utf-8",
    )
    return path


def _facts(report: ReportData) -> str:
    photos, read = len(report), int(report.photos["read"].sum())
    scenes = len(set(figures.scenes_of(report.photos).tolist()))
    facts = [f"{photos} photos", f"{scenes} scenes", f"{int((report.faces['face'] >= 0).sum())} faces found"]
    if read < photos:
        facts.append(f"{photos - read} photos not read")
    return " · ".join(facts)


def _note(report: ReportData) -> str:
    note = str(report.settings.get("failure_note", ""))
    return f'<p class="note">{escape(note[:1].upper() + note[1:])}.</p>' if note else ""


def _tiles(report: ReportData) -> str:
    """The report's main numbers, large."""
    tiles = []
    for metric in ("recall", "nme", "landmark_drift", "failure_rate", "failure_probability"):
        values = values_of(report.faces, report.photos, metric)
        known = np.isfinite(values)
        if metric == "landmark_drift" and np.isfinite(report.faces["nme"]).any():
            continue
        if known.any():
            about = METRICS[metric]
            tiles.append(
                f'<div class="tile"><b>{values[known].mean():.1f}<small>{about.unit}</small></b>'
                f"{escape(about.label)}<i>mean of {known.sum()} faces</i></div>"
            )
    lives = half_lives(report)
    for row in np.argsort(np.nan_to_num(lives["half_life"], nan=np.inf))[:1]:
        if np.isfinite(lives["half_life"][row]):
            tiles.append(
                f'<div class="tile"><b>{lives["condition"][row]}</b>wins first<i>half-life: severity '
                f"{half_life_words(lives, row)[-1]}</i></div>"
            )
    return "".join(tiles)


def _heat(report: ReportData) -> str:
    """A table of cells for each metric, of which one is seen, and the half-lives."""
    tables, options = [], []
    for metric in _HEAT:
        table = cells(report, metric)
        if len(table["mean"]):
            label = title_of(metric)
            options.append(f'<option value="{metric}">{escape(label)}</option>')
            tables.append(_heat_table(metric, label, table))
    if not tables:
        return "<p>No face has anything to be compared with.</p>"
    lives = half_lives(report)
    rows = "".join(
        f"<tr><th>{lives['condition'][row]}</th>"
        + "".join(f"<td>{escape(word)}</td>" for word in half_life_words(lives, row))
        + "</tr>"
        for row in range(len(lives["condition"]))
        if not np.isnan(lives["half_life"][row])
    )
    half = (
        '<table class="plain"><caption>Half-life: the severity at which a condition has won</caption><thead><tr>'
        "<th></th><th>NME doubles at</th><th>recall halves at</th><th>half-life</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        if rows
        else ""
    )
    choice = f'<label class="only-script">Metric <select id="metric">{"".join(options)}</select></label>'
    return f'{choice}<div class="beside"><div>{"".join(tables)}</div>{half}</div>'


def _heat_table(metric: str, label: str, table) -> str:
    places, means = heat_grid(table), table["mean"]
    low, high = float(means.min()), float(means.max())
    digits = 1 if high >= 10 else 2
    head = "".join(f"<th>{word}</th>" for word in places.severity_words)
    rows = []
    for condition, line in zip(places.condition_words, places.rows.tolist(), strict=True):
        drawn = []
        for severity, row in zip(places.severity_words, line, strict=True):
            if row < 0:
                drawn.append("<td></td>")
                continue
            count, ends = int(table["count"][row]), (table["low"][row], table["high"][row])
            between = "" if np.isnan(ends[0]) else f", 95 % interval {ends[0]:.2f} to {ends[1]:.2f}"
            background, ink = figures.heat_colour(
                float(means[row]), low, high, more_is_worse=METRICS[metric].more_is_worse
            )
            drawn.append(
                f'<td class="cell" tabindex="0" data-condition="{condition}" data-severity="{severity}" '
                f'style="background:{background};color:{ink}" '
                f'title="{count} faces{between}">{means[row]:.{digits}f}<small>n = {count}</small></td>'
            )
        rows.append(f"<tr><th>{condition}</th>{''.join(drawn)}</tr>")
    return (
        f'<div class="scroll"><table class="heat" data-metric="{metric}"><caption>{escape(label)} by severity'
        f"</caption><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _charts(report: ReportData) -> str:
    """The figures that the report has numbers for."""
    first = "nme" if np.isfinite(report.faces["nme"]).any() else "landmark_drift"
    wanted = [(figures.line_chart, {"metric": metric}) for metric in (first, *_LINES)]
    wanted.append((figures.violins, {"metric": first}))
    wanted += [(figures.score_scatter, {}), (figures.reliability, {})]
    drawn = []
    for figure, options in wanted:
        try:
            made = figure(report, **options)
        except ReportError:
            # The report has no such numbers: real photos have no severity, a set without truth no error.
            continue
        about = METRICS[options["metric"]].label if options else ""
        words = {
            figures.line_chart: f"{about} by severity, with 95 % intervals",
            figures.violins: f"{about} over the faces of each condition",
            figures.score_scatter: "What the system foretold, and what was true",
            figures.reliability: "Whether the probabilities mean what they say",
        }[figure]
        drawn.append(f"<figure>{_svg(made)}<figcaption>{escape(words)}</figcaption></figure>")
    return "".join(drawn)


def _svg(figure) -> str:
    """A figure as SVG without head, its many points as a picture."""
    for axes in figure.axes:
        for collection in axes.collections:
            collection.set_rasterized(len(collection.get_offsets()) > 200)
    buffer = io.StringIO()
    # Without a date the same report gives the same page.
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace("<svg ", '<svg role="img" ', 1)


def _filters(report: ReportData) -> str:
    conditions = [one or "clean" for one in present(report.faces["condition"])]
    severities = sorted({f"{one:g}" for one in report.faces["severity"].tolist() if np.isfinite(one)})
    kinds = [label for label in RULES if report.failures[label]]
    return "".join(
        f'<label>{name} <select data-filter="{key}"><option value="">all</option>'
        + "".join(f'<option value="{escape(one)}">{escape(one)}</option>' for one in options)
        + "</select></label>"
        for name, key, options in (
            ("Condition", "condition", conditions),
            ("Severity", "severity", severities),
            ("Failure", "failures", kinds),
        )
    )


def _gallery(report: ReportData) -> tuple[list[str], str]:
    """The cards, worst first, and how many faces are left out."""
    cards, taken = [], 0
    rows = figures.worst_first(report)
    for row in rows[:MOST_FACES].tolist():
        content = jpeg(figures.face_picture(report, row, side=SIDE), quality=82)
        taken += len(content)
        if taken > FACES_BYTES:
            break
        cards.append(_card(report, row, content))
    left = len(rows) - len(cards)
    return cards, f"The {len(cards)} worst of {len(rows)} faces." if left else f"All {len(cards)} faces."


def _card(report: ReportData, row: int, content: bytes) -> str:
    of = {name: values[row] for name, values in report.faces.items()}
    severity = "real" if np.isnan(of["severity"]) else f"{of['severity']:g}"
    error = float(
        true_errors({name: report.faces[name][row : row + 1] for name in ("nme", "landmark_drift")})[0]
    )
    numbers = []
    if of["face"] < 0:
        numbers.append("missed")
    elif np.isfinite(error):
        numbers.append(f"{'NME' if np.isfinite(of['nme']) else 'drift'} {error:.1f} %")
    if np.isfinite(of["failure_probability"]):
        numbers.append(f"foretold {100 * of['failure_probability']:.0f} %")
    failures, reasons = str(of["failures"]), str(of["reasons"])
    bad = "bad" if of["face"] < 0 or error > FAILURE_NME else "good"
    tags = "".join(f"<li>{escape(one)}</li>" for one in failures.split("; ") if one and one != "missed")
    condition = of["condition"] or "clean"
    return (
        f'<article class="{bad}" data-condition="{condition}" data-severity="{severity}" '
        f'data-failures="{escape(failures)}"><img loading="lazy" width="{SIDE}" height="{SIDE}" '
        f'alt="{escape(str(of["photo"]))}" src="data:image/jpeg;base64,{base64.b64encode(content).decode()}">'
        f"<h3>{condition}{'' if severity == 'real' else f' {severity}'}</h3><p>{', '.join(numbers)}</p>"
        f"<ul>{tags}</ul>"
        + (f'<p class="why">{escape(reasons.replace("; ", ", "))}</p>' if reasons else "")
        + f'<p class="name">{escape(str(of["photo"]))}</p></article>'
    )


def _rules(report: ReportData) -> str:
    rows = "".join(
        f"<tr><th>{escape(label)}</th><td>{report.failures[label]}</td><td>{escape(rule)}</td></tr>"
        for label, rule in RULES.items()
    )
    head = "<thead><tr><th>failure</th><th>faces</th><th>rule</th></tr></thead>"
    return f'<table class="plain rules">{head}<tbody>{rows}</tbody></table>'


def _settings(report: ReportData) -> str:
    return "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
        for name, value in report.settings.items()
        if value not in ("", None)
    )
