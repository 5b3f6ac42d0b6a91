"""`FaceModelExplorer`: a 3D morphable face model to try out."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np

from m4kit.checks import check_array, check_type
from m4kit.exaggeration import edge_fade
from m4kit.explore.controls import COLOUR_LABELS, button, choice, faded, legend, row, show_if, slider
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
from m4kit.explore.photo import check_prediction, face_choice, picture_html, thumbnail
from m4kit.face_model import FaceModel
from m4kit.images import jpeg
from m4kit.landmarks import landmark_colours
from m4kit.live import LiveFace, live_page
from m4kit.prediction import Face, Prediction
from m4kit.vertex_colours import VertexColours, clay, distance_from_mean, scalar_colours
from m4kit.visualize.mesh_picture import clear_still, framing
from m4kit.visualize.pictures import small_png

_STILL_SIDE = 420
_NO_ACTION = "none"
_NO_MODE = -1
_LEAST_DISTANCE = 5.0
"""Millimetres at the end of the colour bar at least, so that tiny distances look tiny."""

_SHADING = 0.55
_ROOM = 1.12
"""Room for the chin of an open mouth, where the view shows the face alone."""

_TOGGLES = {
    "head": ("Head", True, "The whole head, with ears, neck and teeth"),
    "wireframe": ("Wireframe", False, "The edges of all triangles"),
    "landmarks": ("Landmarks", False, "The 68 points"),
}

_MOST_EXAGGERATED = 5.0
_COLUMN, _CONTROL, _PHOTO_COLUMN = 360, "310px", 176
_COLOURS = {"Clay": "clay", COLOUR_LABELS["distance"]: "distance", "Lost with fewer modes": "lost"}
_CURVES = {"identity": "#4c8ed9", "expression": "#e8912d"}


class FaceModelExplorer(MeshExplorer):
    """Sliders for a face model's modes, with a live mesh.

    - `identity` and `expression` are the sliders, in standard deviations: the first ten of each, more on demand. The
      mesh follows them, as the whole head or the face alone.
    - An action (jawOpen, mouthSmileLeft ...) sets the expression's sliders; "none" sets them back. A random person, a
      random expression and the mean are one click away.
    - "Exaggerate" draws a caricature: it moves the face k times as far from the mean as its identity does, beyond
      three standard deviations if you like (`exaggeration.exaggerate`). The expression stays.
    - "Explain" shows one mode: colours show how far it moves each vertex in mm, while the mean face swings between -3
      and +3 standard deviations.
    - "Modes needed" keeps only the first identity modes, and shows how far the face then is from that with all modes.
    - `of`, a `Prediction` or one `Face`, is what "Fit to the photo" sets the sliders to, up to their step; the photo
      is shown beside.

    `model` is any `FaceModel`; the default is `of`'s, or else the packaged one. `deviations` (modes,) are the
    standard deviations of the coefficients, for a model whose modes are not scaled to 1, such as BFM.

    Raises `TypeError` for a model or `of` of another type, and `ValueError` for a prediction without faces and for
    deviations that are not positive numbers, one per mode.
    """

    def __init__(
        self,
        model: FaceModel | None = None,
        *,
        of: Face | Prediction | None = None,
        deviations: np.ndarray | None = None,
        height: int = 460,
    ):
        layout = {"flex": "1 1 340px", "min_width": "320px"}
        super().__init__(height=height, toggles=_TOGGLES, layout=layout)
        self.canvas.show = {"mesh": True} | self.canvas.show
        self.prediction, self._given = _prediction_of(of), of
        remedy = "give it FaceModel.load(file)"
        check_type(model, "FaceModelExplorer", FaceModel, type(None), remedy=remedy)
        self.model = model or (FaceModel.load() if self.prediction is None else self.prediction[0].model)
        first, count = len(self.model.identity_modes), len(self.model.modes)
        # The places of each kind of modes among all.
        self._parts = {"identity": slice(0, first), "expression": slice(first, count)}
        self.deviations = _checked_deviations(deviations, count)
        self._whole = self.model.head if self.model.has_head else self.model
        show_if(self.model.has_head, self.toggles["head"])
        modes = self._whole.modes * self.deviations[:, None, None]
        # The face's vertices come first; what is counted is counted on them.
        self._modes = np.ascontiguousarray(modes.reshape(len(modes), -1), dtype=np.float32)
        self._face_modes = self._modes[:, : self.model.mean.size].reshape(len(modes), -1, 3)
        self._gram = gram_matrix(self._face_modes[:first])
        self._seeds = itertools.count()
        # Slider values: after the last fit, of the mesh that is shown, and of the expression before an action.
        self._fitted: np.ndarray | None = None
        self._followed = np.zeros(count)
        self._before: np.ndarray | None = None
        self._build_controls()
        self._connect()
        column = {"flex": f"0 0 {_COLUMN + 8}px", "margin": "0 0 0 8px", "grid_gap": "6px"}
        beside = widgets.VBox([self.tabs, self.legend, self.note], layout=column)
        views = [self.canvas, beside]
        *others, fit = self.buttons.values()
        if self.prediction is not None:
            column = {"flex": f"0 0 {_PHOTO_COLUMN}px", "grid_gap": "6px", "margin": "0 8px 0 0"}
            views.insert(0, widgets.VBox([self.face_choice, fit, self.photo], layout=column))
        self.content = (
            row(*others, self.colour, self.explain),
            widgets.HBox(views, layout={"flex_flow": "row wrap"}),
            row(*self.toggles.values(), label="Show"),
            row(*self.camera_buttons.values(), label="View"),
        )
        self._show_mesh()
        self._show_photo()
        self.guard(self._follow)()

    def _build_controls(self) -> None:
        faces = self.prediction or ()
        known = {name: [getattr(face, name) for face in faces] for name in self._parts}
        known["expression"] += self.model.actions.values()
        self._sliders = {
            name: ModeSliders(
                part.stop - part.start,
                word=name,
                explain=functools.partial(self._play, part.start),
                largest=_largest(known[name], self.deviations[part]),
            )
            for name, part in self._parts.items()
        }
        self.identity, self.expression = (one.sliders for one in self._sliders.values())
        tip = "Set the ten sliders to a named action; none sets them back"
        self.action = choice("Action", [_NO_ACTION, *self.model.actions], width=_CONTROL, tooltip=tip)
        self.strength = slider("Strength", 1.0, 0.0, 1.0, 0.05, width=_CONTROL, disabled=True)
        show_if(bool(self.model.actions), self.action, self.strength)
        self.exaggeration = slider("Exaggerate", 1.0, 0.0, _MOST_EXAGGERATED, 0.1, width=_CONTROL)
        count = len(self.identity)
        self.kept = slider("Modes kept", count, 0, count, 1, width=_CONTROL)
        self.lost, self.error_chart = widgets.HTML(), widgets.HTML()
        self.variance = widgets.HTML(self._variance_chart())
        self.tabs = widgets.Tab(
            [
                widgets.VBox([self.exaggeration, self._sliders["identity"]]),
                widgets.VBox([self.action, self.strength, self._sliders["expression"]]),
                widgets.VBox([self.variance, self.error_chart, self.kept, self.lost]),
            ],
            titles=("Identity", "Expression", "Modes needed"),
            layout={"width": f"{_COLUMN}px"},
        )
        modes = [
            (f"{name} {mode - part.start + 1}", mode)
            for name, part in self._parts.items()
            for mode in range(part.start, part.stop)
        ]
        self.explain = choice("Explain", [("none", _NO_MODE), *modes])
        self.colour = choice("Colour", list(_COLOURS.items()))
        self.buttons = {
            "Mean": button("Mean", tooltip="All sliders to 0, no action"),
            "Random person": button("Random person", tooltip="Another identity, drawn from the model"),
            "Random expression": button("Random expression", tooltip="A mix of up to three actions"),
            "Fit to the photo": button("Fit to the photo", tooltip="The sliders to the photo's face"),
        }
        self.face_choice = face_choice(self.prediction or ())
        self.legend, self.note, self.photo = (widgets.HTML() for _ in range(3))

    def _connect(self) -> None:
        sliders = (*self.identity, *self.expression)
        for control in sliders:
            self.on(control, self._moved)
        for control in (self.colour, self.exaggeration):
            self.on(control, self._follow)
        for control in (self.action, self.strength):
            self.on(control, self._act)
        self.on(self.kept, self._keep)
        self.on(self.face_choice, self._face_changed)
        self.on(self.explain, self._explain)
        calls = (self.to_mean, self.random_person, self.random_expression, self.fit)
        for control, call in zip(self.buttons.values(), calls, strict=True):
            self.on(control, call)
        self.canvas.follow(sliders, self._mode)

    @property
    def face(self) -> Face | None:
        """The photo's chosen face; None without a photo."""
        return None if self.prediction is None else self.prediction[self.face_choice.value]

    @property
    def coefficients(self) -> np.ndarray:
        """Coefficients (modes,) of the mesh, identity first, in standard deviations.

        They are the sliders' values, before any exaggeration; identity modes that are not kept are 0.
        """
        values = self._all_coefficients()
        values[self.kept.value : len(self.identity)] = 0
        return values

    @property
    def vertices(self) -> np.ndarray:
        """Vertices (V, 3) of the face in mm, in the model's frame."""
        return self._vertices(self.coefficients)[: len(self.model.mean)]

    def to_mean(self) -> None:
        """Set all sliders to 0 and remove the action."""
        self._set(identity=np.zeros(len(self.identity)), expression=np.zeros(len(self.expression)))

    def random_person(self) -> None:
        """Draw another identity; the expression stays."""
        identity, _ = self.model.sample(1, seed=next(self._seeds))
        self._set(identity=identity[0])

    def random_expression(self) -> None:
        """Draw another expression, a mix of at most three named actions; the identity stays."""
        _, expression = self.model.sample(1, seed=next(self._seeds))
        # Actions are in the model's own units; a model without actions draws standard deviations.
        unit = self.deviations[self._parts["expression"]] if self.model.actions else 1
        self._set(expression=expression[0] / unit)

    def fit(self) -> None:
        """Set the sliders to the photo's face; raise `ValueError` if its coefficients belong to another model."""
        if self.face is None:
            raise ValueError("expected a face to fit to, got none; give FaceModelExplorer(of=prediction)")
        identity, expression = len(self.face.identity), len(self.face.expression)
        if (identity, expression) != (len(self.identity), len(self.expression)):
            raise ValueError(
                f"expected a face with {len(self.identity)} identity and {len(self.expression)} expression "
                f"coefficients, got {identity} and {expression}; explore the model that predicted it"
            )
        units = {name: self.deviations[part] for name, part in self._parts.items()}
        self._set(**{name: getattr(self.face, name) / unit for name, unit in units.items()})
        self._fitted = self._all_coefficients()

    def still(self) -> bytes:
        """Draw the mesh from the front, with the legend of its colours, as a PNG without a background."""
        coloured, vertices = self._shown_colours(), self._shown.mean
        if self.explain.value == _NO_MODE:
            vertices = self._vertices(self.coefficients)
        return small_png(clear_still(self._shown, vertices, coloured, rotation=np.eye(3), side=_STILL_SIDE))

    def page(self) -> str:
        """Make the page of `to_html`: the mean face with all sliders, and the faces of `of`."""
        faces = enumerate(self.prediction or ())
        return live_page(
            [
                LiveFace.mean(self.model),
                *(
                    LiveFace.of(face, title=f"Face {k + 1}", image=face.origin and face.origin.image)
                    for k, face in faces
                ),
            ],
            title="Face model",
            facts=self._facts(),
            still=self.still(),
            deviations=self.deviations,
            coefficients=self.coefficients.tolist(),
            colour="distance" if self.colour.value == "distance" else "clay",
            show={"head": self.toggles["head"].value, "contours": False},
            open=["modes"],
            leastDistance=_LEAST_DISTANCE,
        )

    def describe(self) -> str:
        return f"FaceModelExplorer of {self._facts()}"

    def _facts(self) -> str:
        return f"{len(self.identity)} identity and {len(self.expression)} expression modes"

    def _all_coefficients(self) -> np.ndarray:
        return np.concatenate([one.values for one in self._sliders.values()])

    def _action(self) -> np.ndarray:
        """Expression coefficients of the chosen action, in standard deviations."""
        unit = self.deviations[self._parts["expression"]]
        return self.strength.value * self.model.actions[self.action.value] / unit

    @property
    def _shown(self) -> FaceModel:
        """The model of the mesh that is shown: the head's or the face's."""
        return self._whole if self.toggles["head"].value else self.model

    def _vertices(self, coefficients: np.ndarray) -> np.ndarray:
        """Vertices (n, 3) of the shown mesh."""
        mean, modes = self._shown.mean, self._modes[:, : self._shown.mean.size]
        vertices = mean + (coefficients.astype(np.float32) @ modes).reshape(mean.shape)
        if (k := self.exaggeration.value) != 1:
            part = self._parts["identity"]
            identity = coefficients[part].astype(np.float32) @ modes[part]
            fade = edge_fade(self._shown).astype(np.float32)
            vertices += (k - 1) * fade[:, None] * identity.reshape(mean.shape)
        return vertices

    def _show_mesh(self) -> None:
        """Send the triangles of the mesh that is shown, and frame it."""
        model = self._shown
        self.canvas.set_triangles(model.triangles, closed=model.is_head)
        middle, extent = framing(model)
        self.canvas.centre, self.canvas.extent = middle.tolist(), extent if model.is_head else _ROOM * extent

    def _set(self, **values: np.ndarray) -> None:
        """Set sliders by kind; the mesh follows once, at the end. Another expression ends the action."""
        with self.together():
            if "expression" in values:
                self._end_action()
            for name, numbers in values.items():
                self._sliders[name].set(numbers)
        self._follow()

    def _act(self) -> None:
        """Set the expression's sliders to the chosen action, or to what they were before it."""
        if self.action.value == _NO_ACTION:
            values, self._before = self._before, None
        else:
            if self._before is None:
                self._before = self._sliders["expression"].values
            values = self._action()
        self.strength.disabled = self.action.value == _NO_ACTION
        if values is not None:
            with self.together():
                self._sliders["expression"].set(values)
        self._follow()

    def _end_action(self) -> None:
        self.action.value, self._before, self.strength.disabled = _NO_ACTION, None, True

    def _moved(self) -> None:
        """Follow a slider that was moved."""
        if not np.array_equal(self._sliders["expression"].values, self._followed[self._parts["expression"]]):
            with self.together():
                self._end_action()
        self._follow()

    def _keep(self) -> None:
        self._sliders["identity"].use(self.kept.value)
        self._follow()

    def _face_changed(self) -> None:
        """Show another face of the photo; sliders that are fitted to the last one are fitted to it."""
        self._show_photo()
        if self._fitted is not None and np.array_equal(self._all_coefficients(), self._fitted):
            self.fit()

    def _show_photo(self) -> None:
        if self.prediction is None:
            return
        if isinstance(self._given, Face) and self._given.origin is None:
            self.photo.value = faded("A face that no Predictor made has no photo.")
            return
        picture = jpeg(thumbnail(self.prediction.image, self.face), quality=85)
        alt = f"The photo around face {self.face_choice.value + 1}"
        self.photo.value = picture_html(picture, kind="jpeg", alt=alt)

    def _toggled(self, name: str) -> None:
        if name == "head":
            self._show_mesh()
            (self._follow if self.explain.value == _NO_MODE else self._explain)()
        elif self.explain.value == _NO_MODE:
            self._send_landmarks(self.vertices)

    def _follow(self) -> None:
        """Send the mesh of the present sliders."""
        self._followed = self._all_coefficients()
        if self.explain.value != _NO_MODE:
            self.explain.value = _NO_MODE
            return
        vertices = self._vertices(self.coefficients)
        values = enumerate(slider.value for slider in (*self.identity, *self.expression))
        # The sliders of identity modes that are not kept move nothing, and the browser knows of no exaggeration.
        most = self.kept.value if self.exaggeration.value == 1 else 0
        at = {mode: value for mode, value in values if not most <= mode < len(self.identity)}
        self.canvas.set_vertices(vertices, at=at)
        self._send_landmarks(vertices)
        self._send_colours(f"Face model, colour: {self.colour.label}")
        self._show_error()

    def _send_landmarks(self, vertices: np.ndarray) -> None:
        if not self.canvas.show["landmarks"]:
            return
        corners = vertices[self.model.landmark_vertices]
        landmarks = (corners * self.model.landmark_weights[..., None]).sum(1)
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
            return clay(self._shown)
        vertices = self._vertices(self.coefficients)
        if self.colour.value == "distance":
            return distance_from_mean(self._shown, vertices, least=_LEAST_DISTANCE)
        lost = np.linalg.norm(vertices - self._vertices(self._all_coefficients()), axis=1)
        limits = (0.0, max(_LEAST_DISTANCE, float(lost.max())))
        return scalar_colours(lost, unit="mm from the face with all modes", limits=limits)

    def _mode(self, number: int) -> np.ndarray:
        """Displacement (n, 3) of a mode in mm for one standard deviation, on the mesh that is shown."""
        mean = self._shown.mean
        return self._modes[number, : mean.size].reshape(mean.shape)

    def _play(self, first: int, number: int) -> None:
        """Explain a mode, counted from the `first` of its kind, or stop if it is explained already."""
        self.explain.value = _NO_MODE if self.explain.value == first + number else first + number

    def _explain(self) -> None:
        mode = self.explain.value
        # The explanation has colours of its own, and landmarks would stand still.
        self.colour.disabled = self.toggles["landmarks"].disabled = mode != _NO_MODE
        self.note.value = ""
        for name, part in self._parts.items():
            self._sliders[name].mark(mode - part.start if part.start <= mode < part.stop else None)
        if mode == _NO_MODE:
            self.canvas.swing(None)
            self._follow()
            return
        # Around the mean, so that only this mode shows.
        self.canvas.set_vertices(self._shown.mean)
        self.canvas.set_points("landmarks", np.zeros((0, 3)), np.zeros((0, 3)))
        self._send_colours(f"Face model, mode {self.explain.label} swinging")
        self.note.value = faded(
            f"The mean face swings along {self.explain.label}. The sliders' face comes back when you move one, or "
            "choose none."
        )
        self.canvas.swing(self._mode(mode), reach=REACH)

    def _variance_chart(self) -> str:
        curves = []
        for name, colour in _CURVES.items():
            if len(modes := self._face_modes[self._parts[name]]):
                share = np.concatenate([[0], 100 * cumulative_variance(modes)])
                curves.append(Curve(f"{name}, {len(modes)}", np.arange(len(share)), share, colour))
        return chart(curves, title="% of the variance in the first modes", x_label="modes")

    def _show_error(self) -> None:
        identity = self._sliders["identity"].values
        error = reconstruction_error(self._face_modes, identity, gram=self._gram)
        kept = self.kept.value
        curve = Curve("", np.arange(len(error)), error, "#3aa655")
        self.error_chart.value = chart(
            [curve], title="RMS error of this face, mm", x_label="identity modes kept", mark=kept
        )
        self.lost.value = faded(
            f"The face with {kept} of {len(identity)} identity modes is {error[kept]:.2f} mm from the face with "
            "all of them (root mean square over all vertices)."
        )


