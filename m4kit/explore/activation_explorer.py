"""`ActivationExplorer`: how the activation function changes a training, under a learner's hands."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets as widgets
import numpy as np

from m4kit.ablation.activations.figures import COLOURS, WORDS, activation_figure, grouped, title_of
from m4kit.ablation.activations.numbers import activation_table, against, smoothed
from m4kit.ablation.activations.record import ActivationRecord, RunRecord
from m4kit.ablation.activations.units import BINS, curve
from m4kit.explore.callbacks import Complaints
from m4kit.explore.explorer import Explorer
from m4kit.explore.live_training import LiveTrainer

_DASHES = ("solid", "dash", "dot", "dashdot")
_NOBODY = "none"
_X = np.linspace(-6, 6, 241)
_COLUMNS = {
    **{"activation": "activation", "origin": "origin", "learning_rate": "learning rate"},
    **{"seeds": "seeds", "diverged": "diverged", "loss": "final loss", "volatility": "volatility, %"},
    **{"nme": "NME, %", "balanced": "balanced NME, %", "pose": "pose error, degrees"},
    **{"dead": "dead units, %", "milliseconds": "ms a step", "cpu_milliseconds": "ms of computing"},
}
_BETWEEN = ("loss", "volatility", "nme", "balanced", "pose")


class ActivationExplorer(Explorer):
    """The study of the activations: curves and violins, functions with their inputs, a table, and a live training.

    - Choose activations and seeds, smoothing, a linear or logarithmic scale, and a range of steps: lines show it, and
      violins the losses of its single batches. A click on a line or a violin, or "Highlight", puts one forward.
    - Below, the highlighted activation's function and slope, over the pre-activations of a chosen stage before and
      after training. The table can be sorted by any column.
    - "Train it yourself" (`live`) trains two or more on drawn faces, here and now.

    `record` is an `ActivationRecord` or its file; default: the packaged one. Raises `RecordError` if it cannot be
    read.
    """

    def __init__(self, record: ActivationRecord | str | Path | None = None, *, live_seconds: float = 60.0):
        self.record = record if isinstance(record, ActivationRecord) else ActivationRecord.load(record)
        self.complaints = Complaints()
        self._groups: dict[tuple[str, str], list[RunRecord]] = {}
        self._make_controls()
        self._make_figures()
        self.table = widgets.HTML()
        self.live = LiveTrainer(seconds=live_seconds)
        row = {"flex_flow": "row wrap", "align_items": "center"}
        curves = widgets.VBox(
            [
                widgets.HBox([*self.activations.values()], layout=row),
                widgets.HBox([self.purpose, *self.seeds.values(), self.scale, self.highlight], layout=row),
                widgets.HBox([self.smoothing, self.steps], layout=row),
                self.curves_view,
            ]
        )
        function = widgets.VBox([widgets.HBox([self.highlight, self.stage], layout=row), self.function_view])
        table = widgets.VBox([widgets.HBox([self.sort, self.descending], layout=row), self.table])
        self.tabs = widgets.Tab(
            [curves, function, table, self.live],
            titles=("Training", "Function", "Table", "Train it yourself"),
        )
        super().__init__([self.tabs, self.complaints])
        self._listen()
        self.complaints.guard(self._choose)()

    def _make_controls(self) -> None:
        slim, named = {"width": "auto"}, {"description_width": "initial"}
        record = self.record
        self.activations = {
            name: widgets.ToggleButton(value=True, description=WORDS[name], layout=slim)
            for name in record.activations
        }
        self.seeds = {
            seed: widgets.ToggleButton(value=True, description=f"Seed {seed}", layout=slim)
            for seed in sorted({run.seed for run in record.runs})
        }
        # What was really trained comes first, and the searches last.
        purposes = {word: name for name, word in (
            ("Each at its best rate", "best"),
            ("All at the common rate", "common"),
            ("Search for the rate", "search"),
        )}  # fmt: skip
        found = {word for run in record.runs for word in run.purposes}
        self.purpose = widgets.Dropdown(
            options=[(name, word) for word, name in purposes.items() if word in found],
            layout={"width": "190px"},
        )
        self.scale = widgets.ToggleButtons(options=["linear", "log"], style={"button_width": "60px"})
        self.highlight = widgets.Dropdown(
            options=[(_NOBODY, _NOBODY), *((WORDS[name], name) for name in record.activations)],
            description="Highlight",
            style=named,
            layout={"width": "190px"},
        )
        self.smoothing = widgets.IntSlider(
            25, min=1, max=101, step=2, description="Smoothing, steps", style=named, continuous_update=False
        )
        longest = max(int(run.step[-1]) if len(run.step) else 1 for run in record.runs)
        self.steps = widgets.IntRangeSlider(
            value=(1, longest), min=1, max=longest, description="Steps", style=named, continuous_update=False,
            layout={"width": "420px"},
        )  # fmt: skip
        stages = record.runs[0].stages
        self.stage = widgets.Dropdown(
            options=stages, value=stages[len(stages) // 2], description="Inputs of the stage", style=named
        )
        self.sort = widgets.Dropdown(description="Sort by", options=["final loss"], style=named)
        self.descending = widgets.ToggleButton(description="Descending", layout=slim)

    def _make_figures(self) -> None:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots

        from m4kit.explore.plotly_view import PlotlyView

        both = make_subplots(
            1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.08,
            subplot_titles=("Mean over seeds; band: lowest to highest", "Single batches in the range of steps"),
        )  # fmt: skip
        self.curves, self.curves_view = go.Figure(both), PlotlyView()
        self.curves.update_layout(
            height=440,
            autosize=True,
            template="plotly_white",
            margin={"l": 55, "r": 10, "t": 60, "b": 45},
            legend={"orientation": "h", "y": -0.14},
            violingap=0.15,
        )
        self.curves.update_annotations(font_size=12)
        self.curves.update_xaxes(title_text="step", row=1, col=1)
        self.curves.update_yaxes(title_text="training loss", row=1, col=1)
        self.function_view = PlotlyView()
        self.function = go.Figure(make_subplots(specs=[[{"secondary_y": True}]]))
        self.function.update_layout(
            height=380,
            autosize=True,
            template="plotly_white",
            margin={"l": 55, "r": 55, "t": 40, "b": 45},
            legend={"orientation": "h", "y": -0.16},
            barmode="overlay",
            bargap=0,
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

    def _listen(self) -> None:
        guard = self.complaints.guard
        for control in (*self.activations.values(), *self.seeds.values(), self.purpose):
            control.observe(guard(lambda _change: self._choose()), "value")
        for control in (self.smoothing, self.steps, self.scale):
            control.observe(guard(lambda _change: self._show(self._draw)), "value")
        self.curves_view.observe(guard(lambda change: self._clicked(change["new"][0])), "clicked")
        self.highlight.observe(guard(lambda _change: self._show(self._put_forward)), "value")
        self.stage.observe(guard(lambda _change: self._show(self._draw_function)), "value")
        for control in (self.sort, self.descending):
            control.observe(guard(lambda _change: self._show(self._show_table)), "value")

    @property
    def errors(self) -> list[Exception]:
        """What went wrong in callbacks so far, in the live training too."""
        return [*self.complaints.errors, *self.live.errors]

    @property
    def chosen(self) -> tuple[RunRecord, ...]:
        """The trainings that are shown."""
        return self.record.select(
            purpose=self.purpose.value,
            activations=[name for name, button in self.activations.items() if button.value],
            seeds=[seed for seed, button in self.seeds.items() if button.value],
        )

    def still(self) -> bytes:
        """The curves and violins as a JPEG, drawn without a browser."""
        return activation_figure(self.record, purpose=self.purpose.value).to_jpeg()

    @property
    def words(self) -> str:
        """What is explored, in a line."""
        return f"ActivationExplorer of {len(self.record.runs)} trainings"

    def _choose(self) -> None:
        """Follow another choice of trainings."""
        runs = self.chosen
        self._groups = grouped(runs)
        with self.curves.batch_update():
            self.curves.data = ()
            self._add_traces()
        words = title_of(self.record, runs) if runs else ""
        self.curves.layout.title = {"text": words, "font": {"size": 13}, "x": 0.5}
        self._show(self._draw, self._put_forward, self._show_table)

    def _show(self, *drawings: Callable[[], None]) -> None:
        """Draw these anew; as long as no training is chosen, that is said each time."""
        for draw in drawings:
            draw()
        if not self._groups:
            raise ValueError("nothing to show: choose at least one activation and one seed that were trained")

    def _add_traces(self) -> None:
        import plotly.graph_objects as go

        origins = list(dict.fromkeys(place for _, place in self._groups))
        for name, place in self._groups:
            label = WORDS[name] + (f" ({place})" if len(origins) > 1 else "")
            group = {"legendgroup": label, "name": label}
            dash = _DASHES[origins.index(place) % len(_DASHES)]
            line = {"color": COLOURS[name], "width": 2, "dash": dash}
            self.curves.add_trace(
                go.Scatter(line={"width": 0}, fillcolor=_faded(COLOURS[name]), fill="toself", hoverinfo="skip",
                           showlegend=False, **group), row=1, col=1,
            )  # fmt: skip
            self.curves.add_trace(go.Scatter(mode="lines", line=line, **group), row=1, col=1)
            violin = go.Violin(
                line={"color": COLOURS[name], "width": 1.2}, points=False, meanline_visible=True,
                spanmode="hard", showlegend=False, **group,
            )  # fmt: skip
            self.curves.add_trace(violin, row=1, col=2)

    def _clicked(self, number: int) -> None:
        # A band, a line and a violin for each.
        name = list(self._groups)[number // 3][0]
        self.highlight.value = _NOBODY if self.highlight.value == name else name

    def _draw(self) -> None:
        """The lines and violins of the chosen range, smoothing and scale."""
        low, high = self.steps.value
        with self.curves.batch_update():
            for number, (group, runs) in enumerate(self._groups.items()):
                band, line, violin = self.curves.data[3 * number : 3 * number + 3]
                diverged = [run for run in runs if run.diverged]
                fine = [run for run in runs if not run.diverged]
                steps, curves = _curves(fine or diverged, self.smoothing.value, low, high)
                mean = curves.mean(axis=0)
                line.x, line.y = steps, mean
                note = f"<br>{len(diverged)} of {len(runs)} diverged" if diverged else ""
                line.hovertemplate = f"{line.name}, step %{{x}}: %{{y:.2f}}{note}<extra></extra>"
                if len(curves) > 1:
                    band.x = np.concatenate([steps, steps[::-1]])
                    band.y = np.concatenate([curves.max(axis=0), curves.min(axis=0)[::-1]])
                else:
                    band.x, band.y = [], []
                losses = [run.loss[(run.step >= low) & (run.step <= high)] for run in fine]
                values = np.concatenate(losses) if losses else []
                violin.y, violin.x = values, [_label(group, self._groups)] * len(values)
            self.curves.update_yaxes(type=self.scale.value)
        self.curves_view.show(self.curves)

    def _put_forward(self) -> None:
        """The highlighted activation strong, and the others faint; its function is drawn."""
        forward = self.highlight.value
        with self.curves.batch_update():
            for number, (name, _) in enumerate(self._groups):
                band, line, violin = self.curves.data[3 * number : 3 * number + 3]
                strong = forward in (_NOBODY, name)
                line.line.width = 3.5 if forward == name else 2
                band.opacity = line.opacity = violin.opacity = 1.0 if strong else 0.2
        self.curves_view.show(self.curves)
        self._draw_function()

    def _draw_function(self) -> None:
        """An activation's function and slope, over the inputs that a stage gave it."""
        import plotly.graph_objects as go

        names = list(dict.fromkeys(name for name, _ in self._groups))
        name = self.highlight.value if self.highlight.value != _NOBODY else next(iter(names), None)
        if name is None:
            self.function.data, self.function.layout.title = (), None
            self.function_view.show(self.function)
            return
        runs = [run for (own, _), some in self._groups.items() if own == name for run in some]
        y, slope = curve(name, _X)
        middle, width = (BINS[1:] + BINS[:-1]) / 2, BINS[1] - BINS[0]
        title = f"{WORDS[name]} is not among the trainings shown"
        with self.function.batch_update():
            self.function.data = ()
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
                for values, colour, words in (
                    (before, "rgba(140, 149, 159, 0.35)", "inputs before training"),
                    (after, _faded(COLOURS[name], 0.45), "inputs at the end"),
                ):
                    self.function.add_trace(
                        go.Bar(x=middle, y=values, width=width, marker_color=colour, marker_line_width=0,
                               name=words, hovertemplate="%{x:.2f}: %{y:.2f} %<extra></extra>"),
                        secondary_y=True,
                    )  # fmt: skip
            for values, dash, words in ((y, "solid", WORDS[name]), (slope, "dot", "its slope")):
                line = {"color": COLOURS[name], "dash": dash, "width": 2.5}
                self.function.add_trace(go.Scatter(x=_X, y=values, name=words, line=line), secondary_y=False)
            self.function.layout.title = {"text": title, "font": {"size": 13}}
        self.function_view.show(self.function)

    def _show_table(self) -> None:
        if not self._groups:
            self.table.value = ""
            return
        names = [name for name, button in self.activations.items() if button.value]
        seeds = [seed for seed, button in self.seeds.items() if button.value]
        table = activation_table(self.record, purpose=self.purpose.value, activations=names, seeds=seeds)
        reached = {name: f"steps {name}" for name in table if name.startswith("to ")}
        columns = {name: words for name, words in (_COLUMNS | reached).items() if name in table}
        if table["origin"].nunique() == 1:
            columns.pop("origin")
        if tuple(self.sort.options) != tuple(columns.values()):
            kept = self.sort.value
            self.sort.options = tuple(columns.values())
            self.sort.value = kept if kept in columns.values() else columns["loss"]
        column = next(name for name, words in columns.items() if words == self.sort.value)
        table = table.sort_values(column, ascending=not self.descending.value, na_position="last")
        rows = [_row(row, columns) for row in table.to_dict("records")]
        self.table.value = _as_html(list(columns.values()), rows) + self._verdicts()

    def _verdicts(self) -> str:
        """What the test against Sigmoid says, of all seeds, in a sentence an activation."""
        origins = {place for _, place in self._groups}
        trained = {run.activation for run in self.record.select(purpose=self.purpose.value)}
        if len(origins) != 1 or "sigmoid" not in trained or self.purpose.value == "search":
            return ""
        others = [name for name in ("relu", "elu", "rrelu") if name in trained]
        table = against(self.record, purpose=self.purpose.value, origin=origins.pop(), others=others)
        lines = []
        for name in others:
            own = table[(table["activation"] == name) & table["measure"].isin(["loss", "nme", "volatility"])]
            words = "; ".join(f"{row.measure} {row.verdict}" for row in own.itertuples())
            seeds = own["seeds"].iloc[0]
            lines.append(f"<li>{WORDS[name]} against Sigmoid ({seeds} seeds): {html.escape(words)}</li>")
        return (
            "<p style='line-height:1.4'>Welch's test over all seeds, after Holm, 5 %:</p>"
            f"<ul style='line-height:1.4'>{''.join(lines)}</ul>"
        )


def _curves(runs: Sequence[RunRecord], window: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n,) from `low` to `high`, and the smoothed losses (seeds, n) there."""
    n = min(len(run.loss) for run in runs)
    steps = runs[0].step[:n]
    inside = (steps >= low) & (steps <= high)
    return steps[inside], np.stack([smoothed(run.loss[:n], window)[inside] for run in runs])


def _label(group: tuple[str, str], groups) -> str:
    several = len({place for _, place in groups}) > 1
    return WORDS[group[0]] + (f" ({group[1]})" if several else "")


def _faded(colour: str, strength: float = 0.15) -> str:
    """A colour such as "#d1242f" that shines through."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {strength})"


def _row(row: dict, columns: dict[str, str]) -> list[str]:
    """A row of the table in words, with the interval over seeds below its mean where there is one."""
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
