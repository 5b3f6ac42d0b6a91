"""`PhotoInDepth`: one photo and its degraded copy side by side, with a slider and both meshes in 3D."""

from __future__ import annotations

from functools import cached_property

import cv2
import ipywidgets as widgets
import numpy as np

from m4kit import metrics
from m4kit.boxes import HIT_IOU, pairwise_iou
from m4kit.conditions import CONDITIONS, HARDEST, degrade, scene_depth
from m4kit.confidence import signs
from m4kit.confidence.failure import probabilities_of
from m4kit.explore.controls import choice, faded, legend, row, show_if, slider
from m4kit.explore.explorer import MeshExplorer
from m4kit.explore.photo import face_choice, picture_html
from m4kit.head_frame import HeadFrame
from m4kit.images import jpeg
from m4kit.prediction import Face, Prediction
from m4kit.predictor import Predictor
from m4kit.vertex_colours import clay, scalar_colours
from m4kit.views import PredictCrops, crop_predictor
from m4kit.visualize.drawing import draw_boxes, draw_landmarks, draw_mesh, draw_pose

PHOTO_SIDE = 480
"""Longest side in pixels of a simulation, so that a step of the slider takes less than half a second."""

_DRAWINGS = {
    "landmarks": draw_landmarks,
    "pose": draw_pose,
    "translucent mesh": lambda image, faces: draw_mesh(image, faces, opacity=0.55),
    "solid mesh": draw_mesh,
    "boxes": draw_boxes,
    "none": lambda image, faces: image,
}