def _prediction_of(of: Face | Prediction | None) -> Prediction | None:
    """The prediction; a face becomes a prediction of one face."""
    if of is None:
        return None
    if isinstance(of, Face):
        blank = np.zeros((1, 1, 3), np.uint8)
        return Prediction(blank if of.origin is None else of.origin.image, (of,))
    check_type(of, "FaceModelExplorer: of", Prediction, Face, remedy="give it m4kit.predict(photo)")
    return check_prediction(of, name="FaceModelExplorer")


def _largest(coefficients: Sequence[np.ndarray], deviations: np.ndarray) -> float:
    """The largest of coefficients (modes,) in standard deviations, without those of another model."""
    known = (np.abs(row / deviations) for row in coefficients if row.shape == deviations.shape)
    return max((float(row.max(initial=0)) for row in known), default=0.0)


def _checked_deviations(deviations: np.ndarray | None, count: int) -> np.ndarray:
    """The deviations (count,), by default ones."""
    if deviations is None:
        return np.ones(count)
    name = "FaceModelExplorer: deviations"
    checked = check_array(deviations, name, f"({count},) numbers above 0, one per mode")
    if checked.shape != (count,):
        raise ValueError(f"{name}: expected ({count},), one per mode, got {checked.shape}")
    if not (np.isfinite(checked) & (checked > 0)).all():
        wrong = checked[~np.isfinite(checked) | (checked <= 0)]
        raise ValueError(
            f"{name}: expected numbers above 0, got {wrong[0]:g} for {len(wrong)} of {count} modes"
        )
    return checked
