"""`FaceModelExplorer`: a 3D morphable face model to try out."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np

from m4kit.explore.canvas import landmark_colours
from m4kit.explore.controls import button, choice, faded, legend, row, slider
from m4kit.explore.explorer import MeshExplorer
from m4kit.explore.modes import (
    REACH,
    Curve,
    ModeSliders,
    chart,
    cumulative_variance,
    gram_matrix,
    reconstruction_error,
)
from m4kit.face_model import FaceModel
from m4kit.images import jpeg
from m4kit.prediction import Face, Prediction
from m4kit.vertex_colours import VertexColours, clay, scalar_colours
from m4kit.visualize.legend import with_legend
from m4kit.visualize.mesh_figure import EVEN_LIGHT, mesh_still

_STILL_SIDE = 420
_NO_ACTION = "none"
_NO_MODE = -1
_LEAST_DISTANCE = 5.0
"""Millimetres at the end of the colour bar at least, so that tiny distances look tiny."""

_SHADING = 0.55
_COLUMN, _CONTROL = 330, "286px"
_COLOURS = {"Clay": "clay", "Distance from the mean": "distance", "Lost with fewer modes": "lost"}
_CURVES = (("identity", "#4c8ed9"), ("expression", "#e8912d"))


class FaceModelExplorer(MeshExplorer):
    """Sliders for a face model's modes, with a live mesh.

    - `identity` and `expression` are the sliders, in standard deviations: the first ten of each, more on demand.
    - An action (jawOpen, mouthSmileLeft ...) can be added to the expression; a random person, a random expression and
      the mean are one click away.
    - "Explain" shows one mode: colours show how far it moves each vertex in mm, while the mesh swings between -3 and
      +3 standard deviations.
    - "Modes needed" keeps only the first identity modes, and shows how far the face then is from itself.
    - `of` (a `Face`, or a `Prediction` whose first face counts) is what "Fit to the photo" sets the sliders to.

    `model` is any `FaceModel`; the default is `of`'s, or else the packaged one. `deviations` (modes,) are the
    standard deviations of the coefficients, for a model whose modes are not scaled to 1, such as BFM.
    """

    def __init__(
        self,
        model: FaceModel | None = None,
        *,
        of: Face | Prediction | None = None,
        deviations: np.ndarray | None = None,
        height: int = 460,
    ):
        toggles = {name: (name.capitalize(), False, "") for name in ("wireframe", "landmarks")}
        layout = {"flex": "1 1 340px", "min_width": "320px"}
        super().__init__(height=height, toggles=toggles, layout=layout)
        self.canvas.show = {"mesh": True} | self.canvas.show
        self.face = _face_of(of)
        self.model = model or (self.face.model if self.face is not None else FaceModel.load())
        self.people, self.moods = len(self.model.identity_modes), len(self.model.expression_modes)
        self.deviations = (
            np.ones(self.people + self.moods) if deviations is None else np.asarray(deviations, float)
        )
        if self.deviations.shape != (self.people + self.moods,):
            raise ValueError(
                f"expected deviations ({self.people + self.moods},), one per mode, got {self.deviations.shape}"
            )
        self._mean = self.model.mean.numpy()
        modes = self.model.modes.numpy() * self.deviations[:, None, None]
        self._modes = np.ascontiguousarray(modes.reshape(len(modes), -1), dtype=np.float32)
        self._gram = gram_matrix(modes[: self.people])
        self._draws = 0
        self._build_controls()
        self._connect()
        column = {"flex": f"0 0 {_COLUMN + 8}px", "margin": "0 0 0 8px", "grid_gap": "6px"}
        beside = widgets.VBox([self.tabs, self.legend], layout=column)
        self.content = (
            row(*self.buttons.values(), self.colour, self.explain),
            widgets.HBox([self.canvas, beside], layout={"flex_flow": "row wrap"}),
            row(*self.camera_buttons.values(), *self.toggles.values(), label="View"),
        )
        self.canvas.set_triangles(self.model.triangles.numpy())
        self.guard(self._follow)()

    def _build_controls(self) -> None:
        self._sliders = {
            "identity": ModeSliders(self.people, word="identity", explain=self._play),
            "expression": ModeSliders(
                self.moods, word="expression", explain=lambda number: self._play(self.people + number)
            ),
        }
        self.identity, self.expression = (one.sliders for one in self._sliders.values())
        self.action = choice("Action", [_NO_ACTION, *self.model.actions], width=_CONTROL)
        self.strength = slider("Strength", 1.0, 0.0, 1.0, 0.05, width=_CONTROL)
        if not self.model.actions:
            self.action.layout.display = self.strength.layout.display = "none"
        self.kept = widgets.IntSlider(
            self.people,
            min=0,
            max=self.people,
            description="Identity modes kept",
            style={"description_width": "initial"},
            layout={"width": _CONTROL},
        )
        self.lost, self.error_chart = widgets.HTML(), widgets.HTML()
        self.variance = widgets.HTML(self._variance_chart())
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
        self.explain = choice("Explain", [("none", _NO_MODE), *modes])
        self.colour = choice("Colour", list(_COLOURS.items()))
        self.buttons = {
            "Mean": button("Mean", tooltip="All sliders to 0, no action"),
            "Random person": button("Random person", tooltip="Another identity, drawn from the model"),
            "Random expression": button("Random expression", tooltip="A mix of up to three actions"),
            "Fit to the photo": button("Fit to the photo", tooltip="The sliders to the photo's face"),
        }
        if self.face is None:
            self.buttons["Fit to the photo"].layout.display = "none"
        self.legend = widgets.HTML()

    def _connect(self) -> None:
        sliders = (*self.identity, *self.expression)
        for control in (*sliders, self.strength, self.action, self.colour, self.kept):
            self.on(control, self._follow)
        self.on(self.explain, self._explain)
        calls = (self.to_mean, self.random_person, self.random_expression, self.fit)
        for control, call in zip(self.buttons.values(), calls, strict=True):
            self.on(control, call)
        self.canvas.follow(sliders, self._mode)

    @property
    def coefficients(self) -> np.ndarray:
        """Coefficients (modes,) of the mesh, identity first, in standard deviations.

        They include the action; identity modes that are not kept are 0.
        """
        values = self._all_coefficients()
        values[self.kept.value : self.people] = 0
        return values

    @property
    def vertices(self) -> np.ndarray:
        """Vertices (V, 3) of the mesh in mm, in the model's frame."""
        return self._vertices(self.coefficients)

    def to_mean(self) -> None:
        """Set all sliders to 0 and remove the action."""
        self._set(identity=np.zeros(self.people), expression=np.zeros(self.moods))

    def random_person(self, *, seed: int | None = None) -> None:
        """Draw another identity; the expression stays. Without a seed, draw the next one."""
        identity, _ = self.model.sample(1, seed=self._seed(seed))
        self._set(identity=identity[0].numpy())

    def random_expression(self, *, seed: int | None = None) -> None:
        """Draw another expression, a mix of at most three named actions; the identity stays."""
        _, expression = self.model.sample(1, seed=self._seed(seed))
        values = expression[0].numpy()
        # Actions are in the model's own units; a model without actions draws standard deviations.
        self._set(expression=values / self.deviations[self.people :] if self.model.actions else values)

    def fit(self) -> None:
        """Set the sliders to the photo's face; raise `ValueError` if its coefficients belong to another model."""
        if self.face is None:
            raise ValueError("expected a face to fit to, got none; give FaceModelExplorer(of=prediction)")
        identity, expression = self.face.identity, self.face.expression
        if (len(identity), len(expression)) != (self.people, self.moods):
            raise ValueError(
                f"expected a face with {self.people} identity and {self.moods} expression coefficients, got "
                f"{len(identity)} and {len(expression)}; explore the model that predicted it"
            )
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

    def describe(self) -> str:
        """One line that says what is explored."""
        return f"FaceModelExplorer of {self.people} identity and {self.moods} expression modes"

    def _all_coefficients(self) -> np.ndarray:
        values = np.array([slider.value for slider in (*self.identity, *self.expression)])
        if self.action.value != _NO_ACTION:
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

    def _set(self, **values: np.ndarray) -> None:
        """Set sliders by kind; the mesh follows once, at the end. Another expression ends the action."""
        with self.together():
            if "expression" in values:
                self.action.value = _NO_ACTION
            for name, numbers in values.items():
                self._sliders[name].set(numbers)
        self._follow()

    def _toggled(self, name: str) -> None:
        self._send_landmarks(self._mean if self.explain.value != _NO_MODE else self.vertices)

    def _follow(self) -> None:
        """Send the mesh of the present sliders."""
        if self.explain.value != _NO_MODE:
            self.explain.value = _NO_MODE
            return
        vertices = self.vertices
        values = enumerate(slider.value for slider in (*self.identity, *self.expression))
        # The sliders of identity modes that are not kept move nothing.
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

    def _send_colours(self, label: str) -> None:
        coloured = self._shown_colours()
        self.canvas.set_colours(coloured.colours)
        self.canvas.shading = 1.0 if coloured.values is None else _SHADING
        self.canvas.label = label
        self.legend.value = legend(coloured, width=_COLUMN)

    def _shown_colours(self) -> VertexColours:
        if self.explain.value != _NO_MODE:
            moved = np.linalg.norm(self._mode(self.explain.value), axis=1)
            return scalar_colours(moved, unit="mm per standard deviation")
        if self.colour.value == "clay":
            return clay(len(self._mean))
        origin, unit = self._mean, "mm from the mean"
        if self.colour.value == "lost":
            origin, unit = self._vertices(self._all_coefficients()), "mm from the face with all modes"
        distance = np.linalg.norm(self.vertices - origin, axis=1)
        limits = (0.0, max(_LEAST_DISTANCE, float(distance.max())))
        return scalar_colours(distance, unit=unit, limits=limits)

    def _mode(self, number: int) -> np.ndarray:
        """Displacement (V, 3) of a mode in mm for one standard deviation."""
        return self._modes[number].reshape(self._mean.shape)

    def _play(self, mode: int) -> None:
        """Explain a mode, or stop if it is explained already."""
        self.explain.value = _NO_MODE if self.explain.value == mode else mode

    def _explain(self) -> None:
        mode = self.explain.value
        # The explanation has colours of its own.
        self.colour.disabled = mode != _NO_MODE
        if mode == _NO_MODE:
            self.canvas.swing(None)
            self._follow()
            return
        # Around the mean, so that only this mode shows.
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
        return chart(curves, title="% of the variance in the first modes", x_label="modes")

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
