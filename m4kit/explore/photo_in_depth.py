"""`PhotoInDepth`: one photo and its degraded copy side by side, with a slider and both meshes in 3D."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import ipywidgets as widgets
import numpy as np

from m4kit import metrics
from m4kit.boxes import HIT_IOU, pairwise_iou
from m4kit.conditions import CONDITIONS, HARDEST, degrade, scene_depth
from m4kit.explore.controls import choice, legend, row, slider
from m4kit.explore.explorer import MeshExplorer
from m4kit.head_frame import HeadFrame
from m4kit.images import jpeg
from m4kit.prediction import Face, Prediction
from m4kit.predictor import Predictor
from m4kit.vertex_colours import clay, scalar_colours
from m4kit.visualize.drawing import draw_boxes, draw_landmarks, draw_mesh, draw_pose

PHOTO_SIDE = 480
"""Longest side in pixels to which the photo is scaled, so that a step of the slider takes about 300 ms."""

_DRAWINGS = {
    "landmarks": draw_landmarks,
    "pose": draw_pose,
    "translucent mesh": lambda image, faces: draw_mesh(image, faces, opacity=0.55),
    "solid mesh": draw_mesh,
    "boxes": draw_boxes,
    "none": lambda image, faces: image,
}


class PhotoInDepth(MeshExplorer):
    """A photo beside its degraded copy, with what is found in each, and both meshes of the largest face.

    `show(image)` sets the photo; sliders choose condition, severity and seed, and everything follows. `clean` and
    `worse` are the predictions of the two pictures.
    """

    def __init__(self, predictor: Predictor, *, height: int = 330):
        super().__init__(height=height, toggles={}, layout={"width": "100%"})
        self.canvas.show = {"mesh": True}
        self.predictor = predictor
        self.clean: Prediction | None = None
        self.worse: Prediction | None = None
        self._depth: np.ndarray | None = None
        self._near: tuple[float, float] | None = None
        self.condition = choice("Condition", CONDITIONS)
        self.severity = slider("Severity", 3.0, 0.0, HARDEST, 0.25, readout_format=".2f")
        self.seed = widgets.BoundedIntText(
            0, min=0, max=2**32 - 1, description="Seed", layout={"width": "200px"}
        )
        self.overlay = choice("Overlay", list(_DRAWINGS))
        picture = {"width": "100%", "object_fit": "contain"}
        self.pictures = [widgets.Image(format="jpeg", layout=picture) for _ in range(2)]
        self.captions = [widgets.HTML().add_class("m4kit-caption") for _ in range(2)]
        self.legend = widgets.HTML()
        for control in (self.condition, self.severity, self.seed):
            self.on(control, self._degrade)
        self.on(self.overlay, self._draw)
        column = {"flex": "1 1 300px", "min_width": "260px"}
        sides = [
            widgets.VBox([caption, picture], layout=column)
            for caption, picture in zip(self.captions, self.pictures, strict=True)
        ]
        self.content = (
            row(self.condition, self.severity, self.seed, self.overlay),
            widgets.HBox(sides, layout={"flex_flow": "row wrap"}),
            self.canvas,
            self.legend,
        )

    def show(
        self,
        image: np.ndarray,
        *,
        condition: str | None = None,
        severity: float | None = None,
        seed: int | None = None,
        near: tuple[float, float] | None = None,
    ) -> None:
        """Show a clean photo (H, W, 3) uint8 RGB; what is not given stays as it was.

        `near` (x, y), in shares of the photo's width and height, chooses the face, by default the largest; among
        several faces, a box marks it.
        """
        scale = min(1.0, PHOTO_SIDE / max(image.shape[:2]))
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        self.clean, self._near = self.predictor(image), near
        self._depth = scene_depth(image.shape, self.clean.faces) if len(self.clean) else None
        wanted = ((self.condition, condition), (self.severity, severity), (self.seed, seed))
        with self.together():
            for control, value in wanted:
                if value is not None:
                    control.value = value
        self._degrade()

    @property
    def faces(self) -> tuple[Face | None, Face | None]:
        """The chosen face in the clean and in the degraded photo; None where it is not found."""
        if not self.clean:
            return None, None
        own = self.clean[0]
        if self._near is not None:
            height, width = self.clean.image.shape[:2]
            place = np.array(self._near) * [width, height]
            own = min(self.clean, key=lambda face: float(np.linalg.norm(_middle(face) - place)))
        if not self.worse:
            return own, None
        boxes = np.array([np.asarray(face.box)[:4] for face in self.worse])
        overlap = pairwise_iou(np.asarray(own.box)[None, :4], boxes)[0]
        return own, self.worse[int(overlap.argmax())] if overlap.max() >= HIT_IOU else None

    def _degrade(self) -> None:
        if self.clean is None:
            return
        image = degrade(
            self.clean.image,
            self.condition.value,
            self.severity.value,
            seed=self.seed.value,
            depth=self._depth,
        )
        self.worse = self.predictor(image)
        self._draw()
        self._mesh()

    def _draw(self) -> None:
        if self.clean is None or self.worse is None:
            return
        draw: Callable = _DRAWINGS[self.overlay.value]
        own, other = self.faces
        for prediction, chosen, picture in zip(
            (self.clean, self.worse), (own, other), self.pictures, strict=True
        ):
            # Fine lines need large pictures.
            resized = prediction.resized(max(1.0, PHOTO_SIDE / max(prediction.image.shape[:2])))
            drawn = draw(resized.image, resized.faces)
            if len(resized) > 1 and chosen is not None:
                number = next(k for k, face in enumerate(prediction) if face is chosen)
                drawn = draw_boxes(drawn, resized[number], scores=False)
            picture.value = jpeg(drawn, quality=85)
        self.captions[0].value = _caption("clean", self.clean, own)
        title = f"{self.condition.value} {self.severity.value:g}"
        self.captions[1].value = _caption(title, self.worse, other, against=own)

    def _mesh(self) -> None:
        own, other = self.faces
        if own is None:
            self.canvas.set_panels([])
            self.legend.value = ""
            return
        shown = [(own, None)] if other is None else [(own, None), (other, own)]
        titles = ["clean", f"{self.condition.value} {self.severity.value:g}"]
        self.canvas.set_panels(
            titles[: len(shown)] if len(shown) > 1 else [f"clean; not found in {titles[1]}"]
        )
        for panel, (face, reference) in enumerate(shown):
            self.canvas.set_mesh(HeadFrame.of(face).from_photo(face.vertices), face.triangles, panel=panel)
            if reference is None:
                self.canvas.set_colours(clay(len(face.shape)).colours, panel=panel)
                continue
            distance = np.linalg.norm(face.shape - reference.shape, axis=1)
            found = scalar_colours(
                distance, unit="mm from the clean photo's", limits=(0.0, max(3.0, float(distance.max())))
            )
            self.canvas.set_colours(found.colours, panel=panel)
            self.legend.value = legend(found)
        if other is None:
            self.legend.value = ""


def _middle(face: Face) -> np.ndarray:
    return np.array([face.box.left + face.box.right, face.box.top + face.box.bottom]) / 2


def _caption(title: str, prediction: Prediction, face: Face | None, *, against: Face | None = None) -> str:
    """The caption of a picture: drift `against` the clean photo's face, failure probability and warnings."""
    if face is None:
        found = f"{len(prediction)} face{'s' * (len(prediction) != 1)} found"
        rest = "" if against is None else ", this one is missed"
        return f"<b>{title}</b>: {found}{rest}"
    parts = []
    if against is not None:
        parts.append(f"drift {float(metrics.nme(face.landmarks[:, :2], against.landmarks[:, :2])):.1f} %")
    if face.failure_probability is not None:
        parts.append(f"failure probability {100 * face.failure_probability:.0f} %")
    parts.append(f"score {face.box.score:.2f}")
    return f"<b>{title}</b>: {', '.join([*parts, *face.reasons])}"
