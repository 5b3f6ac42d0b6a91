"""`LiveTrainer`: train activations live in a notebook, with growing curves."""

from __future__ import annotations

import inspect

import ipywidgets as widgets
import plotly.graph_objects as go

from m4kit.ablation.activations.figures import COLOURS, WORDS
from m4kit.ablation.activations.live import (
    DIVERGED,
    DONE,
    DRAWING,
    FAILED,
    READY,
    STOPPED,
    TRAINING,
    LiveTraining,
)
from m4kit.ablation.activations.numbers import smoothed
from m4kit.checks import check_choice, check_number, check_type
from m4kit.explore.charts import BASE
from m4kit.explore.controls import button, choice, row, show_if, toggle
from m4kit.explore.explorer import Explorer
from m4kit.explore.plotly_view import PlotlyView
from m4kit.network import ACTIVATIONS

_WINDOW = 11
_STATUS = {
    READY: "Choose two or more and press Start; their curves grow here.",
    DRAWING: "Drawing faces",
    TRAINING: "Training",
    STOPPED: "Stopped. Start continues.",
    DONE: "Done. Start continues for the same time.",
    DIVERGED: "All have diverged: choose a lower learning rate.",
    FAILED: "Failed",
}


class LiveTrainer(Explorer):
    """Start, stop and watch a `LiveTraining` on drawn faces, with a progress bar and one curve per activation.

    It trains in the background, so the notebook stays usable. Another choice of activations or learning rate starts
    over. `training` is the present training, or None before the first start; `options` go to `LiveTraining`.
    """

    def __init__(self, activations=("sigmoid", "relu"), *, seconds: float = 60.0, **options):
        # The training is made at its start; wrong options are an error now.
        inspect.signature(LiveTraining).bind(activations, seconds=seconds, **options)
        for name in check_type(activations, "activations", list, tuple, remedy="give a list of names"):
            check_choice(name, "activation", ACTIVATIONS)
        check_number(seconds, "seconds", above=0)
        super().__init__()
        self.options = {"seconds": seconds} | options
        self.training: LiveTraining | None = None
        self.choices = {name: toggle(WORDS[name], on=name in activations) for name in ACTIVATIONS}
        rates = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
        rate = options.get("learning_rate", 1e-3)
        self.rate = choice("Learning rate", rates, value=rate, width="190px")
        for control in (*self.choices.values(), self.rate):
            self.on(control, self.start_over)
        self.buttons = {
            "Start": button("Start", icon="play"),
            "Stop": button("Stop", icon="stop"),
            "Start over": button("Start over", icon="refresh"),
        }
        for control, call in zip(
            self.buttons.values(), (self.start, self.stop, self.start_over), strict=True
        ):
            self.on(control, call)
        self.bar = widgets.FloatProgress(0.0, min=0, max=1, layout={"width": "240px"})
        self.status = widgets.Label()
        self.view = PlotlyView()
        self.figure = go.Figure(
            layout={
                **BASE,
                "height": 320,
                "margin": {**BASE["margin"], "t": 15},
                "xaxis": {"title": {"text": "step"}},
                "yaxis": {"title": {"text": "training loss"}, "type": "log"},
                "hovermode": "x unified",
            }
        )
        self.content = (
            row(*self.choices.values(), self.rate),
            row(*self.buttons.values(), self.bar, self.status),
            self.view,
        )
        self._enable()
        self.view.show(self.figure)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The chosen activations."""
        return tuple(name for name, button in self.choices.items() if button.value)

    def start(self) -> None:
        """Start or continue in the background; raises `ValueError` if no activation is chosen."""
        if self.training is None:
            options = self.options | {"learning_rate": self.rate.value}
            self.training = LiveTraining(self.chosen, **options)
            self.figure.data = ()
            self.figure.add_traces(
                [
                    go.Scatter(x=[], y=[], name=WORDS[name], mode="lines", line={"color": COLOURS[name]})
                    for name in self.chosen
                ]
            )
        self.training.start(self._report_from_thread)
        self._enable()

    def stop(self) -> None:
        """Stop after the present step; `start` continues."""
        if self.training is not None:
            self.training.stop()
        self._report()

    def start_over(self) -> None:
        """Stop and forget what was trained."""
        if self.training is not None:
            self.training.stop()
        self.training = None
        self.figure.data = ()
        self.view.show(self.figure)
        self.bar.value = 0.0
        self._enable()

    def _report_from_thread(self) -> None:
        # `stop` holds the lock while it waits for this thread, and reports afterwards.
        training = self.training
        while not self.lock.acquire(timeout=0.1):
            if training is None or training.stopping:
                return
        try:
            self.guard(self._report)()
        finally:
            self.lock.release()

    def _report(self) -> None:
        """Show the progress."""
        training = self.training
        if training is None:
            return
        for trace, name in zip(self.figure.data, training.activations, strict=True):
            losses = list(training.losses[name])
            trace.x = list(range(1, len(losses) + 1))
            trace.y = smoothed(losses, _WINDOW).round(4).tolist() if losses else []
        self.view.show(self.figure)
        self.bar.value = training.progress
        about = ""
        if training.state == DRAWING:
            about = f" {training.drawn} of {training.faces}"
        elif training.state == TRAINING:
            about = f", {_steps_of(training)}"
        self.status.value = _STATUS[training.state] + about
        self._enable()
        if training.state == FAILED:
            raise training.error

    def _enable(self) -> None:
        # During its last report the thread still runs, but the training has ended.
        running = self.training is not None and self.training.running
        running = running and self.training.state not in (STOPPED, DONE, DIVERGED, FAILED)
        ended = self.training is not None and self.training.state == DIVERGED
        cannot = running or ended or not self.chosen
        self.buttons["Start"].disabled, self.buttons["Stop"].disabled = cannot, not running
        if self.training is None:
            self.status.value = _STATUS[READY] if self.chosen else "Choose at least one activation."
        show_if(self.training is not None, self.view)
        for control in (*self.choices.values(), self.rate):
            control.disabled = running


def _steps_of(training: LiveTraining) -> str:
    """The number of steps, such as "40 steps each" or "40 steps; ReLU diverged at step 12"."""
    steps = max(map(len, training.losses.values()))
    if not training.diverged:
        return f"{steps} steps each"
    ends = (f"{WORDS[name]} diverged at step {len(training.losses[name])}" for name in training.diverged)
    return f"{steps} steps; {', '.join(ends)}"
