"""`HeadWeightExplorer`: how the weights of the network's heads change the answer on one's own photo."""

from __future__ import annotations

import html
from pathlib import Path

import ipywidgets as widgets
import numpy as np

from m4kit.ablation.heads.accuracy import check_heads_of
from m4kit.ablation.heads.judge import HEADS
from m4kit.ablation.heads.record import BEST, HeadStudy
from m4kit.ablation.record import RecordError
from m4kit.explore.callbacks import Complaints
from m4kit.explore.canvas import Canvas
from m4kit.explore.explorer import Explorer
from m4kit.explore.head_answers import COLOURS, GREY, Answer, Reference
from m4kit.explore.head_words import (
    accuracy_in_a_line,
    accuracy_in_words,
    answer_in_words,
    block,
    in_a_row,
    listed,
)
from m4kit.explore.legend import legend
from m4kit.explore.marks import contours, landmark_colours
from m4kit.explore.mesh_viewer import VIEWS
from m4kit.explore.photo import small_jpeg
from m4kit.explore.simplex_picture import cuts_picture
from m4kit.explore.weight_sliders import WeightSliders, checked
from m4kit.images import jpeg
from m4kit.prediction import Face, Prediction

OWN, UNIFORM, BEST_MEASURED = "Network's own", "Uniform", "Best measured"
"""The presets besides each head alone."""

_SHOWN = {
    "Photo": ("photo", True),
    "Mesh": ("mesh", True),
    "Contours": ("contours", True),
    "Landmarks": ("landmarks", False),
    "Own contours": ("own", True),
}
_BEHIND = 1.0
_OPACITY = 0.65
_PHOTO_WIDTH, _CUT_WIDTH, _COLUMN = 260, 145, 320
_STILL_SIDE = 300


