"""`HeadWeightExplorer`: how the weights of the network's heads change the answer on your own photo."""

from __future__ import annotations

import functools
import html
from pathlib import Path

import ipywidgets as widgets
import numpy as np

from m4kit.ablation.heads.accuracy import check_heads_of
from m4kit.ablation.heads.judge import HEADS
from m4kit.ablation.heads.record import BEST, HeadStudy
from m4kit.ablation.record import RecordError
from m4kit.checks import check_type
from m4kit.explore.canvas import contour_lines
from m4kit.explore.controls import SIDE_WIDTH, WRAP, button, choice, legend, paragraph, row, slider
from m4kit.explore.explorer import AS_IN_PHOTO, MeshExplorer
from m4kit.explore.head_accuracy import accuracy_html, accuracy_line, cuts, cuts_picture, packed_accuracy
from m4kit.explore.head_answers import COLOURS, GREY, Answer, Reference
from m4kit.explore.photo import check_prediction, face_choice, picture_html
from m4kit.explore.weight_sliders import WeightSliders, checked
from m4kit.explore.weight_triangle import WeightTriangle
from m4kit.images import jpeg
from m4kit.landmarks import landmark_colours
from m4kit.live import prediction_page
from m4kit.prediction import Face, Prediction
from m4kit.visualize.figures import pictures_figure
from m4kit.visualize.pictures import small_png
from m4kit.visualize.style import MAT_RGB

OWN, UNIFORM, BEST_MEASURED = "Network's own", "Uniform", "Best measured"
_PRESETS = {
    OWN: "The weights with which the network answers",
    UNIFORM: "Equal weights for all heads",
    BEST_MEASURED: "The weights with the lowest error on the record's faces, which chose them",
}
"""The presets besides each head alone, with their tooltips."""

_TOGGLES = {
    "photo": ("Photo", True, "The photo, behind the face"),
    "mesh": ("Mesh", True, "The face's surface under the present weights"),
    "contours": ("Contours", True, "Lines through the 68 points under the present weights"),
    "landmarks": ("Landmarks", False, "The 68 points under the present weights"),
    "own": ("Own contours", True, "The contours of the network's own answer, grey"),
}
_BEHIND = 1.0
_OPACITY = 0.65
_COLUMN = 336
_TRIANGLE = {"flex": "1 1 210px", "max_width": "250px"}
_STILL_SIDE = 300


