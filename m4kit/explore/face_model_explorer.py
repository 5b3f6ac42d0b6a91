"""`FaceModelExplorer`: what a 3D morphable face model is, under a learner's hands."""

from __future__ import annotations

from contextlib import contextmanager

import ipywidgets as widgets
import numpy as np

from m4kit.explore.callbacks import Complaints
from m4kit.explore.canvas import Canvas
from m4kit.explore.controls import button, choice, faded, row, toggle
from m4kit.explore.explorer import Explorer
from m4kit.explore.legend import legend
from m4kit.explore.marks import landmark_colours
from m4kit.explore.mesh_viewer import VIEWS
from m4kit.explore.mode_sliders import REACH, ModeSliders
from m4kit.explore.modes import Curve, chart, cumulative_variance, gram_matrix, reconstruction_error
from m4kit.face_model import FaceModel
from m4kit.images import jpeg
from m4kit.prediction import Face, Prediction
from m4kit.vertex_colours import VertexColours, clay, scalar_colours
from m4kit.visualize.legend import with_legend
from m4kit.visualize.mesh_figure import EVEN_LIGHT, mesh_still

_STILL_SIDE = 420
_NOTHING = "none"
_NO_MODE = -1
_LEAST_DISTANCE = 5.0
"""Millimetres at the end of the colour bar, so that next to nothing looks like it."""

_SHADING = 0.55
_COLUMN = 330
_COLOURS = {"Clay": "clay", "Distance from the mean": "distance", "Lost with fewer modes": "lost"}
_CURVES = (("identity", "#4c8ed9"), ("expression", "#e8912d"))


