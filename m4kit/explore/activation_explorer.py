"""`ActivationExplorer`: how the activation function changes a training."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from m4kit.ablation.activations.figures import (
    COLOURS,
    WORDS,
    activation_figure,
    batches_title,
    curves_title,
    title_of,
)
from m4kit.ablation.activations.numbers import (
    activation_table,
    against,
    at_best_rate,
    grouped,
    last_part,
    smoothed,
)
from m4kit.ablation.activations.record import SEARCH, ActivationRecord, RunRecord
from m4kit.ablation.activations.units import BINS, curve
from m4kit.explore.charts import BASE, band, faded, spread
from m4kit.explore.controls import choice, notice, row, show_if, slider, toggle
from m4kit.explore.explorer import Explorer
from m4kit.explore.live_training import LiveTrainer
from m4kit.explore.plotly_view import PlotlyView

_NONE = "none"
_PURPOSES = {
    "best": "Each at its best rate",
    "search": "Search for the learning rate",
}
_BEST_RATE = 0.0
"""In place of a learning rate: each activation at its best one."""

_PER_GROUP = 4
"""Traces of an activation in the chart of the training: band, line, violin, points."""

_NOTHING = "Nothing to show: choose at least one activation and one seed that were trained."
_X = np.linspace(-6, 6, 241)
_COLUMNS = {
    **{"activation": "activation", "learning_rate": "learning rate"},
    **{"seeds": "seeds", "diverged": "diverged", "loss": "final loss", "volatility": "volatility, %"},
    **{"nme": "NME, %", "balanced": "balanced NME, %", "pose": "pose error, degrees"},
    **{"dead": "dead units, %", "milliseconds": "ms per step", "cpu_milliseconds": "CPU ms per step"},
}
_TESTED = {"loss": "final loss", "volatility": "volatility", "nme": "NME"}
_BETWEEN = ("loss", "volatility", "nme", "balanced", "pose")


class ActivationExplorer(Explorer):
    """The activation study: loss curves and violins, functions with their inputs, a table, and live training.

    - Choose activations, seeds, smoothing, a linear or logarithmic scale, and a range of steps. Lines show the loss,
      violins the losses of single batches in the last fifth of these steps. "Highlight", or a click on a line or a
      violin, emphasises one activation. Of the search, each activation's best learning rate is shown, or one for all.
    - "Function" shows the highlighted activation and its slope over the pre-activations of a chosen stage before and
      after training. "Table" can be sorted by any column.
    - "Train it yourself" (`live`) trains two or more activations on drawn faces.

    `record` is an `ActivationRecord`, its file, or the name of a packaged one. Raises `RecordError` if it cannot be
    read.
    """

    def __init__(self, record: ActivationRecord | str | Path = "eight"):
        super().__init__()
        self.record = record if isinstance(record, ActivationRecord) else ActivationRecord.load(record)
        self._groups: dict[str, list[RunRecord]] = {}
        self._make_controls()
        self._make_figures()
        self.table = widgets.HTML()
        self.nothing = widgets.HTML(notice(_NOTHING, height=120), layout={"display": "none"})
        self.live = LiveTrainer()
        self.live.errors = self.errors
        curves = widgets.VBox(
            [
                row(*self.activations.values()),
                row(self.purpose, self.rate, *self.seeds.values(), self.scale, self.highlight),
                row(self.smoothing, self.steps),
                self.curves_view,
                self.nothing,
            ]
        )
        function = widgets.VBox([row(self.highlight, self.stage), self.function_view, self.nothing])
        table = widgets.VBox([row(self.sort, self.descending), self.table, self.nothing])
        self.tabs = widgets.Tab(
            [curves, function, table, self.live],
            titles=("Training", "Function", "Table", "Train it yourself"),
        )
        self.content = (self.tabs,)
        self._connect()
        self.guard(self._change_purpose)()

    def _make_controls(self) -> None:
        record = self.record
        self.activations = {name: toggle(WORDS[name], on=True) for name in record.activations}
        seeds = sorted({run.seed for run in record.runs})
        self.seeds = {seed: toggle(f"Seed {seed}", on=True) for seed in seeds}
        found = {word for run in record.runs for word in run.purposes}
        purposes = [(label, name) for name, label in _PURPOSES.items() if name in found]
        self.purpose = choice("", purposes, width="190px", tooltip="Which trainings")
        rates = sorted({run.learning_rate for run in record.runs if SEARCH in run.purposes})
        named = [("best of each", _BEST_RATE), *((f"{rate:g}", rate) for rate in rates)]
        self.rate = choice("Learning rate", named)
        self.scale = widgets.ToggleButtons(options=["linear", "log"], style={"button_width": "60px"})
        names = [(_NONE, _NONE), *((WORDS[name], name) for name in record.activations)]
        self.highlight = choice("Highlight", names, width="190px")
        self.smoothing = slider("Smoothing, steps", 25, 1, 101, 2, continuous_update=False)
        self.steps = widgets.IntRangeSlider(
            value=(1, 1),
            min=1,
            max=1,
            description="Steps",
            style={"description_width": "initial"},
            layout={"width": "420px"},
            continuous_update=False,
        )
        stages = record.runs[0].stages
        self.stage = choice("Inputs of the stage", stages, value=stages[len(stages) // 2])
        self.sort = choice("Sort by", ["final loss"])
        self.descending = toggle("Descending", on=False)

    def _make_figures(self) -> None:
        both = make_subplots(
            rows=1,
            cols=2,
            column_widths=[0.6, 0.4],
            horizontal_spacing=0.08,
            subplot_titles=("lines", "batches"),
        )
        self.curves, self.curves_view = go.Figure(both), PlotlyView()
        self.curves.update_layout(
            BASE,
            height=460,
            margin={"l": 55, "r": 10, "t": 95, "b": 60},
            title={"font": {"size": 13}, "x": 0.5, "y": 0.98, "yanchor": "top"},
            violingap=0.15,
        )
        self.curves.update_annotations(font_size=12)
        self.curves.update_xaxes(title_text="step", row=1, col=1)
        self.curves.update_yaxes(title_text="training loss", row=1, col=1)
        self.curves.update_yaxes(hoverformat=".2f")
        self.function_view = PlotlyView()
        self.function = go.Figure(make_subplots(specs=[[{"secondary_y": True}]]))
        self.function.update_layout(
            BASE, height=380, barmode="overlay", bargap=0, legend_x=1.08, title_font_size=13
        )
        self.function.update_xaxes(title_text="input of the activation", range=[-6, 6])
        self.function.update_yaxes(title_text="output, and slope", secondary_y=False)
        self.function.update_yaxes(
            title_text="% of the inputs, by bin",
            secondary_y=True,
            showgrid=False,
            rangemode="tozero",
            tickmode="auto",
        )

    def _connect(self) -> None:
        self.on(self.purpose, self._change_purpose)
        for control in (*self.activations.values(), *self.seeds.values(), self.rate):
            self.on(control, self._choose)
        for control in (self.smoothing, self.steps, self.scale):
            self.on(control, self._draw)
        self.on(self.curves_view, self._clicked, trait="clicked")
        self.on(self.highlight, self._emphasise)
        self.on(self.stage, self._draw_function)
        for control in (self.sort, self.descending):
            self.on(control, self._show_table)

    @property
    def chosen(self) -> tuple[RunRecord, ...]:
        """The chosen trainings, at one learning rate for each activation."""
        runs = self.record.select(purpose=self.purpose.value, **self._names())
        if self.purpose.value != SEARCH or self.rate.value == _BEST_RATE:
            return at_best_rate(runs)
        return tuple(run for run in runs if run.learning_rate == self.rate.value)

    def still(self) -> bytes:
        """Draw the curves and violins as a PNG, without a browser."""
        return activation_figure(self.record, purpose=self.purpose.value).to_bytes()

    def describe(self) -> str:
        return f"ActivationExplorer of {len(self.record.runs)} trainings"

    def _names(self) -> dict[str, list]:
        """The activations and the seeds whose buttons are down."""
        return {
            "activations": [name for name, button in self.activations.items() if button.value],
            "seeds": [seed for seed, button in self.seeds.items() if button.value],
        }

    def _change_purpose(self) -> None:
        """Show the trainings of another purpose, over all of their steps."""
        show_if(self.purpose.value == SEARCH, self.rate)
        runs = self.record.select(purpose=self.purpose.value)
        with self.together():
            self.steps.max = max(int(run.step[-1]) if len(run.step) else 1 for run in runs)
            self.steps.value = (1, self.steps.max)
        self._choose()

    def _choose(self) -> None:
        """Show another choice of trainings, or a sentence where there is none."""
        runs = self.chosen
        self._groups = grouped(runs)
        show_if(not runs, self.nothing)
        show_if(bool(runs), self.curves_view, self.function_view, self.table)
        self.curves.layout.title.text = title_of(self.record, runs) if runs else ""
        self._draw()
        self._draw_function()
        self._show_table()

    def _clicked(self) -> None:
        name = list(self._groups)[self.curves_view.clicked[0] // _PER_GROUP]
        self.highlight.value = _NONE if self.highlight.value == name else name

    def _draw(self) -> None:
        """Draw lines and violins for the chosen range, smoothing, scale and highlight."""
        low, high = self.steps.value
        self.curves.data = ()
        for place, name in enumerate(self._groups):
            self.curves.add_traces(self._traces_of(place, name), rows=1, cols=[1, 1, 2, 2])
        self.curves.update_yaxes(type=self.scale.value)
        words = [WORDS[name] for name in self._groups]
        self.curves.update_xaxes(
            type="linear",
            tickvals=list(range(len(words))),
            ticktext=words,
            range=(-0.6, len(words) - 0.4),
            zeroline=False,
            col=2,
        )
        lines, batches = self.curves.layout.annotations
        lines.text = _broken(curves_title(self._groups, self.smoothing.value))
        batches.text = _broken(batches_title(np.arange(low, high + 1)))
        self.curves_view.show(self.curves)

    def _traces_of(self, place: int, name: str) -> list[go.Scatter | go.Violin]:
        """Band, line, violin and points of an activation, the `place`-th of those that are shown."""
        (low, high), chosen, runs = self.steps.value, self.highlight.value, self._groups[name]
        fine = [run for run in runs if not run.diverged]
        steps, curves = _curves(fine or runs, self.smoothing.value, low, high)
        diverged = len(runs) - len(fine)
        note = f"<br>{diverged} of {len(runs)} diverged" if diverged else ""
        group = {"legendgroup": name, "name": WORDS[name], "opacity": 1.0 if chosen in (_NONE, name) else 0.2}
        seeds = band(steps, curves.min(axis=0), curves.max(axis=0), colour=COLOURS[name], **group)
        line = go.Scatter(
            x=steps,
            y=curves.mean(axis=0),
            mode="lines",
            line={"color": COLOURS[name], "width": 3.5 if chosen == name else 2},
            hovertemplate=f"{WORDS[name]}, step %{{x}}: %{{y:.2f}}{note}<extra></extra>",
            **group,
        )
        losses = [last_part(run.loss[(run.step >= low) & (run.step <= high)]) for run in fine]
        batches = np.concatenate(losses) if losses else np.zeros(0)
        return [seeds, line, *spread(place, batches, colour=COLOURS[name], showlegend=False, **group)]

    def _emphasise(self) -> None:
        """Draw the highlighted activation strong and the others faint, and its function."""
        self._draw()
        self._draw_function()

    def _draw_function(self) -> None:
        """Draw an activation's function and slope over its inputs at a stage."""
        self.function.data = ()
        name = self.highlight.value if self.highlight.value != _NONE else next(iter(self._groups), None)
        if name is None:
            self.function.layout.title.text = ""
            self.function_view.show(self.function)
            return
        runs = self._groups.get(name, [])
        y, slope = curve(name, _X)
        middle, width = (BINS[1:] + BINS[:-1]) / 2, BINS[1] - BINS[0]
        title = f"{WORDS[name]} is not among the trainings shown"
        if runs:
            place = runs[0].stages.index(self.stage.value)
            dead, saturated = (
                100 * np.mean([getattr(run, word)[-1, place] for run in runs])
                for word in ("dead", "saturated")
            )
            title = (
                f"{WORDS[name]} in {self.stage.value}: {dead:.1f} % of the units dead, "
                f"{saturated:.0f} % of the values saturated"
            )
            before, after = 100 * np.mean([run.histograms[:, place] for run in runs], axis=0)
            for values, colour, label in (
                (before, "rgba(140, 149, 159, 0.35)", "inputs before training"),
                (after, faded(COLOURS[name], 0.45), "inputs at the end"),
            ):
                self.function.add_trace(
                    go.Bar(x=middle, y=values, width=width, marker_color=colour, marker_line_width=0,
                           name=label, hovertemplate="%{x:.2f}: %{y:.2f} %<extra></extra>"),
                    secondary_y=True,
                )  # fmt: skip
        for values, dash, label in ((y, "solid", WORDS[name]), (slope, "dot", "its slope")):
            line = {"color": COLOURS[name], "dash": dash, "width": 2.5}
            self.function.add_trace(go.Scatter(x=_X, y=values, name=label, line=line), secondary_y=False)
        self.function.layout.title.text = title
        self.function_view.show(self.function)

    def _show_table(self) -> None:
        if not self._groups:
            self.table.value = ""
            return
        table = activation_table(self.record, purpose=self.purpose.value, **self._names())
        reached = {name: f"steps {name}" for name in table if name.startswith("to ")}
        columns = {name: title for name, title in (_COLUMNS | reached).items() if name in table}
        if tuple(self.sort.options) != tuple(columns.values()):
            kept = self.sort.value
            with self.together():
                self.sort.options = tuple(columns.values())
                self.sort.value = kept if kept in columns.values() else columns["loss"]
        column = next(name for name, title in columns.items() if title == self.sort.value)
        table = table.sort_values(column, ascending=not self.descending.value, na_position="last")
        rows = [_row(row, columns) for row in table.to_dict("records")]
        self.table.value = _as_html(list(columns.values()), rows) + self._verdicts()

    def _verdicts(self) -> str:
        """The results of the tests against Sigmoid over all seeds, one sentence per activation."""
        trained = {run.activation for run in self.record.select(purpose=self.purpose.value)}
        if "sigmoid" not in trained or self.purpose.value == SEARCH:
            return ""
        others = [name for name in ("relu", "elu", "rrelu") if name in trained]
        table = against(self.record, purpose=self.purpose.value, others=others)
        lines = []
        # The correction counts all that were tested, also those that are not shown.
        for name in (name for name in others if name in self._groups):
            own = table[(table["activation"] == name) & table["measure"].isin(_TESTED)]
            verdicts = "; ".join(f"{_TESTED[row.measure]} {row.verdict}" for row in own.itertuples())
            seeds = own["seeds"].iloc[0]
            lines.append(f"<li>{WORDS[name]} against Sigmoid ({seeds} pairs): {html.escape(verdicts)}</li>")
        if not lines:
            return ""
        return (
            "<p style='line-height:1.4'>Paired t test over seeds, after Holm, 5 %:</p>"
            f"<ul style='line-height:1.4'>{''.join(lines)}</ul>"
        )


