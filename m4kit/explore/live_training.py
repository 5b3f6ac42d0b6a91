"""`LiveTrainer`: activations trained live in a notebook, with curves that grow."""

from __future__ import annotations

import ipywidgets as widgets

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
from m4kit.explore.callbacks import Complaints
from m4kit.network import ACTIVATIONS

_WINDOW = 11
_SAYING = {
    READY: "Choose two or more and press Start.",
    DRAWING: "Drawing faces",
    TRAINING: "Training",
    STOPPED: "Stopped. Start goes on.",
    DONE: "Done. Start goes on for as long again.",
    DIVERGED: "All have diverged: choose a lower learning rate.",
    FAILED: "Failed",
}


class LiveTrainer(widgets.VBox):
    """Start, stop and watch a `LiveTraining`: drawn faces, a progress bar, a curve an activation.

    The notebook stays alive meanwhile. Another choice of activations or learning rate begins anew. `training` is what
    runs, or `None` before the first start; `options` go to `LiveTraining`.
    """

    def __init__(self, activations=("sigmoid", "relu"), *, seconds: float = 60.0, **options):
        import plotly.graph_objects as go

        from m4kit.explore.plotly_view import PlotlyView

        self.options = {"seconds": seconds} | options
        self.training: LiveTraining | None = None
        self.complaints = Complaints()
        guard = self.complaints.guard
        slim = {"width": "auto"}
        self.choices = {
            name: widgets.ToggleButton(value=name in activations, description=WORDS[name], layout=slim)
            for name in ACTIVATIONS
        }
        self.rate = widgets.Dropdown(
            options=[1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
            value=options.get("learning_rate", 1e-3),
            description="Learning rate",
            style={"description_width": "initial"},
            layout={"width": "190px"},
        )
        for control in (*self.choices.values(), self.rate):
            control.observe(guard(lambda _change: self.begin_anew()), "value")
        self.buttons = {
            name: widgets.Button(description=name, icon=icon, layout=slim)
            for name, icon in (("Start", "play"), ("Stop", "stop"), ("Anew", "refresh"))
        }
        for name, press in (("Start", self.start), ("Stop", self.stop), ("Anew", self.begin_anew)):
            self.buttons[name].on_click(guard(lambda _button, press=press: press()))
        self.bar = widgets.FloatProgress(0.0, min=0, max=1, layout={"width": "240px"})
        self.saying = widgets.Label(_SAYING[READY])
        self.view = PlotlyView()
        self.figure = go.Figure(
            layout={
                "height": 320,
                "autosize": True,
                "margin": {"l": 60, "r": 10, "t": 30, "b": 40},
                "template": "plotly_white",
                "xaxis": {"title": {"text": "step"}},
                "yaxis": {"title": {"text": "training loss"}, "type": "log"},
                "legend": {"orientation": "h", "y": 1.12},
                "hovermode": "x unified",
            }
        )
        row = {"flex_flow": "row wrap", "align_items": "center"}
        super().__init__(
            [
                widgets.HBox([*self.choices.values(), self.rate], layout=row),
                widgets.HBox([*self.buttons.values(), self.bar, self.saying], layout=row),
                self.view,
                self.complaints,
            ]
        )
        self._enable()
        self.view.show(self.figure)

    @property
    def errors(self) -> list[Exception]:
        """What went wrong in callbacks so far."""
        return self.complaints.errors

    @property
    def chosen(self) -> tuple[str, ...]:
        """The activations that are chosen."""
        return tuple(name for name, button in self.choices.items() if button.value)

    def start(self) -> None:
        """Train in the background, from where it was. Raises `ValueError` if no activation is chosen."""
        import plotly.graph_objects as go

        if self.training is None:
            options = self.options | {"learning_rate": self.rate.value}
            self.training = LiveTraining(self.chosen, **options)
            with self.figure.batch_update():
                self.figure.data = ()
                self.figure.add_traces(
                    [
                        go.Scatter(x=[], y=[], name=WORDS[name], mode="lines", line={"color": COLOURS[name]})
                        for name in self.chosen
                    ]
                )
        self.training.start(self.complaints.guard(self._report))
        self._enable()

    def stop(self) -> None:
        """Stop after the step in hand; Start goes on."""
        if self.training is not None:
            self.training.stop()
        self._report()

    def begin_anew(self) -> None:
        """Stop and forget what was trained."""
        if self.training is not None:
            self.training.stop()
        self.training = None
        self.figure.data = ()
        self.view.show(self.figure)
        self.bar.value = 0.0
        self.saying.value = _SAYING[READY]
        self._enable()

    def _report(self) -> None:
        """Show how far it is. Runs in the training's thread as well."""
        training = self.training
        if training is None:
            return
        with self.figure.batch_update():
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
        self.saying.value = _SAYING[training.state] + about
        self._enable()
        if training.state == FAILED:
            raise training.error

    def _enable(self) -> None:
        # In its last report the thread still lives, but what it says is the end.
        running = self.training is not None and self.training.running
        running = running and self.training.state not in (STOPPED, DONE, DIVERGED, FAILED)
        ended = self.training is not None and self.training.state == DIVERGED
        self.buttons["Start"].disabled, self.buttons["Stop"].disabled = running or ended, not running
        for control in (*self.choices.values(), self.rate):
            control.disabled = running


def _steps_of(training: LiveTraining) -> str:
    """How many steps were done, such as "40 steps each" or "40 steps; ReLU diverged at step 12"."""
    steps = max(map(len, training.losses.values()))
    if not training.diverged:
        return f"{steps} steps each"
    ends = (f"{WORDS[name]} diverged at step {len(training.losses[name])}" for name in training.diverged)
    return f"{steps} steps; {', '.join(ends)}"
