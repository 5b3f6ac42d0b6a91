"""`MeshViewer`: the faces of a prediction as live 3D meshes in a notebook."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
from PIL import Image

from m4kit.camera import rotation_from_euler
from m4kit.checks import check_whole
from m4kit.explore.canvas import contour_lines, pose_axes
from m4kit.explore.controls import (
    COLOUR_LABELS,
    SIDE_WIDTH,
    button,
    choice,
    faded,
    legend,
    row,
    show_if,
    slider,
)
from m4kit.explore.explorer import AS_IN_PHOTO, MeshExplorer
from m4kit.explore.photo import (
    check_prediction,
    face_choice,
    picture_html,
    thumbnail,
)
from m4kit.head_frame import HeadFrame
from m4kit.images import jpeg
from m4kit.landmarks import landmark_colours
from m4kit.live import MARK, prediction_page
from m4kit.prediction import Face, Prediction
from m4kit.vertex_colours import (
    MODES,
    VertexColours,
    on_one_scale,
    scalar_colours,
    vertex_colours,
)
from m4kit.visualize.legend import with_legend
from m4kit.visualize.mesh_picture import clear_still, framing, mesh_still
from m4kit.visualize.pictures import small_png

COMPARISONS = {"One face": "one", "Side by side": "side", "Difference": "difference"}

_TOGGLES = {
    "mesh": ("Mesh", True, "The face's surface"),
    "head": ("Head", False, "The whole head, with ears, neck and teeth"),
    "wireframe": ("Wireframe", False, "The edges of all triangles"),
    "landmarks": ("Landmarks", False, "The 68 points"),
    "contours": ("Contours", True, "Lines through the 68 points"),
    "axes": ("Axes", False, "The head's own axes: x red, y green, z blue"),
    "photo": ("Photo", False, "The photo, behind the face"),
    "over": ("Other face", True, "The other face of the comparison, behind the first"),
}
_SHADING = {"clay": 1.0, "texture": 0.35}
# Weak enough that colours still match their legend.
_COLOUR_SHADING = 0.55
_CACHED_COLOURS = 16
_STILL_SIDE = 420
_HINT = "Click the face to read a vertex."


class Shown(NamedTuple):
    """A panel's content: a title, a face, and the prediction with the face's photo."""

    title: str
    face: Face
    prediction: Prediction


class MeshViewer(MeshExplorer):
    """The faces of a prediction in 3D: drag to turn, wheel to zoom, shift and drag to move, click to read a vertex.

    `other` is a second prediction to compare with, of the same faces in the same order: from other head weights,
    another network, or a degraded photo. Without it, faces of the same prediction can be compared.

    When the face or anything else changes, the camera stays where the user left it; a face seen as in the photo is
    followed by the next one as in the photo. Side by side, "As in photo" shows each face as in its own photo.
    `errors` lists what went wrong in callbacks; the viewer shows the last one and goes on.

    Raises `ValueError` for a prediction without faces, and `TypeError` for something other than a prediction.
    """

    def __init__(self, prediction: Prediction, *, other: Prediction | None = None, height: int = 460):
        check_prediction(prediction, name="MeshViewer")
        if other is not None:
            check_prediction(other, name="MeshViewer, other")
        layout = {"flex": "1 1 420px", "min_width": "320px"}
        super().__init__(height=height, toggles=_TOGGLES, photo=True, layout=layout)
        self.prediction, self.other = prediction, other
        self._clicked: tuple[int, int] | None = None
        # A texture takes a tenth of a second; colours that were shown before come back at once.
        self._known_colours = lru_cache(_CACHED_COLOURS)(
            lambda face, mode, prediction: vertex_colours(face, mode, image=prediction.image)
        )
        self._build_controls()
        self._connect()
        column = {"flex": f"0 0 {SIDE_WIDTH + 8}px", "margin": "0 0 0 8px", "grid_gap": "6px"}
        beside = widgets.VBox([self.photo, self.legend, self.readout, self.film], layout=column)
        self.content = (
            row(self.face_choice, self.colour, self.compare, self.partner),
            widgets.HBox([self.canvas, beside], layout={"flex_flow": "row wrap"}),
            row(*self.toggles.values(), self.opacity, label="Show"),
            row(*self.camera_buttons.values(), self.spin, label="View"),
        )
        self.reset()
        self.guard(self._draw)()

    def _build_controls(self) -> None:
        self.face_choice = face_choice(self.prediction)
        labels = [(COLOUR_LABELS.get(mode, mode.capitalize()), mode) for mode in MODES]
        self.colour = choice("Colour", labels)
        self.partner = choice("with", self._partners(0), tooltip="The face to compare with")
        self.compare = widgets.ToggleButtons(
            options=list(COMPARISONS.items()), style={"button_width": "auto"}
        )
        self.opacity = slider("Opacity", 1.0, 0.1, 1.0, 0.05, width="160px", readout=False)
        self.spin = button(
            "Turntable GIF", tooltip="Save an animation of the face turning, beside the notebook, and show it"
        )
        self.photo, self.legend, self.readout, self.film = (widgets.HTML() for _ in range(4))
        show_if(bool(self.partner.options), self.compare)
        heads = any(face.model.has_head for face in (*self.prediction, *(self.other or ())))
        show_if(heads, self.toggles["head"])

    def _connect(self) -> None:
        self.on(self.face_choice, self._face_changed)
        self.on(self.colour, self._draw_colours)
        self.on(self.partner, self._draw)
        self.on(self.compare, self._draw)
        self.on(self.opacity, lambda: setattr(self.canvas, "opacity", self.opacity.value))
        self.on(self.spin, self._save_turntable)
        self.canvas.on_click = self.guard(self._click)
        self.canvas.show = self.canvas.show | {"mark": True}

    @property
    def face(self) -> Face:
        """The chosen face."""
        return self.prediction[self.face_choice.value]

    @property
    def shown(self) -> list[Shown]:
        """What the panels show; in a difference, the second face lies behind the first."""
        first = Shown(f"Face {self.face_choice.value + 1}", self._whole(self.face), self.prediction)
        if self.compare.value == "one":
            return [first]
        prediction, number = self.partner.value
        return [first, Shown(self.partner.label, self._whole(prediction[number]), prediction)]

    def _whole(self, face: Face) -> Face:
        """The face with its head, if the head is to be shown and the face's model has one."""
        return face.head if self.toggles["head"].value and face.model.has_head else face

    def camera(self, name: str) -> np.ndarray:
        """Return the rotation (3, 3) of a camera position."""
        return HeadFrame.of(self.face).rotation if name == AS_IN_PHOTO else super().camera(name)

    def look(self, name: str) -> None:
        """Turn the camera to the position of one of the buttons; zoom and pan go back."""
        before = self._photo_view is None
        super().look(name)
        if self.compare.value == "side" and before != (self._photo_view is None):
            self._draw()

    def still(self) -> bytes:
        """Draw the faces from the front, with their legend, as a PNG without a background, without a browser."""
        coloured, _ = self._coloured()
        shown = self.shown if self.compare.value == "side" else self.shown[:1]
        side = _STILL_SIDE if len(shown) == 1 else _STILL_SIDE * 3 // 4
        pictures = [
            clear_still(one.face.model, _upright(one.face), colours, rotation=np.eye(3), side=side)
            for one, colours in zip(shown, coloured, strict=False)
        ]
        return small_png(np.hstack(pictures))

    def turntable(self, path: str | Path | None = None, *, frames: int = 36, side: int = 320) -> bytes:
        """Draw an animated GIF of the face that turns to both sides and back, and write it to `path`, if given.

        It has `frames` pictures of `side` x `side` pixels for 70 ms each, in the chosen colours.
        """
        frames = check_whole(frames, "turntable: frames", least=1)
        side = check_whole(side, "turntable: side, pixels", least=16)
        angles = 75 * np.sin(np.linspace(0, 2 * np.pi, frames, endpoint=False))
        (colours, *_), _ = self._coloured()
        face = self.shown[0].face
        vertices, pictures = _upright(face), []
        for angle in angles:
            rotation = rotation_from_euler(angle, 0, 0)
            picture = mesh_still(face.model, vertices, colours, rotation=rotation, side=side)
            pictures.append(Image.fromarray(with_legend(picture, colours)))
        film = io.BytesIO()
        looks = {"append_images": pictures[1:], "duration": 70, "loop": 0, "optimize": True}
        pictures[0].save(film, format="GIF", save_all=True, **looks)
        content = film.getvalue()
        if path is not None:
            Path(path).write_bytes(content)
        return content

    def page(self) -> str:
        """Make the page of `to_html`: the faces with the present colour, layers and comparison."""
        beside = {}
        if self.compare.value != "one":
            prediction, number = self.partner.value
            beside["beside"] = number + (0 if prediction is self.prediction else len(self.prediction))
        return prediction_page(
            self.prediction,
            other=self.other,
            still=self.still(),
            face=self.face_choice.value,
            colour="moved" if self.compare.value == "difference" else self.colour.value,
            show={name: control.value for name, control in self.toggles.items()},
            **beside,
        )

    def describe(self) -> str:
        count = len(self.prediction)
        return f"MeshViewer of {self.prediction.source}, {count} {'face' if count == 1 else 'faces'}"

    def _partners(self, number: int) -> list[tuple[str, tuple[Prediction, int]]]:
        """The faces that face `number` can be compared with."""
        own = [(f"Face {k + 1}", (self.prediction, k)) for k in range(len(self.prediction)) if k != number]
        if self.other is None or number >= len(self.other):
            return own
        return [("Other prediction", (self.other, number)), *own]

    def _face_changed(self) -> None:
        partner = self.partner.label
        with self.together():
            self.partner.options = self._partners(self.face_choice.value)
            if any(label == partner for label, _ in self.partner.options):
                self.partner.label = partner
        self.film.value = ""
        self.follow_photo()
        self._draw()

    def _toggled(self, name: str) -> None:
        if name == "head":
            self._draw()
        if name == "photo" and self.canvas.show["photo"]:
            self._send_photos()

    def _save_turntable(self) -> None:
        stem = re.sub(r"\W+", "_", Path(self.prediction.source).stem).strip("_") or "photo"
        stem = f"{stem}_face_{self.face_choice.value + 1}"
        label, self.spin.description, self.spin.disabled = self.spin.description, "Drawing \u2026", True
        try:
            content = self.turntable()
            path = _free_path(Path.cwd() / f"{stem}.gif", content)
            path.write_bytes(content)
        finally:
            self.spin.description, self.spin.disabled = label, False
        picture = picture_html(content, kind="gif", alt="The face turning", save_as=path.name)
        self.film.value = picture + faded(f"Saved as {path}")

    def _draw(self) -> None:
        """Send meshes, colours, marks and photos of all panels."""
        panels = self.shown
        over = self.compare.value == "difference"
        show_if(len(panels) > 1, self.partner)
        show_if(over, self.toggles["over"])
        self.canvas.set_panels([one.title for one in panels] if len(panels) > 1 else [""], over=over)
        middle, self.canvas.extent = framing(panels[0].face.model)
        self.canvas.centre = middle.tolist()
        for number, one in enumerate(panels):
            frame = self._frame(one)
            vertices, closed = frame.from_photo(one.face.vertices), one.face.model.is_head
            self.canvas.set_mesh(vertices, one.face.triangles, panel=number, closed=closed)
            if not (over and number):
                landmarks = frame.from_photo(one.face.landmarks)
                axes = pose_axes(frame.rotation.T @ one.face.rotation, landmarks[30])
                self.canvas.set_points("landmarks", landmarks, landmark_colours(), panel=number)
                self.canvas.set_lines("contours", *contour_lines(landmarks), panel=number, width=2.2)
                self.canvas.set_lines("axes", *axes, panel=number, width=3.0)
        # The clicked vertex stays clicked if the new face has it.
        if self._clicked is not None:
            panel, vertex = self._clicked
            if panel >= (1 if over else len(panels)) or vertex >= len(panels[panel].face.vertices):
                self._clicked = None
        self._send_marks()
        self._show_thumbnail()
        self._draw_colours()
        if self.canvas.show["photo"]:
            self._send_photos()

    def _frame(self, one: Shown) -> HeadFrame:
        """The frame in which a face is shown: in the middle, also if its model has its origin elsewhere."""
        frame = HeadFrame.of(one.face)
        if not one.face.model.is_head:
            off = framing(one.face.model).centre - framing(self.face.model).centre
            frame = replace(frame, origin=frame.to_photo(off))
        if self._photo_view is None or self.compare.value != "side":
            return frame
        # Under the first face's camera, the second one is as in its own photo, too.
        return replace(frame, rotation=self.camera(AS_IN_PHOTO))

    def _draw_colours(self) -> None:
        """Send the colours of all panels; raise the reason if a face is shown in clay instead."""
        difference = self.compare.value == "difference"
        mode = "difference" if difference else self.colour.value
        self.colour.disabled = difference
        self.canvas.shading = _SHADING.get(mode, _COLOUR_SHADING)
        coloured, reason = self._coloured()
        for number, one in enumerate(coloured):
            self.canvas.set_colours(one.colours, panel=number)
        self.legend.value = legend(coloured[0])
        titles = " and ".join(one.title.lower() for one in self.shown)
        self.canvas.label = f"3D view of {titles}, colour: {mode}"
        self._show_reading()
        if reason is not None:
            raise reason

    def _coloured(self) -> tuple[list[VertexColours], ValueError | None]:
        """Colours of all panels on one scale; and the reason, if a face cannot have them and is in clay instead."""
        coloured, reason = [], None
        for one in self.shown:
            try:
                coloured.append(self._colours(one))
            except ValueError as error:
                coloured.append(vertex_colours(one.face, "clay"))
                reason = error
        return on_one_scale(coloured), reason

    def _colours(self, one: Shown) -> VertexColours:
        if self.compare.value != "difference":
            return self._known_colours(one.face, self.colour.value, one.prediction)
        first, second = self.shown
        if one.face is not first.face:
            return vertex_colours(one.face, "clay")
        if first.face.shape.shape != second.face.shape.shape:
            raise ValueError(
                f"expected two faces of one model, got {len(first.face.shape)} and {len(second.face.shape)} "
                "vertices; show them side by side"
            )
        distance = np.linalg.norm(first.face.shape - second.face.shape, axis=1)
        return scalar_colours(distance, unit=f"mm from {second.title.lower()}")

    def _send_photos(self) -> None:
        for panel, one in enumerate(self.shown):
            depth = one.face.vertices[:, 2].min()
            self.canvas.set_photo(one.prediction.image, self._frame(one), depth=depth, panel=panel)

    def _click(self, panel: int, vertex: int | None) -> None:
        self._clicked = None if vertex is None else (panel, vertex)
        self._send_marks()
        self._show_thumbnail()
        self._show_reading()

    def _send_marks(self) -> None:
        """Mark the clicked vertex in all panels."""
        _, vertex = self._clicked or (0, None)
        for number, one in enumerate(self.shown):
            places = np.zeros((0, 3))
            if vertex is not None and vertex < len(one.face.vertices):
                places = self._frame(one).from_photo(one.face.vertices[[vertex]])
            self.canvas.set_points(
                "mark", places, np.tile(np.uint8(MARK), (len(places), 1)), panel=number, width=12
            )

    def _show_reading(self) -> None:
        if self._clicked is None:
            self.readout.value = faded(_HINT)
            return
        panel, vertex = self._clicked
        one = self.shown[panel]
        x, y, _ = one.face.vertices[vertex]
        right, up, forward = one.face.shape[vertex]
        regions = [name.replace("_", " ") for name, mask in one.face.model.regions.items() if mask[vertex]]
        lines = [
            f"<b>{one.title}, vertex {vertex}</b>",
            f"region: {', '.join(regions) or 'none'}",
            f"photo: {x:.1f}, {y:.1f} px",
            f"model: {right:.1f}, {up:.1f}, {forward:.1f} mm",
        ]
        try:
            coloured = self._colours(one)
        except ValueError:
            # The reason is shown already.
            coloured = None
        if coloured is not None and coloured.values is not None:
            lines.append(f"{coloured.values[vertex]:.2f} {coloured.unit}")
        self.readout.value = f'<div style="line-height: 1.5">{"<br>".join(lines)}</div>'

    def _show_thumbnail(self) -> None:
        """Show the photo around each face, beside each other, with the clicked vertex marked."""
        _, vertex = self._clicked or (0, None)
        shown = self.shown
        if len(shown) == 2 and _same_place(*shown):
            shown = shown[:1]
        pictures = []
        for one in shown:
            seen = None if vertex is None or vertex >= len(one.face.vertices) else vertex
            content = jpeg(thumbnail(one.prediction.image, one.face, vertex=seen), quality=85)
            alt = f"The photo around {one.title.lower()}"
            width = f"{SIDE_WIDTH // len(shown) - 2}px"
            pictures.append(picture_html(content, kind="jpeg", alt=alt, width=width))
        self.photo.value = f'<div style="display: flex; gap: 4px">{"".join(pictures)}</div>'


def _same_place(first: Shown, second: Shown) -> bool:
    """Whether two faces are the same place of the same photo, as with other weights of the heads."""
    return first.face.crop == second.face.crop and np.array_equal(
        first.prediction.image, second.prediction.image
    )


def _free_path(path: Path, content: bytes) -> Path:
    """The path, or one with a number where a file with other content has that name."""
    free, number = path, 1
    while free.is_file() and free.read_bytes() != content:
        number += 1
        free = path.with_stem(f"{path.stem}_{number}")
    return free


def _upright(face: Face) -> np.ndarray:
    """The face's vertices (V, 3) in mm in the head's own frame."""
    return HeadFrame.of(face).from_photo(face.vertices)