class HeadWeightExplorer(MeshExplorer):
    """Sliders for the weights of the heads, with mesh and landmarks following live on the photo.

    The sliders keep a sum of 1 (`WeightSliders`); presets set them at once, also locked ones. Text beside them says
    how far the present answer is from the network's own, and how accurate these weights are on labelled faces,
    interpolated between measured weights. That comes from a record of `m4kit ablate heads`: `study`, or its file, by
    default the packaged one. A record of other heads is not used, and the explorer says why. A press in one of its
    triangles sets the weights there.

    `weights` can also be set from code; invalid ones change nothing and are explained. `errors` lists what went wrong
    in callbacks.

    Raises `TypeError` for something other than a prediction, and `ValueError` if the prediction has no faces, or
    faces with different numbers of heads.
    """

    start = AS_IN_PHOTO

    def __init__(
        self, prediction: Prediction, *, study: HeadStudy | str | Path | None = None, height: int = 440
    ):
        layout = {"flex": "1 1 360px", "min_width": "320px"}
        super().__init__(height=height, toggles=_TOGGLES, photo=True, opacity=_OPACITY, layout=layout)
        self.canvas.still = self._mesh_still
        self.prediction = check_prediction(prediction, name="HeadWeightExplorer")
        remedy = "give it HeadStudy.load(file), or the file's path"
        check_type(study, "HeadWeightExplorer: study", HeadStudy, str, Path, type(None), remedy=remedy)
        self.count = _heads_of(prediction)
        self.study, self._refused = _fitting(study, prediction.network, self.count)
        self._reference = Reference(prediction[0])
        self._build_controls()
        self.on(self.face_choice, self._face_changed)
        self.on(self.colour, self._follow)
        self.on(self.opacity, lambda: setattr(self.canvas, "opacity", self.opacity.value))
        for name, control in self.presets.items():
            self.on(control, functools.partial(self._set_preset, name))
        for triangle in self.triangles:
            triangle.on_press = self.guard(self.sliders.aim)
        top = WRAP | {"align_items": "flex-start"}
        weights = widgets.VBox(
            [self.sliders, row(*self.presets.values()), self.readout, self.legend],
            layout={"width": f"{_COLUMN}px", "margin": "0 0 0 8px"},
        )
        triangles = widgets.HBox(self.triangles, layout=WRAP)
        beside = widgets.VBox([triangles, self.accuracy], layout={"flex": "1 1 400px", "min_width": "300px"})
        self.content = (
            row(self.face_choice, self.colour),
            widgets.HBox([self.canvas, weights], layout=top),
            row(*self.toggles.values(), self.opacity, label="Show"),
            row(*self.camera_buttons.values(), label="View"),
            widgets.HBox([self.photo, beside], layout=top),
        )
        self.reset()
        self.guard(self._show_face)()
        self.sliders.set(self.preset(OWN))

    def _build_controls(self) -> None:
        heads = [f"Head {head + 1}" for head in range(self.count)]
        self.sliders = WeightSliders(heads, explorer=self, on_change=self._follow)
        self.face_choice = face_choice(self.prediction)
        self.colour = choice("Colour", list(COLOURS.items()))
        self.presets = {
            name: button(name, tooltip=_PRESETS.get(name, f"{name} alone")) for name in (*_PRESETS, *heads)
        }
        self.presets[BEST_MEASURED].disabled = self.study is None
        self.opacity = slider("Opacity", _OPACITY, 0.1, 1.0, 0.05, width="160px", readout=False)
        self.legend, self.readout, self.accuracy = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.photo = widgets.HTML()
        self.triangles = [WeightTriangle(layout=_TRIANGLE) for _ in range(0 if self.study is None else HEADS)]

    @property
    def face(self) -> Face:
        """The chosen face as the network predicted it."""
        return self.prediction[self.face_choice.value]

    @property
    def weights(self) -> np.ndarray:
        """The heads' weights (n,). Setting invalid weights changes nothing and shows why."""
        return self.sliders.weights

    @weights.setter
    def weights(self, weights) -> None:
        self.guard(self.sliders.set)(weights)

    @property
    def answer(self) -> Answer:
        """The chosen face under the present weights."""
        return self.under(self.weights)

    def under(self, weights) -> Answer:
        """Compute the chosen face under weights (n,); the sliders stay. Raises `ValueError` for invalid weights."""
        return self._reference.under(checked(weights, self.count))

    def preset(self, name: str) -> np.ndarray:
        """Return the weights (n,) of a preset, by the name of its button.

        Raises `ValueError` for an unknown name, and for the best measured weights without a record.
        """
        if name not in self.presets:
            raise ValueError(f"expected a preset out of {', '.join(self.presets)}, got {name!r}")
        if name == UNIFORM:
            return np.full(self.count, 1 / self.count)
        if name == BEST_MEASURED:
            if self.study is None:
                raise ValueError(f"{name}: expected a record of these heads, got none; {self._refused}")
            return self.study.weights(BEST)
        if name == OWN:
            return checked(self._reference.face.head_weights, self.count)
        return np.eye(self.count)[list(self.presets).index(name) - len(_PRESETS)]

    def camera(self, name: str) -> np.ndarray:
        """Return the rotation (3, 3) of a camera position."""
        return self._reference.frame.rotation if name == AS_IN_PHOTO else super().camera(name)

    def still(self) -> bytes:
        """Draw photo, mesh and cuts under the present weights as a JPEG, without a browser."""
        answer, side = self.answer, _STILL_SIDE
        pictures = {
            Path(self.prediction.source).name: answer.photo(self.prediction.image, side=side),
            self._weights_text(): answer.mesh(self.colour.value, side=side, background=MAT_RGB),
        }
        if self.study is not None:
            triangles = np.split(cuts_picture(self.study, self.weights, side=side // 2), HEADS, axis=1)
            square = np.concatenate([np.concatenate(triangles[k : k + 2], axis=1) for k in (0, 2)])
            pictures[accuracy_line(self.study, self.weights)] = square
        return pictures_figure(pictures).to_bytes()

    def page(self) -> str:
        """Make the page of `to_html`: the photo's faces under any weights, with their measured accuracy."""
        layers = {name: control.value for name, control in self.toggles.items() if name != "own"}
        return prediction_page(
            self.prediction,
            still=self._mesh_still(),
            face=self.face_choice.value,
            weights=self.weights.tolist(),
            colour=self.colour.value,
            opacity=self.opacity.value,
            show=layers,
            open=["heads"],
            view=AS_IN_PHOTO,
            study=self.study and functools.partial(packed_accuracy, self.study),
        )

    def describe(self) -> str:
        return f"HeadWeightExplorer of {self.prediction.source}, {self._weights_text()}"

    def _weights_text(self) -> str:
        return "weights " + ", ".join(f"{weight:.2f}" for weight in self.weights)

    def _mesh_still(self) -> bytes:
        return small_png(self.answer.mesh(self.colour.value, side=420))

    def _set_preset(self, name: str) -> None:
        self.sliders.unlock()
        self.sliders.set(self.preset(name))

    def _face_changed(self) -> None:
        """Show another face; sliders at the network's own weights go to those of the face, which may differ."""
        at_own = np.allclose(self.weights, self._reference.face.head_weights, atol=1e-6)
        self._reference = Reference(self.face)
        self.follow_photo()
        self._show_face()
        if at_own:
            self.sliders.set(self.preset(OWN))
        else:
            self._follow()

    def _show_face(self) -> None:
        """Send what does not depend on the weights."""
        self.canvas.set_triangles(self._reference.face.triangles)
        # A little behind, so that the present contours cover them in the same place.
        behind = _BEHIND * self._reference.frame.rotation[2]
        self._send_lines("own", self._reference.own.landmarks - behind, grey=True)
        if self.canvas.show["photo"]:
            self._send_photo()

    def _toggled(self, name: str) -> None:
        if name == "photo" and self.canvas.show["photo"]:
            self._send_photo()

    def _send_photo(self) -> None:
        face, frame = self._reference.face, self._reference.frame
        self.canvas.set_photo(self.prediction.image, frame, depth=face.vertices[:, 2].min())

    def _send_lines(self, name: str, landmarks: np.ndarray, *, grey: bool = False) -> None:
        self.canvas.set_lines(
            name, *contour_lines(landmarks, colour=GREY if grey else None), width=1.6 if grey else 2.2
        )

    def _follow(self) -> None:
        """Send the answer under the present weights."""
        answer = self.answer
        coloured = answer.colours(self.colour.value)
        self.canvas.set_vertices(answer.vertices)
        self.canvas.set_colours(coloured.colours)
        self._send_lines("contours", answer.landmarks)
        self.canvas.set_points("landmarks", answer.landmarks, landmark_colours(), width=6)
        self.canvas.label = f"3D view of face {self.face_choice.value + 1}, {self._weights_text()}"
        self.legend.value = legend(coloured)
        self.readout.value = answer.describe()
        photo = jpeg(answer.photo(self.prediction.image, side=2 * SIDE_WIDTH), quality=85)
        alt = "The photo with the contours under the present weights in colour, and the network's own in grey"
        self.photo.value = picture_html(photo, kind="jpeg", alt=alt)
        self._show_accuracy()

    def _show_accuracy(self) -> None:
        if self.study is None:
            self.accuracy.value = paragraph(
                f"The accuracy of these weights is not known: {html.escape(self._refused)}"
            )
            return
        for view, cut in zip(self.triangles, cuts(self.study, self.weights), strict=True):
            view.show(cut)
        self.accuracy.value = accuracy_html(self.study, self.weights)


def _heads_of(prediction: Prediction) -> int:
    """The number of heads of all faces."""
    counts = sorted({len(face.heads) for face in prediction})
    if len(counts) > 1:
        raise ValueError(
            f"{prediction.source}: expected faces with one number of heads, got {' and '.join(map(str, counts))}; "
            "explore them in predictions of their own"
        )
    return counts[0]


def _fitting(study: HeadStudy | str | Path | None, network: str, heads: int) -> tuple[HeadStudy | None, str]:
    """The study, by default the packaged one, if it was made with the prediction's heads; else None, and why."""
    try:
        record = HeadStudy.packaged() if study is None else study
        record = record if isinstance(record, HeadStudy) else HeadStudy.load(record)
        check_heads_of(record, network=network, heads=heads)
    except RecordError as error:
        return None, str(error)
    return record, ""