class FaceModelExplorer(Explorer):
    """Sliders for a face model's modes, with the mesh following live.

    - `identity` and `expression` are the sliders, in standard deviations: the first ten of each, more on demand.
    - An action (jawOpen, mouthSmileLeft ...) can be laid over the expression; a random person, a random
      expression and the mean are a click away.
    - "Explain" shows one mode: how far it moves each vertex in mm, in colour, while the mesh swings between -3
      and +3 standard deviations.
    - "Modes needed" keeps only the first identity modes, and shows how far the face is then from itself.
    - `of` (a `Face` or a `Prediction`, whose first face counts) is what "Fit to the photo" sets the sliders to.

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
        self._gram = gram_matrix(modes[: self.people])
        self._quiet, self._draws = False, 0
        self.complaints = Complaints()
        self.canvas = Canvas(height=height, layout={"flex": "1 1 340px", "min_width": "320px"})
        self.canvas.show = {"mesh": True, "wireframe": False, "landmarks": False}
        self._build_controls()
        self._listen()
        column = {"flex": f"0 0 {_COLUMN + 8}px", "margin": "0 0 0 8px", "grid_gap": "6px"}
        super().__init__(
            [
                row(*self.buttons.values(), self.colour, self.explain),
                widgets.HBox(
                    [self.canvas, widgets.VBox([self.tabs, self.legend], layout=column)],
                    layout={"flex_flow": "row wrap"},
                ),
                row(*self.views.values(), *self.toggles.values(), words="View"),
                self.complaints,
            ]
        )
        self.canvas.set_triangles(self.model.triangles.numpy())
        self.complaints.guard(self._follow)()

    def _build_controls(self) -> None:
        self._sliders = {
            "identity": ModeSliders(self.people, word="identity", explain=self._play),
            "expression": ModeSliders(
                self.moods, word="expression", explain=lambda number: self._play(self.people + number)
            ),
        }
        self.identity, self.expression = (one.sliders for one in self._sliders.values())
        self.action = choice("Action", [_NOTHING, *self.model.actions], width="286px")
        self.strength = widgets.FloatSlider(1.0, min=0.0, max=1.0, step=0.05, description="Strength")
        self.strength.style.description_width, self.strength.layout.width = "initial", "286px"
        if not self.model.actions:
            self.action.layout.display = self.strength.layout.display = "none"
        self.kept = widgets.IntSlider(self.people, min=0, max=self.people, description="Identity modes kept")
        self.kept.style.description_width, self.kept.layout.width = "initial", "286px"
        self.lost, self.variance, self.error_chart = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.variance.value = self._variance_chart()
        self.tabs = widgets.Tab(
            [
                self._sliders["identity"],
                widgets.VBox([self.action, self.strength, self._sliders["expression"]]),
                widgets.VBox([self.variance, self.error_chart, self.kept, self.lost]),
            ],
            titles=("Identity", "Expression", "Modes needed"),
            layout={"width": f"{_COLUMN}px"},
        )
        modes = [
            *((f"identity {k + 1}", k) for k in range(self.people)),
            *((f"expression {k + 1}", self.people + k) for k in range(self.moods)),
        ]
        self.explain = choice("Explain", [(_NOTHING, _NO_MODE), *modes])
        self.colour = choice("Colour", list(_COLOURS.items()))
        self.buttons = {
            "Mean": button("Mean", tooltip="All sliders to 0, no action"),
            "Random person": button("Random person", tooltip="Another identity, drawn from the model"),
            "Random expression": button("Random expression", tooltip="A mix of up to three actions"),
            "Fit to the photo": button("Fit to the photo", tooltip="The sliders to the photo's face"),
        }
        if self.face is None:
            self.buttons["Fit to the photo"].layout.display = "none"
        self.views = {name: button(name) for name in VIEWS}
        self.views["Reset"] = button("Reset", tooltip="The view at the start, as a double click does")
        self.toggles = {
            name: toggle(name.capitalize(), on=self.canvas.show[name]) for name in ("wireframe", "landmarks")
        }
        self.legend = widgets.HTML()

    def _listen(self) -> None:
        guard = self.complaints.guard
        for control in (*self.identity, *self.expression, self.strength, self.action, self.colour, self.kept):
            control.observe(guard(lambda change: self._follow()), "value")
        self.explain.observe(guard(lambda change: self._explain(change["new"])), "value")
        presses = (self.to_mean, self.random_person, self.random_expression, self.fit)
        for one, press in zip(self.buttons.values(), presses, strict=True):
            one.on_click(guard(lambda _button, press=press: press()))
        for name, one in self.views.items():
            one.on_click(guard(lambda _button, name=name: self.canvas.look(VIEWS.get(name, VIEWS["Front"]))))
        for name, one in self.toggles.items():
            one.observe(guard(lambda change, name=name: self._toggled(name, change["new"])), "value")
        self.canvas.still = self.still
        self.canvas.follow((*self.identity, *self.expression), self._mode)
        self.canvas.on_reset = guard(lambda: self.canvas.look(VIEWS["Front"]))

    @property
    def coefficients(self) -> np.ndarray:
        """What is shown, (modes,), identity first, in standard deviations.

        The action's share is included; identity modes that are not kept are 0.
        """
        values = self._all_coefficients()
        values[self.kept.value : self.people] = 0
        return values

    @property
    def vertices(self) -> np.ndarray:
        """The mesh that is shown, (V, 3) in mm, in the model's frame."""
        return self._vertices(self.coefficients)

    def to_mean(self) -> None:
        """All sliders to 0, no action."""
        with self._together():
            self.action.value = _NOTHING
            self._set(identity=np.zeros(self.people), expression=np.zeros(self.moods))

    def random_person(self, *, seed: int | None = None) -> None:
        """Another identity; the expression stays. Without a seed, the next one."""
        identity, _ = self.model.sample(1, seed=self._seed(seed))
        with self._together():
            self._set(identity=identity[0].numpy())

    def random_expression(self, *, seed: int | None = None) -> None:
        """Another expression, a mix of at most three named actions; the person stays."""
        _, expression = self.model.sample(1, seed=self._seed(seed))
        with self._together():
            self.action.value = _NOTHING
            values = expression[0].numpy()
            # Actions are in the model's own units, and a draw without any in standard deviations.
            self._set(expression=values / self.deviations[self.people :] if self.model.actions else values)

    def fit(self) -> None:
        """The sliders to the photo's face. Raises `ValueError` if its coefficients are not this model's."""
        if self.face is None:
            raise ValueError("expected a face to fit to, got none; give FaceModelExplorer(of=prediction)")
        identity, expression = self.face.identity, self.face.expression
        if (len(identity), len(expression)) != (self.people, self.moods):
            raise ValueError(
                f"expected a face with {self.people} identity and {self.moods} expression coefficients, got "
                f"{len(identity)} and {len(expression)}; explore the model that predicted it"
            )
        with self._together():
            self.action.value = _NOTHING
            self._set(
                identity=identity / self.deviations[: self.people],
                expression=expression / self.deviations[self.people :],
            )

    def still(self) -> bytes:
        """The mesh from the front, with the legend of its colours, as a JPEG drawn without a browser."""
        coloured, vertices = self._shown_colours(), self._mean
        if self.explain.value == _NO_MODE:
            vertices = self.vertices
        picture = mesh_still(
            vertices,
            self.model.triangles.numpy(),
            coloured.colours,
            rotation=np.eye(3),
            side=_STILL_SIDE,
            light=None if coloured.values is None else EVEN_LIGHT,
        )
        return jpeg(with_legend(picture, coloured), quality=82)

    @property
    def words(self) -> str:
        """What is explored, in a line."""
        return f"FaceModelExplorer of {self.people} identity and {self.moods} expression modes"

    def _all_coefficients(self) -> np.ndarray:
        values = np.array([slider.value for slider in (*self.identity, *self.expression)])
        if self.action.value != _NOTHING:
            action = self.strength.value * self.model.actions[self.action.value]
            values[self.people :] += action / self.deviations[self.people :]
        return values

    def _vertices(self, coefficients: np.ndarray) -> np.ndarray:
        moved = coefficients.astype(np.float32) @ self._modes
        return self._mean + moved.reshape(self._mean.shape)

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

    def _set(self, **values: np.ndarray) -> None:
        for name, numbers in values.items():
            self._sliders[name].set(numbers)

    def _toggled(self, name: str, on: bool) -> None:
        self.canvas.show = self.canvas.show | {name: on}
        self._send_landmarks(self._mean if self.explain.value != _NO_MODE else self.vertices)

    def _follow(self) -> None:
        """Send the mesh as the sliders have it."""
        if self._quiet:
            return
        if self.explain.value != _NO_MODE:
            self.explain.value = _NO_MODE
            return
        vertices = self.vertices
        values = enumerate(slider.value for slider in (*self.identity, *self.expression))
        # A slider of an identity mode that is not kept moves nothing.
        at = {mode: value for mode, value in values if not self.kept.value <= mode < self.people}
        self.canvas.set_vertices(vertices, at=at)
        self._send_landmarks(vertices)
        self._send_colours(f"Face model, colour: {self.colour.value}")
        self._show_error()

    def _send_landmarks(self, vertices: np.ndarray) -> None:
        if not self.canvas.show["landmarks"]:
            return
        corners = vertices[self.model.landmark_vertices.numpy()]
        landmarks = (corners * self.model.landmark_weights.numpy()[..., None]).sum(1)
        self.canvas.set_points("landmarks", landmarks, landmark_colours())

    def _send_colours(self, words: str) -> None:
        coloured = self._shown_colours()
        self.canvas.set_colours(coloured.colours)
        self.canvas.shading = 1.0 if coloured.values is None else _SHADING
        self.canvas.label = words
        self.legend.value = legend(coloured, width=_COLUMN)

    def _shown_colours(self) -> VertexColours:
        if self.explain.value != _NO_MODE:
            moved = np.linalg.norm(self._mode(self.explain.value), axis=1)
            return scalar_colours(moved, unit="mm a standard deviation")
        if self.colour.value == "clay":
            return clay(len(self._mean))
        origin, unit = self._mean, "mm from the mean"
        if self.colour.value == "lost":
            origin, unit = self._vertices(self._all_coefficients()), "mm from the face with all modes"
        distance = np.linalg.norm(self.vertices - origin, axis=1)
        limits = (0.0, max(_LEAST_DISTANCE, float(distance.max())))
        return scalar_colours(distance, unit=unit, limits=limits)

    def _mode(self, number: int) -> np.ndarray:
        """A mode's displacement (V, 3) in mm for a standard deviation."""
        return self._modes[number].reshape(self._mean.shape)

    def _play(self, mode: int) -> None:
        """Explain a mode, or stop if it is the one."""
        self.explain.value = _NO_MODE if self.explain.value == mode else mode

    def _explain(self, mode: int) -> None:
        # Its colours are its own.
        self.colour.disabled = mode != _NO_MODE
        if mode == _NO_MODE:
            self.canvas.swing(None)
            self._follow()
            return
        # About the mean, so that nothing but this mode is seen.
        self.canvas.set_vertices(self._mean)
        self._send_landmarks(self._mean)
        self._send_colours(f"Face model, mode {self.explain.label} swinging")
        self.canvas.swing(self._mode(mode), reach=REACH)

    def _variance_chart(self) -> str:
        parts = (slice(0, self.people), slice(self.people, None))
        modes = self._modes.reshape(-1, *self._mean.shape)
        curves = []
        for (word, colour), part in zip(_CURVES, parts, strict=True):
            if len(modes[part]):
                share = np.concatenate([[0], 100 * cumulative_variance(modes[part])])
                curves.append(Curve(f"{word}, {len(share) - 1}", np.arange(len(share)), share, colour))
        return chart(curves, title="% of the variance that the first modes hold", x_label="modes")

    def _show_error(self) -> None:
        identity = self._all_coefficients()[: self.people]
        error = reconstruction_error(self._modes, identity, gram=self._gram)
        kept = self.kept.value
        curve = Curve("", np.arange(len(error)), error, "#3aa655")
        self.error_chart.value = chart(
            [curve], title="RMS error of this face, mm", x_label="identity modes kept", mark=kept
        )
        self.lost.value = faded(
            f"The face with {kept} of {self.people} identity modes is {error[kept]:.2f} mm from itself (root mean "
            "square over all vertices)."
        )


def _face_of(of: Face | Prediction | None) -> Face | None:
    if isinstance(of, Prediction):
        if not len(of):
            raise ValueError(f"{of.source}: expected a prediction with at least one face, got none")
        of = of[0]
    return of