class HeadWeightExplorer(Explorer):
    """Sliders for the weights of the heads, with mesh and landmarks following live on the photo.

    The sliders keep a sum of 1 (`WeightSliders`); presets set them at once. The readout says how far the present
    answer lies from the network's own. Beside it stands how accurate these weights are on labelled faces, from a
    record of `m4kit ablate heads`: `study`, or its file, by default the packaged one, interpolated between the
    weights that were measured. A record of other heads is refused in words, and the explorer goes on without it.

    `weights` can be set from code, too. What cannot be shown (no face, a face without its heads' outputs, weights
    that are none, no photo) is said in its place, and `errors` lists what went wrong in callbacks.
    """

    def __init__(
        self, prediction: Prediction, *, study: HeadStudy | str | Path | None = None, height: int = 440
    ):
        self.prediction = prediction
        self.complaints = Complaints()
        guard = self.complaints.guard
        self.canvas = Canvas(
            height=height, opacity=_OPACITY, layout={"flex": "1 1 360px", "min_width": "320px"}
        )
        self.count = _heads_of(prediction)
        self.study, self._refused = _fitting(study, prediction.network, self.count)
        self._reference: Reference | None = None
        self._photo_sent = False

        self._make_controls()
        self._listen(guard)
        self.canvas.show = {name: on for name, on in _SHOWN.values()}
        self.canvas.still, self.canvas.on_reset = self._mesh_still, guard(lambda: self.look("As in photo"))
        super().__init__(self._rows(height))
        guard(self._face_changed)()

    def _make_controls(self) -> None:
        slim = {"width": "auto"}
        self.sliders = WeightSliders(
            [f"Head {head + 1}" for head in range(self.count)],
            complaints=self.complaints,
            on_change=self._follow,
        )
        self.face_choice = widgets.Dropdown(
            options=[(f"Face {k + 1}", k) for k in range(len(self.prediction))], description="Face"
        )
        self.colour = widgets.Dropdown(options=list(COLOURS.items()), description="Colour")
        names = [OWN, UNIFORM, BEST_MEASURED, *(f"Head {head + 1}" for head in range(self.count))]
        self.presets = {name: widgets.Button(description=name, layout=slim) for name in names}
        self.presets[BEST_MEASURED].disabled = self.study is None
        self.toggles = {
            name: widgets.ToggleButton(value=on, description=word, layout=slim)
            for word, (name, on) in _SHOWN.items()
        }
        self.opacity = widgets.FloatSlider(
            _OPACITY, min=0.1, max=1.0, step=0.05, description="Opacity", readout_format=".2f"
        )
        names = ("As in photo", "Front", "Left", "Right")
        self.views = {name: widgets.Button(description=name, layout=slim) for name in names}
        self.notice, self.photo_notice = Complaints(), Complaints()
        self.legend, self.readout, self.accuracy = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.photo = widgets.Image(format="jpeg", layout={"width": f"{_PHOTO_WIDTH}px"})
        self.simplex = widgets.Image(
            format="jpeg", layout={"width": f"{HEADS * _CUT_WIDTH}px", "max_width": "100%"}
        )
        if len(self.prediction) < 2:
            self.face_choice.layout.display = "none"
        if self.study is None:
            self.simplex.layout.display = "none"

    def _listen(self, guard) -> None:
        self.face_choice.observe(guard(lambda change: self._face_changed()), "value")
        self.colour.observe(guard(lambda change: self._follow()), "value")
        self.opacity.observe(guard(lambda change: setattr(self.canvas, "opacity", change["new"])), "value")
        for name, button in self.presets.items():
            button.on_click(guard(lambda _button, name=name: self.sliders.set(self.preset(name))))
        for name, toggle in self.toggles.items():
            toggle.observe(guard(lambda change, name=name: self._toggled(name, change["new"])), "value")
        for name, button in self.views.items():
            button.on_click(guard(lambda _button, name=name: self.look(name)))

    def _rows(self, height: int) -> list[widgets.Widget]:
        row = {"flex_flow": "row wrap", "align_items": "center"}
        top = {"flex_flow": "row wrap", "align_items": "flex-start"}
        weights = widgets.VBox(
            [self.sliders, widgets.HBox([*self.presets.values()], layout=row), self.readout, self.legend],
            layout={"width": f"{_COLUMN}px"},
        )
        return [
            widgets.HBox([self.face_choice, self.colour, *self.toggles.values()], layout=row),
            widgets.HBox([self.canvas, self.notice, weights], layout=top),
            widgets.HBox([*self.views.values(), self.opacity], layout=row),
            widgets.HBox(
                [
                    widgets.VBox([self.photo, self.photo_notice]),
                    widgets.VBox(
                        [self.simplex, self.accuracy], layout={"flex": "1 1 400px", "min_width": "300px"}
                    ),
                ],
                layout=top,
            ),
            self.complaints,
        ]

    @property
    def face(self) -> Face | None:
        """The chosen face as the network gave it; None where the prediction has none."""
        return self.prediction[self.face_choice.value] if len(self.prediction) else None

    @property
    def weights(self) -> np.ndarray:
        """The heads' weights (n,). Setting others that are none leaves them as they are, and says so."""
        return self.sliders.weights

    @weights.setter
    def weights(self, weights) -> None:
        self.complaints.guard(self.sliders.set)(weights)

    @property
    def answer(self) -> Answer | None:
        """The chosen face under the present weights; None where it cannot be shown."""
        return self.under(self.weights)

    def under(self, weights) -> Answer | None:
        """The chosen face under weights (n,), while the sliders stay; None where it cannot be shown.

        Raises `ValueError` for what are no weights.
        """
        weights = checked(weights, self.count)
        return None if self._reference is None else self._reference.under(weights)

    def preset(self, name: str) -> np.ndarray:
        """The weights (n,) of a preset: one of the buttons' names.

        Raises `ValueError` for another, or where the prediction or the record does not have it.
        """
        if name not in self.presets:
            raise ValueError(f"expected a preset out of {', '.join(self.presets)}, got {name!r}")
        if name == UNIFORM:
            return np.full(self.count, 1 / self.count)
        if name == BEST_MEASURED:
            if self.study is None:
                raise ValueError(f"{name}: expected a record of these heads, there is none; {self._refused}")
            return self.study.weights(BEST)[0]
        if name == OWN:
            if self._reference is None:
                raise ValueError(f"{name}: expected a face with the weights of its heads, there is none")
            return checked(self._reference.face.head_weights, self.count)
        return np.eye(self.count)[list(self.presets).index(name) - 3]

    def look(self, name: str) -> None:
        """Turn the camera to "As in photo" or one of the viewer's views; zoom and pan go back."""
        known = dict(VIEWS)
        if self._reference is not None:
            known["As in photo"] = self._reference.frame.rotation
        if name in known:
            self.canvas.look(known[name])
        elif name != "As in photo":
            raise ValueError(f"expected a view out of As in photo, {', '.join(known)}, got {name!r}")

    def still(self) -> bytes:
        """Photo, mesh and cuts under the present weights as one JPEG, drawn without a browser."""
        answer, side = self.answer, _STILL_SIDE
        seen = []
        if answer is not None:
            if self._has_photo:
                seen.append(
                    (answer.photo(self.prediction.image, side=side), Path(self.prediction.source).name)
                )
            seen.append((answer.mesh(self.colour.value, side=side), f"weights {listed(self.weights)}"))
        if self.study is not None:
            cuts = np.split(cuts_picture(self.study, self.weights, side=side // 2), HEADS, axis=1)
            square = np.concatenate([np.concatenate(cuts[k : k + 2], axis=1) for k in (0, 2)])
            seen.append((square, accuracy_in_a_line(self.study, self.weights)))
        return jpeg(
            in_a_row(seen or [(np.full((side, side, 3), 255, np.uint8), self.notice.words)]), quality=80
        )

    @property
    def words(self) -> str:
        """What is explored, in a line."""
        return f"HeadWeightExplorer of {self.prediction.source}, weights {listed(self.weights)}"

    def _mesh_still(self) -> bytes:
        answer = self.answer
        return b"" if answer is None else jpeg(answer.mesh(self.colour.value, side=420), quality=82)

    def _face_changed(self) -> None:
        before, self._reference, fault = self._reference, None, ""
        try:
            self._reference = self._reference_of(self.face)
        except ValueError as error:
            fault = str(error)
        self.notice.say(fault)
        self.canvas.layout.display = "none" if fault else None
        self._photo_sent = False
        if self._reference is not None:
            self.canvas.set_triangles(self._reference.face.triangles)
            # A little farther off, so that present contours in the same place cover them.
            behind = _BEHIND * self._reference.frame.rotation[2]
            self._send_lines("own", self._reference.own.landmarks - behind, grey=True)
            self.look("As in photo")
            if self.canvas.show["photo"]:
                self._send_photo()
        # Who looks at the network's own weights goes on to those of the next face, which may be others.
        at_own = before is None or np.allclose(self.weights, before.face.head_weights, atol=1e-6)
        if self._reference is not None and at_own:
            self.sliders.set(self.preset(OWN))
        else:
            self._follow()

    def _toggled(self, name: str, on: bool) -> None:
        self.canvas.show = self.canvas.show | {name: on}
        if name == "photo" and on and not self._photo_sent and self._reference is not None:
            self._send_photo()

    def _send_photo(self) -> None:
        if self._has_photo:
            image = self.prediction.image
            self.canvas.set_photo(small_jpeg(image), self._reference.photo_plane(image))
            self._photo_sent = True

    def _send_lines(self, name: str, landmarks: np.ndarray, *, grey: bool = False) -> None:
        self.canvas.set_lines(
            name, *contours(landmarks, colour=GREY if grey else None), width=1.6 if grey else 2.2
        )

    def _follow(self) -> None:
        """Send all as the sliders have it."""
        answer = self.answer
        if answer is None:
            self.readout.value = self.legend.value = ""
            self._show_photo(None)
        else:
            coloured = answer.colours(self.colour.value)
            self.canvas.set_vertices(answer.vertices)
            self.canvas.set_colours(coloured.colours)
            self._send_lines("contours", answer.landmarks)
            self.canvas.set_points("landmarks", answer.landmarks, landmark_colours(), width=6)
            self.legend.value = legend(coloured)
            self.readout.value = answer_in_words(answer)
            self._show_photo(answer)
        self._show_accuracy()

    def _show_photo(self, answer: Answer | None) -> None:
        lost = answer is not None and not self._has_photo
        self.photo_notice.say(
            "The prediction has no photo: expected image (H, W, 3) uint8 RGB; predict the photo anew." * lost
        )
        self.photo.layout.display = "none" if answer is None or lost else None
        if answer is not None and not lost:
            picture = answer.photo(self.prediction.image, side=2 * _PHOTO_WIDTH)
            self.photo.value = jpeg(picture, quality=85)

    def _show_accuracy(self) -> None:
        if self.study is None:
            self.accuracy.value = block(
                f"How accurate these weights are is not known here: {html.escape(self._refused)}"
            )
            return
        self.simplex.value = jpeg(cuts_picture(self.study, self.weights), quality=92)
        self.accuracy.value = accuracy_in_words(self.study, self.weights)

    @property
    def _has_photo(self) -> bool:
        image = self.prediction.image
        return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,)

    def _reference_of(self, face: Face | None) -> Reference:
        """What the face's answers are seen from, or a `ValueError` that says why there is nothing to see."""
        if face is None:
            raise ValueError(
                f"{self.prediction.source}: expected a prediction with at least one face, got none; try a larger "
                "photo, a smaller min_face, or give predict the boxes"
            )
        reference = Reference(face)
        if len(face.heads) != self.count:
            raise ValueError(
                f"expected a face with {self.count} heads, as the first, got {len(face.heads)}; explore it in a "
                "prediction of its own"
            )
        return reference


def _heads_of(prediction: Prediction) -> int:
    """How many heads the sliders are for: those of the first face that has any."""
    for face in prediction:
        if np.ndim(getattr(face, "heads", None)) == 2 and len(face.heads):
            return len(face.heads)
    return HEADS


def _fitting(study: HeadStudy | str | Path | None, network: str, heads: int) -> tuple[HeadStudy | None, str]:
    """The study, by default the packaged one, if it is of the very heads of the prediction; else None, and why."""
    try:
        record = HeadStudy.packaged() if study is None else study
        record = record if isinstance(record, HeadStudy) else HeadStudy.load(record)
        check_heads_of(record, network=network, heads=heads)
    except RecordError as error:
        return None, str(error)
    return record, ""
