"""`MeshViewer`: the faces of a prediction as live 3D meshes in a notebook."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import cv2
import ipywidgets as widgets
import numpy as np
from PIL import Image

from m4kit.camera import rotation_from_euler
from m4kit.explore.callbacks import Complaints
from m4kit.explore.canvas import MESSAGE_BYTES, Canvas
from m4kit.head_frame import HeadFrame
from m4kit.prediction import Face, Prediction
from m4kit.vertex_colours import MODES, VertexColours, scalar_colours, vertex_colours
from m4kit.visualize.drawing import AXIS_COLOURS, LANDMARK_GROUPS
from m4kit.visualize.mesh_figure import AXIS_LENGTH, mesh_still

VIEWS = {
    "Front": rotation_from_euler(0, 0, 0),
    "Left": rotation_from_euler(90, 0, 0),
    "Right": rotation_from_euler(-90, 0, 0),
    "Top": rotation_from_euler(0, -90, 0),
}
"""Rotations (3, 3) from the head's frame to the view; left and right are the person's own sides."""

COMPARISONS = {"One face": "one", "Side by side": "side", "Difference": "difference"}

_SHOWN = {
    "Mesh": "mesh",
    "Wireframe": "wireframe",
    "Landmarks": "landmarks",
    "Contours": "contours",
    "Axes": "axes",
    "Photo": "photo",
}
_PHOTO_SIDE = 900
_PHOTO_SHADING = 0.35
_THUMBNAIL = 260
_MARK = np.array([[255, 59, 48]], dtype=np.uint8)
_STILL_SIDE = 420


class MeshViewer(widgets.VBox):
    """The faces of a prediction in 3D: drag to turn, wheel to zoom, shift and drag to move, click to read a vertex.

    `other` is a second prediction to compare with, of the same faces in the same order: from other head weights,
    another network, or a degraded photo. Without it, the prediction's other faces can be compared.

    The camera stays where the user left it, whatever else changes. `errors` lists what went wrong in callbacks; the
    viewer says it and goes on.

    Raises `ValueError` for a prediction without faces.
    """

    def __init__(self, prediction: Prediction, *, other: Prediction | None = None, height: int = 460):
        if not len(prediction):
            raise ValueError(
                f"{prediction.source}: expected a prediction with at least one face, got none; try a larger photo, "
                "a smaller min_face, or give predict the boxes"
            )
        self.prediction, self.other = prediction, other
        self.complaints = Complaints()
        guard = self.complaints.guard
        self.canvas = Canvas(height=height, layout={"flex": "1 1 420px", "min_width": "320px"})
        self._photo_sent: dict[int, int] = {}
        self._clicked: tuple[int, int] | None = None

        slim = {"width": "auto"}
        self.face_choice = widgets.Dropdown(
            options=[(f"Face {k + 1}", k) for k in range(len(prediction))], description="Face"
        )
        self.colour = widgets.Dropdown(
            options=[(mode.capitalize(), mode) for mode in MODES], description="Colour"
        )
        self.partner = widgets.Dropdown(options=self._partners(0), description="With")
        self.compare = widgets.ToggleButtons(
            options=list(COMPARISONS.items()), style={"button_width": "auto"}
        )
        self.toggles = {
            name: widgets.ToggleButton(value=name in ("mesh", "contours"), description=word, layout=slim)
            for word, name in _SHOWN.items()
        }
        self.opacity = widgets.FloatSlider(
            1.0, min=0.1, max=1.0, step=0.05, description="Opacity", readout_format=".2f"
        )
        self.views = {name: widgets.Button(description=name, layout=slim) for name in (*VIEWS, "As in photo")}
        self.reset = widgets.Button(description="Reset", layout=slim, tooltip="The view at the start")
        self.legend = widgets.HTML()
        self.readout = widgets.HTML()
        self.photo = widgets.Image(
            format="jpeg", layout={"width": f"{_THUMBNAIL}px", "object_fit": "contain"}
        )

        if len(prediction) == 1:
            self.face_choice.layout.display = "none"
        if not self.partner.options:
            self.compare.layout.display = self.partner.layout.display = "none"
        self.face_choice.observe(guard(self._face_changed), "value")
        for control in (self.colour, self.partner, self.compare):
            control.observe(guard(lambda change: self._draw()), "value")
        for name, toggle in self.toggles.items():
            toggle.observe(guard(lambda change, name=name: self._toggled(name, change["new"])), "value")
        self.opacity.observe(guard(lambda change: setattr(self.canvas, "opacity", change["new"])), "value")
        for name, button in self.views.items():
            button.on_click(guard(lambda _button, name=name: self.look(name)))
        self.reset.on_click(guard(lambda _button: self._reset()))
        self.canvas.on_click = guard(self._click)
        self.canvas.on_reset = guard(self._reset)
        self.canvas.still = self.still
        self.canvas.show = {name: toggle.value for name, toggle in self.toggles.items()} | {"mark": True}

        row = {"flex_flow": "row wrap", "align_items": "center"}
        super().__init__(
            [
                widgets.HBox([self.face_choice, self.colour, self.compare, self.partner], layout=row),
                widgets.HBox(
                    [self.canvas, widgets.VBox([self.photo, self.legend, self.readout])],
                    layout={"flex_flow": "row wrap"},
                ),
                widgets.HBox([*self.toggles.values(), self.opacity], layout=row),
                widgets.HBox([*self.views.values(), self.reset], layout=row),
                self.complaints,
            ]
        )
        self._reset()
        guard(self._draw)()

    @property
    def errors(self) -> list[Exception]:
        """What went wrong in callbacks so far."""
        return self.complaints.errors

    @property
    def face(self) -> Face:
        """The face that is shown."""
        return self.prediction[self.face_choice.value]

    @property
    def shown(self) -> list[tuple[str, Face, Prediction]]:
        """What the panels show: title, face and the prediction whose photo it lies on."""
        first = (f"Face {self.face_choice.value + 1}", self.face, self.prediction)
        if self.compare.value != "side":
            return [first]
        word, (prediction, number) = self._partner_words(), self.partner.value
        return [first, (word, prediction[number], prediction)]

    def look(self, name: str) -> None:
        """Turn the camera to one of `VIEWS`, or "As in photo"; zoom and pan go back."""
        known = {**VIEWS, "As in photo": HeadFrame.of(self.face).rotation}
        if name not in known:
            raise ValueError(f"expected a view out of {', '.join(known)}, got {name!r}")
        self.canvas.look(known[name])

    def still(self) -> bytes:
        """The face from the front as a JPEG, drawn without a browser."""
        return jpeg(self._picture(np.eye(3), side=_STILL_SIDE), quality=82)

    def turntable(self, path: str | Path | None = None, *, frames: int = 36, side: int = 320) -> bytes:
        """A GIF of the face turning to both sides and back; also written to `path` if that is given.

        `frames` pictures of `side` x `side` pixels, in the colours that are chosen.
        """
        angles = 75 * np.sin(np.linspace(0, 2 * np.pi, frames, endpoint=False))
        pictures = [
            Image.fromarray(self._picture(rotation_from_euler(angle, 0, 0), side=side)) for angle in angles
        ]
        buffer = io.BytesIO()
        pictures[0].save(
            buffer,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=70,
            loop=0,
            optimize=True,
        )
        if path is not None:
            Path(path).write_bytes(buffer.getvalue())
        return buffer.getvalue()

    def _repr_mimebundle_(self, **options) -> dict:
        # A notebook that is only read, with no kernel behind it, shows the still picture.
        bundle = super()._repr_mimebundle_(**options)
        plural = "s" * (len(self.prediction) > 1)
        return bundle | {
            "image/jpeg": base64.b64encode(self.still()).decode(),
            "text/plain": f"MeshViewer of {self.prediction.source}, {len(self.prediction)} face{plural}",
        }

    def _partners(self, number: int) -> list[tuple[str, tuple[Prediction, int]]]:
        """The faces that face `number` can be compared with."""
        own = [(f"Face {k + 1}", (self.prediction, k)) for k in range(len(self.prediction)) if k != number]
        if self.other is None or number >= len(self.other):
            return own
        return [("Other prediction", (self.other, number)), *own]

    def _partner_words(self) -> str:
        return next(word for word, value in self.partner.options if value == self.partner.value)

    def _face_changed(self, _change) -> None:
        self.partner.options = self._partners(self.face_choice.value)
        self._draw()

    def _toggled(self, name: str, on: bool) -> None:
        self.canvas.show = self.canvas.show | {name: on}
        if name == "photo" and on:
            self._send_photos()

    def _reset(self) -> None:
        self.look("Front")

    def _draw(self) -> None:
        """Send the panels' meshes, colours and what lies on them."""
        panels = self.shown
        self._clicked = None
        plain = self.colour.value == "texture" and self.compare.value != "difference"
        self.canvas.shading = _PHOTO_SHADING if plain else 1.0
        self.canvas.set_panels([title for title, *_ in panels] if len(panels) > 1 else [""])
        self._photo_sent = {panel: sent for panel, sent in self._photo_sent.items() if panel < len(panels)}
        for number, (_, face, prediction) in enumerate(panels):
            frame = HeadFrame.of(face)
            vertices = frame.from_photo(face.vertices)
            colours = self._colours(face, prediction)
            self.canvas.set_mesh(vertices, face.triangles, panel=number)
            self.canvas.set_colours(colours.colours, panel=number)
            self._send_marks(number, face, frame)
            self.canvas.set_points("mark", np.zeros((0, 3)), np.zeros((0, 3)), panel=number)
            if number == 0:
                self.legend.value = legend(colours)
        if self.canvas.show["photo"]:
            self._send_photos()
        self.readout.value = _words("Click the face to read a vertex.")
        self._show_thumbnail()

    def _colours(self, face: Face, prediction: Prediction) -> VertexColours:
        if self.compare.value != "difference":
            return vertex_colours(face, self.colour.value, image=prediction.image)
        partner, number = self.partner.value
        distance = np.linalg.norm(face.shape - partner[number].shape, axis=1)
        return scalar_colours(distance, unit=f"mm from {self._partner_words().lower()}")

    def _send_marks(self, panel: int, face: Face, frame: HeadFrame) -> None:
        landmarks = frame.from_photo(face.landmarks)
        colours, segments, inks = np.zeros((68, 3), np.uint8), [], []
        for contours, colour in LANDMARK_GROUPS.values():
            for contour in contours:
                colours[list(contour)] = colour
                ends = np.stack([landmarks[list(contour[:-1])], landmarks[list(contour[1:])]], axis=1)
                segments.append(ends)
                inks.append(np.tile(np.uint8(colour), (len(ends), 1)))
        self.canvas.set_points("landmarks", landmarks, colours, panel=panel)
        self.canvas.set_lines(
            "contours", np.concatenate(segments), np.concatenate(inks), panel=panel, width=2.2
        )
        axes = np.stack([np.zeros((3, 3)), np.eye(3) * AXIS_LENGTH], axis=1)
        # From the tip of the nose, where they are seen.
        axes += landmarks[30]
        self.canvas.set_lines("axes", axes, np.uint8(AXIS_COLOURS), panel=panel, width=3.0)

    def _send_photos(self) -> None:
        for panel, (_, face, prediction) in enumerate(self.shown):
            new = self._photo_sent.get(panel) != id(prediction.image)
            height, width = prediction.image.shape[:2]
            depth = face.vertices[:, 2].min()
            corners = HeadFrame.of(face).photo_plane(width, height, depth)
            self.canvas.set_photo(_photo_jpeg(prediction.image) if new else None, corners, panel=panel)
            self._photo_sent[panel] = id(prediction.image)

    def _click(self, panel: int, vertex: int | None) -> None:
        panels = self.shown
        self._clicked = None if vertex is None else (panel, vertex)
        for number, (_, face, _prediction) in enumerate(panels):
            place = (
                np.zeros((0, 3)) if vertex is None else HeadFrame.of(face).from_photo(face.vertices[[vertex]])
            )
            self.canvas.set_points("mark", place, np.repeat(_MARK, len(place), 0), panel=number, width=12)
        if vertex is None:
            self.readout.value = _words("Click the face to read a vertex.")
        else:
            self.readout.value = self._reading(panels[panel], vertex)
        self._show_thumbnail()

    def _reading(self, shown: tuple[str, Face, Prediction], vertex: int) -> str:
        title, face, prediction = shown
        x, y, _ = face.vertices[vertex]
        right, up, forward = face.shape[vertex]
        regions = [name.replace("_", " ") for name, mask in face.model.regions.items() if mask[vertex]]
        rows = [
            f"<b>{title}, vertex {vertex}</b>",
            f"region: {', '.join(regions) or 'none'}",
            f"photo: {x:.1f}, {y:.1f} px",
            f"model: {right:.1f}, {up:.1f}, {forward:.1f} mm",
        ]
        colours = self._colours(face, prediction)
        if colours.values is not None:
            rows.append(f"{colours.values[vertex]:.2f} {colours.unit}")
        return "<br>".join(rows)

    def _show_thumbnail(self) -> None:
        """The photo around the face, with the clicked vertex marked."""
        panels = self.shown
        panel, vertex = self._clicked or (0, None)
        _, face, prediction = panels[min(panel, len(panels) - 1)]
        crop = face.crop
        scale = _THUMBNAIL / crop.size
        matrix = np.array([[scale, 0, -crop.left * scale - 0.5], [0, scale, -crop.top * scale - 0.5]])
        picture = cv2.warpAffine(
            prediction.image,
            matrix,
            (_THUMBNAIL, _THUMBNAIL),
            flags=cv2.INTER_AREA,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if vertex is not None:
            x, y = matrix[:, :2] @ face.vertices[vertex, :2] + matrix[:, 2]
            centre = (round(float(x) * 8), round(float(y) * 8))
            for radius, colour, thickness in (
                (6, (255, 255, 255), 4),
                (6, tuple(int(c) for c in _MARK[0]), 2),
            ):
                cv2.circle(picture, centre, radius * 8, colour, thickness, cv2.LINE_AA, 3)
        self.photo.value = jpeg(picture, quality=85)

    def _picture(self, rotation: np.ndarray, *, side: int) -> np.ndarray:
        """The shown face seen by a rotation (3, 3), (side, side, 3) uint8 RGB."""
        face = self.face
        vertices = HeadFrame.of(face).from_photo(face.vertices)
        colours = self._colours(face, self.prediction).colours
        return mesh_still(vertices, face.triangles, colours, rotation=rotation, side=side)


def legend(colours: VertexColours) -> str:
    """A colour bar with its limits and unit as HTML; empty where the colours stand for no numbers."""
    if colours.values is None:
        return ""
    low, high = colours.limits
    steps = scalar_colours(np.linspace(low, high, 12), limits=(low, high), scale=colours.scale).colours
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in steps)
    bar = f"background: linear-gradient(to right, {stops}); height: 12px; border-radius: 3px"
    ends = "display: flex; justify-content: space-between; font-size: 12px"
    return (
        f'<div style="width: {_THUMBNAIL}px"><div style="{bar}"></div><div style="{ends}">'
        f"<span>{low:.3g}</span><span>{colours.unit}</span><span>{high:.3g}</span></div></div>"
    )


def _words(text: str) -> str:
    return f'<span style="color: var(--jp-ui-font-color2, #666)">{text}</span>'


def jpeg(picture: np.ndarray, *, quality: int) -> bytes:
    """A picture (H, W, 3) uint8 RGB as a JPEG file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def _photo_jpeg(image: np.ndarray) -> bytes:
    """The photo, small enough for one message."""
    side = _PHOTO_SIDE
    while True:
        scale = min(1.0, side / max(image.shape[:2]))
        size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
        content = jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA), quality=85)
        if len(content) <= MESSAGE_BYTES:
            return content
        side = side * 3 // 4