def _curves(runs: Sequence[RunRecord], window: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n,) from `low` to `high`, and the smoothed losses (seeds, n) there."""
    n = min(len(run.loss) for run in runs)
    steps = runs[0].step[:n]
    inside = (steps >= low) & (steps <= high)
    return steps[inside], np.stack([smoothed(run.loss[:n], window)[inside] for run in runs])


def _broken(title: str) -> str:
    """A title in several lines, so that it is no wider than its chart in a narrow notebook."""
    return title.replace("; ", "<br>").replace(", ", "<br>")


def _row(row: dict, columns: dict[str, str]) -> list[str]:
    """The cells of a row as HTML, with the interval over seeds below the mean, if there is one."""
    cells = []
    for name in columns:
        value = row[name]
        if name == "activation":
            cells.append(f"<b style='color:{COLOURS[value]}'>{WORDS[value]}</b>")
        elif not isinstance(value, float):
            cells.append(html.escape(str(value)))
        elif np.isinf(value):
            cells.append("never")
        elif np.isnan(value):
            cells.append("")
        else:
            low, high = (row.get(f"{name}_{end}", np.nan) for end in ("low", "high"))
            known = name in _BETWEEN and np.isfinite(low)
            between = (
                f"<br><small style='white-space:nowrap'>{low:.2f} to {high:.2f}</small>" if known else ""
            )
            whole = name.startswith("to ") or "milliseconds" in name
            cells.append(
                (f"{value:.0f}" if whole else f"{value:.4g}" if name == "learning_rate" else f"{value:.2f}")
                + between
            )
    return cells


def _as_html(titles: list[str], rows: list[list[str]]) -> str:
    cell = "padding:3px 9px;text-align:right;vertical-align:top;line-height:1.3;border-bottom:1px solid #d0d7de80"
    head = "".join(f"<th style='{cell}'>{html.escape(title)}</th>" for title in titles)
    body = "".join(
        "<tr>" + "".join(f"<td style='{cell}'>{word}</td>" for word in row) + "</tr>" for row in rows
    )
    return f"<div style='overflow-x:auto'><table style='border-collapse:collapse'><tr>{head}</tr>{body}</table></div>"
