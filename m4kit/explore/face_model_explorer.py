"""`FaceModelExplorer`: what a 3D morphable face model is, under a learner's hands."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from contextlib import contextmanager

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from m4kit.explore.callbacks import Complaints
from m4kit.explore.canvas import Canvas
from m4kit.explore.mesh_viewer import VIEWS, jpeg, legend
from m4kit.face_model import FaceModel
from m4kit.prediction import Face, Prediction
from m4kit.render import PORCELAIN
from m4kit.vertex_colours import scalar_colours
from m4kit.visualize.drawing import LANDMARK_GROUPS
from m4kit.visualize.mesh_figure import mesh_still

REACH = 3.0
"""Standard deviations to either side that a slider reaches, and a mode swings."""

_STEP = 10
_STILL_SIDE = 420
_NOTHING = "none"
_NO_MODE = -1
_LEAST_DISTANCE = 5.0
"""Millimetres at the end of the colour bar, so that next to nothing looks like it."""


class FaceModelExplorer(widgets.VBox):
    """Sliders for a face model's modes, with the mesh following live.

    - `identity` and `expression` are the sliders, in standard deviations: the first ten of each, more on demand.
    - An action (jawOpen, mouthSmileLeft ...) can be laid over the expression; a random person, a random
      expression and the mean are a click away.
    - "Explain" shows one mode: how far it moves each vertex in mm, in colour, while the mesh swings between -3
      and +3 standard deviations.
    - `of` (a `Face` or a `Prediction`, whose first face counts) is what "Fit to the photo" sets the sliders to,
      and whose shape the chart takes apart.

    `model` is any `FaceModel`; without one it is `of`'s, or the packaged one. `deviations` (modes,) are the
    coefficients' standard deviations where the model's modes are not scaled to 1, as BFM's.
    """

    def __init__(
        self,
        model: FaceModel | None = None,
        *,
        of: Face | Prediction | None = None,
        deviations: np.ndarray | None = None,
        height: int = 460,
    ):
        self.face = _face_of(of)
        self.model = model or (self.face.model if self.face is not None else FaceModel.load())
        self.people, self.moods = len(self.model.identity_modes), len(self.model.expression_modes)
        self.deviations = (
            np.ones(self.people + self.moods) if deviations is None else np.asarray(deviations, float)
        )
        if self.deviations.shape != (self.people + self.moods,):
            raise ValueError(
                f"expected deviations ({self.people + self.moods},), one for each mode, got {self.deviations.shape}"
            )
        self._mean = self.model.mean.numpy()
        modes = self.model.modes.numpy() * self.deviations[:, None, None]
        self._modes = np.ascontiguousarray(modes.reshape(len(modes), -1), dtype=np.float32)
        self._quiet, self._draws = False, 0
        self.complaints = Complaints()
        guard = self.complaints.guard
        self.canvas = Canvas(height=height, layout={"flex": "1 1 380px", "min_width": "320px"})
        self.canvas.show = {"mesh": True, "wireframe": False, "landmarks": False}
        self.canvas.still = self.still
        self.canvas.on_reset = guard(lambda: self.canvas.look(VIEWS["Front"]))

        self.identity = [self._slider(f"{k + 1}") for k in range(self.people)]
        self.expression = [self._slider(f"{k + 1}") for k in range(self.moods)]
        self._boxes = [widgets.VBox(sliders[:_STEP]) for sliders in (self.identity, self.expression)]
        self.more = widgets.Button(description="More modes", layout={"width": "auto"})
        self.more.on_click(guard(lambda _button: self._show_more()))
        first = widgets.VBox([self._boxes[0], self.more])
        if self.people <= _STEP:
            self.more.layout.display = "none"
        self.tabs = widgets.Tab([first, self._boxes[1]], titles=("Identity", "Expression"))
        self.tabs.layout.width = "330px"

        self.action = widgets.Dropdown(options=[_NOTHING, *self.model.actions], description="Action")
        self.strength = widgets.FloatSlider(1.0, min=0.0, max=1.0, step=0.05, description="Strength")
        self.explain = widgets.Dropdown(
            options=[
                (_NOTHING, _NO_MODE),
                *((f"identity {k + 1}", k) for k in range(self.people)),
                *((f"expression {k + 1}", self.people + k) for k in range(self.moods)),
            ],
            description="Explain",
        )
        self.colour = widgets.Dropdown(
            options=[("Clay", "clay"), ("Distance from the mean", "distance")], description="Colour"
        )
        slim = {"width": "auto"}
        self.buttons = {
            name: widgets.Button(description=name, layout=slim)
            for name in ("Mean", "Random person", "Random expression", "Fit to the photo")
        }
        for name, press in (
            ("Mean", self.to_mean),
            ("Random person", self.random_person),
            ("Random expression", self.random_expression),
            ("Fit to the photo", self.fit),
        ):
            self.buttons[name].on_click(guard(lambda _button, press=press: press()))
        if self.face is None:
            self.buttons["Fit to the photo"].layout.display = "none"
        if not self.model.actions:
            self.action.layout.display = self.strength.layout.display = "none"
        self.views = {name: widgets.Button(description=name, layout=slim) for name in VIEWS}
        for name, button in self.views.items():
            button.on_click(guard(lambda _button, name=name: self.canvas.look(VIEWS[name])))
        self.toggles = {
            name: widgets.ToggleButton(value=on, description=name.capitalize(), layout=slim)
            for name, on in self.canvas.show.items()
            if name != "mesh"
        }
        for name, toggle in self.toggles.items():
            toggle.observe(guard(lambda change, name=name: self._toggled(name, change["new"])), "value")
        self.legend = widgets.HTML()
        self.chart = widgets.Image(format="png", layout={"max_width": "330px"})
        self._listen(guard)
        row = {"flex_flow": "row wrap", "align_items": "center"}
        super().__init__(
            [
                widgets.HBox([*self.buttons.values(), self.colour, self.explain], layout=row),
                widgets.HBox(
                    [self.canvas, widgets.VBox([self.tabs, self.legend])], layout={"flex_flow": "row wrap"}
                ),
                widgets.HBox(
                    [*self.views.values(), *self.toggles.values(), self.action, self.strength], layout=row
                ),
                self.chart,
                self.complaints,
            ]
        )
        self.canvas.set_triangles(self.model.triangles.numpy())
        guard(self._follow)()
        guard(self._draw_chart)()

    def _listen(self, guard: Callable) -> None:
        for slider in (*self.identity, *self.expression, self.strength):
            slider.observe(guard(lambda change: self._follow()), "value")
        for control in (self.action, self.colour):
            control.observe(guard(lambda change: self._follow()), "value")
        self.explain.observe(guard(lambda change: self._explain(change["new"])), "value")

    @property
    def errors(self) -> list[Exception]:
        """What went wrong in callbacks so far."""
        return self.complaints.errors

    @property
    def coefficients(self) -> np.ndarray:
        """What is shown, (modes,), identity first, in standard deviations; the action's share included."""
        values = np.array([slider.value for slider in (*self.identity, *self.expression)])
        if self.action.value != _NOTHING:
            action = self.strength.value * self.model.actions[self.action.value]
            values[self.people :] += action / self.deviations[self.people :]
        return values

    @property
    def vertices(self) -> np.ndarray:
        """The mesh that is shown, (V, 3) in mm, in the model's frame."""
        moved = self.coefficients.astype(np.float32) @ self._modes
        return self._mean + moved.reshape(self._mean.shape)

    def to_mean(self) -> None:
        """All sliders to 0, no action."""
        with self._together():
            self.action.value = _NOTHING
            self._set(np.zeros(len(self.deviations)))

    def random_person(self, *, seed: int | None = None) -> None:
        """Another identity; the expression stays. Without a seed, the next one."""
        identity, _ = self.model.sample(1, seed=self._seed(seed))
        with self._together():
            self._set(identity[0].numpy(), sliders=self.identity)

    def random_expression(self, *, seed: int | None = None) -> None:
        """Another expression, a mix of at most three named actions; the person stays."""
        _, expression = self.model.sample(1, seed=self._seed(seed))
        with self._together():
            self.action.value = _NOTHING
            self._set(expression[0].numpy() / self.deviations[self.people :], sliders=self.expression)

    def fit(self) -> None:
        """The sliders to the photo's face. Raises `ValueError` if its coefficients are not this model's."""
        if self.face is None:
            raise ValueError("expected a face to fit to, got none; give FaceModelExplorer(of=prediction)")
        theirs = np.concatenate([self.face.identity, self.face.expression])
        if (len(self.face.identity), len(self.face.expression)) != (self.people, self.moods):
            raise ValueError(
                f"expected a face with {self.people} identity and {self.moods} expression coefficients, got "
                f"{len(self.face.identity)} and {len(self.face.expression)}; explore the model that predicted it"
            )
        with self._together():
            self.action.value = _NOTHING
            self._set(theirs / self.deviations)

    def still(self) -> bytes:
        """The mesh from the front as a JPEG, drawn without a browser."""
        picture = mesh_still(
            self.vertices,
            self.model.triangles.numpy(),
            self._colours(),
            rotation=np.eye(3),
            side=_STILL_SIDE,
        )
        return jpeg(picture, quality=82)

    def _repr_mimebundle_(self, **options) -> dict:
        # A notebook that is only read, with no kernel behind it, shows the still picture.
        bundle = super()._repr_mimebundle_(**options)
        return bundle | {
            "image/jpeg": base64.b64encode(self.still()).decode(),
            "text/plain": f"FaceModelExplorer of {self.people} identity and {self.moods} expression modes",
        }

    def _slider(self, name: str) -> widgets.FloatSlider:
        return widgets.FloatSlider(
            0.0,
            min=-REACH,
            max=REACH,
            step=0.05,
            description=name,
            readout_format="+.2f",
            layout={"width": "300px"},
            style={"description_width": "24px"},
        )

    def _seed(self, seed: int | None) -> int:
        if seed is None:
            seed, self._draws = self._draws, self._draws + 1
        return seed

    @contextmanager
    def _together(self):
        """Many sliders moved as one: the mesh follows once, at the end."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False
        self._follow()

    def _set(self, values: np.ndarray, *, sliders: list | None = None) -> None:
        for slider, value in zip(sliders or (*self.identity, *self.expression), values, strict=True):
            # A face beyond the slider's end widens it rather than being cut.
            reach = max(REACH, float(np.ceil(abs(value))))
            slider.min, slider.max = min(-reach, slider.min), max(reach, slider.max)
            slider.value = float(value)

    def _show_more(self) -> None:
        shown = len(self._boxes[0].children) + _STEP
        self._boxes[0].children = self.identity[:shown]
        if shown >= self.people:
            self.more.layout.display = "none"

    def _toggled(self, name: str, on: bool) -> None:
        self.canvas.show = self.canvas.show | {name: on}
        self._send_landmarks(self.vertices)

    def _follow(self) -> None:
        """Send the mesh as the sliders have it."""
        if self._quiet:
            return
        if self.explain.value != _NO_MODE:
            self.explain.value = _NO_MODE
            return
        vertices = self.vertices
        self.canvas.set_vertices(vertices)
        self._send_landmarks(vertices)
        self.canvas.set_colours(self._colours(vertices))

    def _send_landmarks(self, vertices: np.ndarray) -> None:
        if not self.canvas.show["landmarks"]:
            return
        corners = vertices[self.model.landmark_vertices.numpy()]
        landmarks = (corners * self.model.landmark_weights.numpy()[..., None]).sum(1)
        colours = np.zeros((68, 3), np.uint8)
        for contours, colour in LANDMARK_GROUPS.values():
            for contour in contours:
                colours[list(contour)] = colour
        self.canvas.set_points("landmarks", landmarks, colours)

    def _colours(self, vertices: np.ndarray | None = None) -> np.ndarray:
        vertices = self.vertices if vertices is None else vertices
        if self.colour.value == "clay":
            self.legend.value = ""
            return np.tile(np.uint8(PORCELAIN), (len(vertices), 1))
        distance = np.linalg.norm(vertices - self._mean, axis=1)
        limits = (0.0, max(_LEAST_DISTANCE, float(distance.max())))
        colours = scalar_colours(distance, unit="mm from the mean", limits=limits)
        self.legend.value = legend(colours)
        return colours.colours

    def _explain(self, mode: int) -> None:
        if mode == _NO_MODE:
            self.canvas.swing(None)
            self._follow()
            return
        # About the mean, so that nothing but this mode is seen.
        displacement = self._modes[mode].reshape(self._mean.shape)
        colours = scalar_colours(np.linalg.norm(displacement, axis=1), unit="mm a standard deviation")
        self.canvas.set_vertices(self._mean)
        self.canvas.set_colours(colours.colours)
        self.legend.value = legend(colours)
        self.canvas.swing(displacement, reach=REACH)

    def _draw_chart(self) -> None:
        figure = modes_figure(self.model, face=self.face, deviations=self.deviations)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        self.chart.value = buffer.getvalue()


def cumulative_variance(modes: np.ndarray, deviations: np.ndarray | float = 1.0) -> np.ndarray:
    """The share (n,) of the variance of all n modes that the first 1, 2, ... n hold.

    `modes` (n, V, 3); a mode's variance is its squared length, summed over the vertices, times its coefficient's.
    """
    variance = np.square(modes, dtype=float).sum((1, 2)) * np.square(deviations)
    return np.cumsum(variance) / variance.sum()


def reconstruction_error(modes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """How far a face is from its own with only the first 0, 1, ... n modes, (n + 1,): RMS over vertices in mm.

    `modes` (n, V, 3) in mm for a coefficient of 1, `coefficients` (n,).
    """
    parts = (modes * np.asarray(coefficients, dtype=np.float32)[:, None, None]).astype(np.float64)
    missing = np.concatenate([np.cumsum(parts[::-1], axis=0)[::-1], np.zeros_like(parts[:1])])
    return np.sqrt(np.square(missing).sum(2).mean(1))


def modes_figure(
    model: FaceModel, *, face: Face | None = None, deviations: np.ndarray | None = None
) -> Figure:
    """How much the modes hold: their cumulative variance, and how many of them a face needs.

    The right chart is `reconstruction_error` of the face's identity; without a face there is none.
    """
    people = len(model.identity_modes)
    deviations = np.ones(len(model.modes)) if deviations is None else deviations
    figure = Figure(figsize=(7.2 if face is not None else 3.6, 2.6), layout="constrained")
    charts = figure.subplots(1, 2 if face is not None else 1, squeeze=False)[0]
    for word, modes, spread in (
        ("identity", model.identity_modes.numpy(), deviations[:people]),
        ("expression", model.expression_modes.numpy(), deviations[people:]),
    ):
        share = 100 * cumulative_variance(modes, spread)
        charts[0].plot(np.arange(1, len(share) + 1), share, marker=".", label=f"{word}, {len(share)} modes")
    charts[0].set(xlabel="modes", ylabel="% of the model's variance", ylim=(0, 103))
    charts[0].legend(frameon=False, fontsize=8)
    if face is not None:
        error = reconstruction_error(face.model.identity_modes.numpy(), face.identity)
        charts[1].plot(np.arange(len(error)), error, marker=".", color="tab:green")
        charts[1].set(xlabel="identity modes kept", ylabel="RMS error, mm", ylim=(0, None))
        charts[1].set_title("This face with fewer modes", fontsize=9)
    for chart in charts:
        chart.spines[["top", "right"]].set_visible(False)
        chart.grid(alpha=0.25)
    return figure


def _face_of(of: Face | Prediction | None) -> Face | None:
    if not isinstance(of, Prediction):
        return of
    if not len(of):
        raise ValueError(f"{of.source}: expected a prediction with at least one face, got none")
    return of[0]