class PhotoInDepth(MeshExplorer):
    """A photo beside its degraded copy, with what is found in each, and both meshes of one face.

    `show(image)` sets the photo; sliders choose condition, severity and seed, and everything follows. `clean` and
    `worse` are the predictions of the two pictures. The checked failure probability is that of a scene report, on the
    photo at its full size. A simulation at other settings works on a copy of at most `PHOTO_SIDE` pixels.
    """

    def __init__(self, predictor: Predictor):
        super().__init__(height=330, toggles={}, layout={"width": "100%"})
        self.canvas.show = {"mesh": True}
        self.predictor = predictor
        self.clean: Prediction | None = None
        self.worse: Prediction | None = None
        self._copy: Prediction | None = None
        self._given: tuple[tuple, Prediction, str] | None = None
        self._depth: np.ndarray | None = None
        self._near: tuple[float, float] | None = None
        self._name = "clean"
        self.condition = choice("Condition", CONDITIONS)
        self.severity = slider("Severity", 3.0, 0.0, HARDEST, 0.25, readout_format=".2f")
        self.seed = widgets.BoundedIntText(
            0,
            min=0,
            max=2**32 - 1,
            description="Seed",
            style={"description_width": "initial"},
            layout={"width": "160px"},
        )
        self.overlay = choice("Overlay", list(_DRAWINGS))
        self.face_choice = face_choice(())
        self.pictures = [widgets.HTML() for _ in range(2)]
        self.captions = [widgets.HTML().add_class("m4kit-caption") for _ in range(2)]
        self.meshes = widgets.VBox([self.canvas, row(*self.camera_buttons.values(), label="View")])
        self.legend = widgets.HTML()
        for control in (self.condition, self.severity, self.seed):
            self.on(control, self._degrade)
        self.on(self.overlay, self._draw)
        self.on(self.face_choice, self._choose)
        # Captions of different length stand above pictures at the same height.
        column = {"flex": "1 1 300px", "min_width": "260px", "justify_content": "flex-end"}
        sides = [
            widgets.VBox([caption, picture], layout=column)
            for caption, picture in zip(self.captions, self.pictures, strict=True)
        ]
        self.content = (
            row(self.face_choice, self.condition, self.severity, self.seed, self.overlay),
            widgets.HBox(sides, layout={"flex_flow": "row wrap", "grid_gap": "0 12px"}),
            self.meshes,
            self.legend,
        )

    def show(
        self,
        image: np.ndarray,
        *,
        degraded: np.ndarray | None = None,
        condition: str | None = None,
        severity: float | None = None,
        seed: int | None = None,
        near: tuple[float, float] | None = None,
        name: str = "clean",
        degraded_name: str = "",
    ) -> None:
        """Show a photo (H, W, 3) uint8 RGB, called `name`; settings that are not given stay as they were.

        `degraded` (H, W, 3) is the same photo at the given settings, if it is known; it is shown until they change,
        as `degraded_name`, by default the settings.
        `near` (x, y), in shares of the photo's width and height, chooses the face, by default the largest. Among
        several faces, a box marks it, and a list offers the others.
        """
        with self.lock:
            self.clean, self._near, self._name = self.predictor(image), near, name
            self._copy = self.clean if max(image.shape[:2]) <= PHOTO_SIDE else None
            self._depth = None
            wanted = ((self.condition, condition), (self.severity, severity), (self.seed, seed))
            with self.together():
                for control, value in wanted:
                    if value is not None:
                        control.value = value
                self.face_choice.options = [(f"Face {k + 1}", k) for k in range(len(self.clean))]
                show_if(len(self.clean) > 1, self.face_choice)
                if self.clean:
                    self.face_choice.value = self.clean.index(self._chosen(self.clean))
            self._given = None
            if degraded is not None:
                self._given = (self._settings(), self.predictor(degraded), degraded_name)
            self._draw_clean()
            self._degrade()

    @property
    def faces(self) -> tuple[Face | None, Face | None]:
        """The chosen face in the clean and in the degraded photo; None where it is not found."""
        return self._chosen(self.clean), self._other()

    def _choose(self) -> None:
        """Show the face of the list."""
        height, width = self.clean.image.shape[:2]
        x, y = _middle(self.clean[self.face_choice.value])
        self._near = (x / width, y / height)
        self._draw()
        self._mesh()

    def _settings(self) -> tuple[str, float, int]:
        return self.condition.value, self.severity.value, self.seed.value

    def _reference(self) -> Prediction:
        """The prediction of the clean photo at the size of the degraded one."""
        return self.clean if self._is_given() else self._copy

    def _is_given(self) -> bool:
        return self._given is not None and self._given[0] == self._settings()

    def _chosen(self, prediction: Prediction) -> Face | None:
        if not prediction:
            return None
        if self._near is None:
            return prediction[0]
        height, width = prediction.image.shape[:2]
        place = np.array(self._near) * [width, height]
        return min(prediction, key=lambda face: float(np.linalg.norm(_middle(face) - place)))

    def _other(self) -> Face | None:
        """The chosen face in the degraded photo."""
        own = self._chosen(self._reference())
        if own is None or not self.worse:
            return None
        boxes = np.array([np.asarray(face.box)[:4] for face in self.worse])
        overlap = pairwise_iou(np.asarray(own.box)[None, :4], boxes)[0]
        return self.worse[int(overlap.argmax())] if overlap.max() >= HIT_IOU else None

    def _degrade(self) -> None:
        if self.clean is None:
            return
        if self._is_given():
            self.worse = self._given[1]
        else:
            self._simulate()
        self._draw_worse()
        self._mesh()

    def _simulate(self) -> None:
        if self._copy is None:
            image = self.clean.image
            scale = PHOTO_SIDE / max(image.shape[:2])
            self._copy = self.predictor(
                cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            )
        if self._depth is None and len(self._copy):
            self._depth = scene_depth(self._copy.image.shape, self._copy.faces)
        condition, severity, seed = self._settings()
        self.worse = self.predictor(
            degrade(self._copy.image, condition, severity, seed=seed, depth=self._depth)
        )

    def _draw(self) -> None:
        if self.worse is not None:
            self._draw_clean()
            self._draw_worse()

    def _draw_clean(self) -> None:
        own = self._chosen(self.clean)
        self.pictures[0].value = self._picture(self._name, self.clean, own)
        self.captions[0].value = self._caption(self._name, self.clean, own)

    def _draw_worse(self) -> None:
        other, reference = self._other(), self._chosen(self._reference())
        copied = "" if self._is_given() or self._copy is self.clean else f", on a copy of {PHOTO_SIDE} px"
        self.pictures[1].value = self._picture(self._title, self.worse, other)
        self.captions[1].value = self._caption(self._title + copied, self.worse, other, against=reference)

    def _picture(self, title: str, prediction: Prediction, chosen: Face | None) -> str:
        """The photo with the overlay, as HTML."""
        # Fine lines need large pictures.
        resized = prediction.resized(PHOTO_SIDE / max(prediction.image.shape[:2]))
        drawn = _DRAWINGS[self.overlay.value](resized.image, resized.faces)
        if len(resized) > 1 and chosen is not None:
            drawn = draw_boxes(drawn, resized[prediction.index(chosen)], scores=False)
        alt = f"The photo, {title}, {_found(prediction)}"
        return picture_html(jpeg(drawn, quality=85), kind="jpeg", alt=alt, width="100%")

    @property
    def _title(self) -> str:
        named = self._given[2] if self._is_given() else ""
        return named or f"{self.condition.value} {self.severity.value:g}"

    def _caption(
        self, title: str, prediction: Prediction, face: Face | None, *, against: Face | None = None
    ) -> str:
        """The caption of a picture: drift `against` the clean photo's face, probability and warnings."""
        if face is None:
            rest = "" if against is None else ", this one is missed"
            return f"<b>{title}</b>: {_found(prediction)}{rest}"
        parts = []
        if against is not None:
            drift = float(metrics.nme(face.landmarks[:, :2], against.landmarks[:, :2]))
            parts.append(f"drift {drift:.1f} %")
        if (probability := self._probability(face)) is not None:
            parts.append(f"checked failure probability {100 * probability:.0f} %")
        parts.append(f"score {face.box.score:.2f}")
        return f"<b>{title}</b>: {', '.join([*parts, *face.reasons])}"

    def _probability(self, face: Face) -> float | None:
        """The checked failure probability, as in a scene report."""
        if face.failure_probability is None:
            return None
        return probabilities_of([face], signs.of_faces([face], self._predict_crops), names="all")[0]

    @cached_property
    def _predict_crops(self) -> PredictCrops:
        predictor = self.predictor
        return crop_predictor(predictor.engine, predictor.model, views=predictor.views)

    def _mesh(self) -> None:
        own, other = self._chosen(self._reference()), self._other()
        show_if(own is not None, self.meshes)
        if own is None:
            self.canvas.set_panels([])
            self.legend.value = faded(
                f"No face is found in the photo, {self._name}: there is no mesh to compare."
            )
            return
        shown = [(own, None)] if other is None else [(own, None), (other, own)]
        titles = [self._name, self._title]
        self.canvas.set_panels(
            titles[: len(shown)] if len(shown) > 1 else [f"{self._name}; not found in {titles[1]}"]
        )
        self.canvas.label = "3D view of the face: " + " and ".join(titles[: len(shown)])
        for panel, (face, reference) in enumerate(shown):
            self.canvas.set_mesh(HeadFrame.of(face).from_photo(face.vertices), face.triangles, panel=panel)
            if reference is None:
                self.canvas.set_colours(clay(face.model).colours, panel=panel)
                continue
            distance = np.linalg.norm(face.shape - reference.shape, axis=1)
            found = scalar_colours(
                distance, unit="mm from the clean photo's face", limits=(0.0, max(3.0, float(distance.max())))
            )
            self.canvas.set_colours(found.colours, panel=panel)
            self.legend.value = legend(found)
        if other is None:
            self.legend.value = ""


def _found(prediction: Prediction) -> str:
    return f"{len(prediction)} face{'s' * (len(prediction) != 1)} found"


def _middle(face: Face) -> np.ndarray:
    return np.array([face.box.left + face.box.right, face.box.top + face.box.bottom]) / 2
