"""`HeadWeightExplorer`: how the weights of the network's heads change the answer on your own photo."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets
import numpy as np

from m4kit.ablation.heads.accuracy import check_heads_of
from m4kit.ablation.heads.judge import HEADS
from m4kit.ablation.heads.record import BEST, HeadStudy
from m4kit.ablation.record import RecordError
from m4kit.explore.canvas import contour_lines, landmark_colours
from m4kit.explore.controls import WRAP, ErrorLine, button, choice, legend, paragraph, row, slider
from m4kit.explore.explorer import AS_IN_PHOTO, MeshExplorer
from m4kit.explore.head_answers import COLOURS, GREY, Answer, Reference
from m4kit.explore.photo import small_jpeg
from m4kit.explore.simplex_picture import accuracy_html, accuracy_line, cuts_picture
from m4kit.explore.weight_sliders import WeightSliders, checked
from m4kit.images import jpeg
from m4kit.prediction import Face, Prediction
from m4kit.visualize import strokes

OWN, UNIFORM, BEST_MEASURED = "Network's own", "Uniform", "Best measured"
"""The presets besides each head alone."""

_TOGGLES = {
    "photo": ("Photo", True, ""),
    "mesh": ("Mesh", True, ""),
    "contours": ("Contours", True, ""),
    "landmarks": ("Landmarks", False, ""),
    "own": ("Own contours", True, ""),
}
_BEHIND = 1.0
_OPACITY = 0.65
_PHOTO_WIDTH, _CUT_WIDTH, _COLUMN = 260, 145, 336
_STILL_SIDE, _STILL_LINE = 300, 24


class HeadWeightExplorer(MeshExplorer):
    """Sliders for the weights of the heads, with mesh and landmarks following live on the photo.

    The sliders keep a sum of 1 (`WeightSliders`); presets set them at once. Text beside them says how far the present
    answer is from the network's own, and how accurate these weights are on labelled faces, interpolated between
    measured weights. That comes from a record of `m4kit ablate heads`: `study`, or its file, by default the packaged
    one. A record of other heads is not used, and the explorer says why.

    `weights` can also be set from code. What cannot be shown (no face, a face without its heads' outputs, invalid
    weights, no photo) is explained in its place; `errors` lists what went wrong in callbacks.
    """

    start = AS_IN_PHOTO

    def __init__(
        self, prediction: Prediction, *, study: HeadStudy | str | Path | None = None, height: int = 440
    ):
        layout = {"flex": "1 1 360px", "min_width": "320px"}
        super().__init__(height=height, toggles=_TOGGLES, photo=True, opacity=_OPACITY, layout=layout)
        self.canvas.still = self._mesh_still
        self.prediction = prediction
        self.count = _heads_of(prediction)
        self.study, self._refused = _fitting(study, prediction.network, self.count)
        self._reference: Reference | None = None
        self._photo_sent = False
        self._build_controls()
        self.on(self.face_choice, self._face_changed)
        self.on(self.colour, self._follow)
        self.on(self.opacity, lambda: setattr(self.canvas, "opacity", self.opacity.value))
        for name, control in self.presets.items():
            self.on(control, lambda name=name: self.sliders.set(self.preset(name)))
        top = WRAP | {"align_items": "flex-start"}
        weights = widgets.VBox(
            [self.sliders, row(*self.presets.values()), self.readout, self.legend],
            layout={"width": f"{_COLUMN}px"},
        )
        accuracy = {"flex": "1 1 400px", "min_width": "300px"}
        self.content = (
            row(self.face_choice, self.colour, *self.toggles.values()),
            widgets.HBox([self.canvas, self.notice, weights], layout=top),
            row(*self.camera_buttons.values(), self.opacity),
            widgets.HBox(
                [
                    widgets.VBox([self.photo, self.photo_notice]),
                    widgets.VBox([self.simplex, self.accuracy], layout=accuracy),
                ],
                layout=top,
            ),
        )
        self.guard(self._face_changed)()

    def _build_controls(self) -> None:
        heads = [f"Head {head + 1}" for head in range(self.count)]
        self.sliders = WeightSliders(heads, explorer=self, on_change=self._follow)
        faces = [(f"Face {k + 1}", k) for k in range(len(self.prediction))]
        self.face_choice = choice("Face", faces)
        self.colour = choice("Colour", list(COLOURS.items()))
        self.presets = {name: button(name) for name in (OWN, UNIFORM, BEST_MEASURED, *heads)}
        self.presets[BEST_MEASURED].disabled = self.study is None
        self.opacity = slider("Opacity", _OPACITY, 0.1, 1.0, 0.05, readout_format=".2f")
        self.notice, self.photo_notice = ErrorLine(), ErrorLine()
        self.legend, self.readout, self.accuracy = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.photo = widgets.Image(format="jpeg", layout={"width": f"{_PHOTO_WIDTH}px"})
        wide = {"width": f"{HEADS * _CUT_WIDTH}px", "max_width": "100%"}
        self.simplex = widgets.Image(format="jpeg", layout=wide)
        if len(faces) < 2:
            self.face_choice.layout.display = "none"
        if self.study is None:
            self.simplex.layout.display = "none"

    @property
    def face(self) -> Face | None:
        """The chosen face as the network predicted it; None if the prediction has none."""
        return self.prediction[self.face_choice.value] if len(self.prediction) else None

    @property
    def weights(self) -> np.ndarray:
        """The heads' weights (n,). Setting invalid weights changes nothing and shows why."""
        return self.sliders.weights

    @weights.setter
    def weights(self, weights) -> None:
        self.guard(self.sliders.set)(weights)

    @property
    def answer(self) -> Answer | None:
        """The chosen face under the present weights; None if it cannot be shown."""
        return self.under(self.weights)

    def under(self, weights) -> Answer | None:
        """The chosen face under weights (n,), without moving the sliders; None if it cannot be shown.

        Raises `ValueError` for invalid weights.
        """
        weights = checked(weights, self.count)
        return None if self._reference is None else self._reference.under(weights)

    def preset(self, name: str) -> np.ndarray:
        """The weights (n,) of a preset, by the name of its button.

        Raises `ValueError` for an unknown name, and if the prediction or the record does not have the preset.
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
            if self._reference is None:
                raise ValueError(f"{name}: expected a face with the weights of its heads, got none")
            return checked(self._reference.face.head_weights, self.count)
        return np.eye(self.count)[list(self.presets).index(name) - 3]

    def camera(self, name: str) -> np.ndarray:
        """The rotation (3, 3) of a camera position; "As in photo" is the front if there is no face."""
        if name != AS_IN_PHOTO:
            return super().camera(name)
        return np.eye(3) if self._reference is None else self._reference.frame.rotation

    def still(self) -> bytes:
        """Photo, mesh and cuts under the present weights as a JPEG, drawn without a browser."""
        answer, side = self.answer, _STILL_SIDE
        seen = []
        if answer is not None:
            if self._has_photo:
                seen.append(
                    (answer.photo(self.prediction.image, side=side), Path(self.prediction.source).name)
                )
            seen.append((answer.mesh(self.colour.value, side=side), self._weights_text()))
        if self.study is not None:
            cuts = np.split(cuts_picture(self.study, self.weights, side=side // 2), HEADS, axis=1)
            square = np.concatenate([np.concatenate(cuts[k : k + 2], axis=1) for k in (0, 2)])
            seen.append((square, accuracy_line(self.study, self.weights)))
        blank = np.full((side, side, 3), 255, np.uint8)
        return jpeg(_in_a_row(seen or [(blank, self.notice.text)]), quality=80)

    def describe(self) -> str:
        """One line that says what is explored."""
        return f"HeadWeightExplorer of {self.prediction.source}, {self._weights_text()}"

    def _weights_text(self) -> str:
        return "weights " + ", ".join(f"{weight:.2f}" for weight in self.weights)

    def _mesh_still(self) -> bytes:
        answer = self.answer
        return b"" if answer is None else jpeg(answer.mesh(self.colour.value, side=420), quality=82)

    def _face_changed(self) -> None:
        before, self._reference, fault = self._reference, None, ""
        try:
            self._reference = self._reference_of(self.face)
        except ValueError as error:
            fault = str(error)
        self.notice.show(fault)
        self.canvas.layout.display = "none" if fault else None
        self._photo_sent = False
        if self._reference is not None:
            self.canvas.set_triangles(self._reference.face.triangles)
            # A little behind, so that the present contours cover them in the same place.
            behind = _BEHIND * self._reference.frame.rotation[2]
            self._send_lines("own", self._reference.own.landmarks - behind, grey=True)
            self.reset()
            if self.canvas.show["photo"]:
                self._send_photo()
        # If the sliders show the network's own weights, they show those of the next face, which may differ.
        at_own = before is None or np.allclose(self.weights, before.face.head_weights, atol=1e-6)
        if self._reference is not None and at_own:
            self.sliders.set(self.preset(OWN))
        else:
            self._follow()

    def _toggled(self, name: str) -> None:
        needed = name == "photo" and self.canvas.show["photo"] and not self._photo_sent
        if needed and self._reference is not None:
            self._send_photo()

    def _send_photo(self) -> None:
        if self._has_photo:
            image = self.prediction.image
            self.canvas.set_photo(small_jpeg(image), self._reference.photo_plane(image))
            self._photo_sent = True

    def _send_lines(self, name: str, landmarks: np.ndarray, *, grey: bool = False) -> None:
        self.canvas.set_lines(
            name, *contour_lines(landmarks, colour=GREY if grey else None), width=1.6 if grey else 2.2
        )

    def _follow(self) -> None:
        """Send the answer under the present weights."""
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
            self.readout.value = answer.describe()
            self._show_photo(answer)
        self._show_accuracy()

    def _show_photo(self, answer: Answer | None) -> None:
        lost = answer is not None and not self._has_photo
        self.photo_notice.show(
            "The prediction has no photo: expected image (H, W, 3) uint8 RGB; predict the photo again." * lost
        )
        self.photo.layout.display = "none" if answer is None or lost else None
        if answer is not None and not lost:
            picture = answer.photo(self.prediction.image, side=2 * _PHOTO_WIDTH)
            self.photo.value = jpeg(picture, quality=85)

    def _show_accuracy(self) -> None:
        if self.study is None:
            self.accuracy.value = paragraph(
                f"The accuracy of these weights is not known: {html.escape(self._refused)}"
            )
            return
        self.simplex.value = jpeg(cuts_picture(self.study, self.weights), quality=92)
        self.accuracy.value = accuracy_html(self.study, self.weights)

    @property
    def _has_photo(self) -> bool:
        image = self.prediction.image
        return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,)

    def _reference_of(self, face: Face | None) -> Reference:
        """The reference of a face; raises `ValueError` that says why it cannot be shown."""
        if face is None:
            raise ValueError(
                f"{self.prediction.source}: expected a prediction with at least one face, got none; try a larger "
                "photo, a smaller min_face, or give predict the boxes"
            )
        reference = Reference(face)
        if len(face.heads) != self.count:
            raise ValueError(
                f"expected a face with {self.count} heads like the first, got {len(face.heads)}; explore it in a "
                "prediction of its own"
            )
        return reference


def _heads_of(prediction: Prediction) -> int:
    """The number of heads of the first face that has any."""
    for face in prediction:
        if np.ndim(getattr(face, "heads", None)) == 2 and len(face.heads):
            return len(face.heads)
    return HEADS


def _fitting(study: HeadStudy | str | Path | None, network: str, heads: int) -> tuple[HeadStudy | None, str]:
    """The study, by default the packaged one, if it was made with the prediction's heads; else None, and why."""
    try:
        record = HeadStudy.packaged() if study is None else study
        record = record if isinstance(record, HeadStudy) else HeadStudy.load(record)
        check_heads_of(record, network=network, heads=heads)
    except RecordError as error:
        return None, str(error)
    return record, ""


def _in_a_row(pictures: Sequence[tuple[np.ndarray, str]]) -> np.ndarray:
    """Put pictures (H, W, 3) uint8 RGB side by side, as tall as the first, each with a line of text below."""
    height, columns = pictures[0][0].shape[0], []
    for picture, text in pictures:
        column = np.full((height + _STILL_LINE, picture.shape[1], 3), 255, dtype=np.uint8)
        column[: len(picture)] = picture[: len(column)]
        place = (picture.shape[1] / 2, height + _STILL_LINE / 2)
        strokes.words(column, text or " ", place, height=12, colour=(36, 41, 47), halo=(255, 255, 255))
        columns.append(column)
    return np.concatenate(columns, axis=1)
