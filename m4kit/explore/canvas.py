"""The live 3D view of the explorers, kernel side; the browser side is in `live/js/`.

Meshes travel as messages with binary buffers, not as synchronised traits, for two reasons: a notebook that is saved
with its widgets' state would contain every trait, and triangles and colours should travel only when they change.

Frame: millimetres, right-handed, x right, y up, z towards the viewer when the camera's rotation is the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import ipywidgets as widgets
import numpy as np
import traitlets

from m4kit.explore.javascript import MessageView
from m4kit.head_frame import HeadFrame
from m4kit.images import jpeg
from m4kit.landmarks import CONTOURS
from m4kit.light import Light
from m4kit.live.content import light_uniforms
from m4kit.live.scripts import CANVAS, module
from m4kit.visualize.drawing import AXIS_COLOURS
from m4kit.visualize.mesh_picture import AXIS_LENGTH, EXTENT

MESSAGE_BYTES = 160_000
"""Largest size of one message."""

_LEVELS = 65535
_PHOTO_SIDE = 900
"""Longest side of a photo in pixels, if it fits into a message."""

_LOOKS = ("camera", "show", "opacity", "shading", "extent", "centre", "label", "height")


class Canvas(MessageView):
    """A 3D view: one or two panels with one camera, each with a mesh, lines, points and a photo plane.

    Two panels stand side by side, or lie one over the other.

    - `camera`: `rotation` (nine numbers, row by row, from the frame above to the view), `zoom`, `pan` (mm). The
      user changes it in the browser; setting it here moves the view.
    - `show`: what is visible: `mesh`, `wireframe`, `photo`, and the names given to `set_lines` and `set_points`.
    - `extent`: millimetres from the middle of the view to its upper edge, at zoom 1.
    - `centre`: the place (three numbers, mm) in the middle of the view, about which the camera turns.
    - `shading`: 1 for a mesh lit as clay, 0 for plain colours (a photo on the mesh has its own light).
    - `label`: what is shown, in words, for screen readers.
    - `on_click(panel, vertex)` is called for a click on a mesh (vertex None beside it), `on_reset()` for a double
      click, and `still()` returns a PNG or JPEG for browsers without WebGL.
    """

    _esm = module(*CANVAS)

    camera = traitlets.Dict().tag(sync=True)
    show = traitlets.Dict().tag(sync=True)
    light = traitlets.Dict().tag(sync=True)
    opacity = traitlets.Float(1.0).tag(sync=True)
    shading = traitlets.Float(1.0).tag(sync=True)
    extent = traitlets.Float(EXTENT).tag(sync=True)
    centre = traitlets.List([0.0, 0.0, 0.0]).tag(sync=True)
    label = traitlets.Unicode("3D view").tag(sync=True)
    height = traitlets.Int(480).tag(sync=True)
    # Mode numbers by the model ids of their sliders.
    sliders = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits):
        traits.setdefault("camera", camera_towards(np.eye(3)))
        super().__init__(light=light_uniforms(Light()), **traits)
        self.on_click: Callable[[int, int | None], None] = lambda panel, vertex: None
        self.on_reset: Callable[[], None] = lambda: None
        self.still: Callable[[], bytes] = lambda: b""
        self._mode: Callable[[int], np.ndarray] | None = None
        self.serial = 0
        # Messages for a browser that opens later, by kind, panel and name.
        self._latest: dict[tuple, list[tuple[dict, list[bytes]]]] = {}
        self._triangles: dict[int, np.ndarray] = {}
        self._colours: dict[int, bytes] = {}
        self._photos: dict[int, np.ndarray] = {}

    def set_panels(self, titles: Sequence[str], *, over: bool = False) -> None:
        """Show one panel per title.

        With `over`, the second panel's mesh lies behind the first one's, translucent, if `show["over"]` is true.
        """
        for key in [key for key in self._latest if key[1] >= len(titles)]:
            del self._latest[key]
        for known in (self._triangles, self._colours, self._photos):
            for panel in [panel for panel in known if panel >= len(titles)]:
                del known[panel]
        self._send_one("panels", -1, {"count": len(titles), "titles": list(titles), "over": over})

    def set_mesh(
        self, vertices: np.ndarray, triangles: np.ndarray, *, panel: int = 0, closed: bool = False
    ) -> None:
        """Show a mesh (V, 3) in mm, with triangles (T, 3); `closed` as for `set_triangles`."""
        self.set_triangles(triangles, panel=panel, closed=closed)
        self.set_vertices(vertices, panel=panel)

    def set_triangles(self, triangles: np.ndarray, *, panel: int = 0, closed: bool = False) -> None:
        """Set the mesh's triangles (T, 3); nothing travels if they are the same as before.

        Of a `closed` mesh, whose inside is hardly ever seen, a slow browser draws no back faces while it moves. The
        picture stays until the vertices and colours are there, too.
        """
        known = self._triangles.get(panel)
        if known is triangles or (known is not None and np.array_equal(known, triangles)):
            return
        if triangles.max() > _LEVELS:
            raise ValueError(
                f"expected at most {_LEVELS + 1} vertices, got triangles with vertex {triangles.max()}; "
                "show a coarser mesh"
            )
        self._triangles[panel] = triangles
        flat = np.ascontiguousarray(triangles, dtype="<u2").ravel()
        step = MESSAGE_BYTES // flat.itemsize
        parts = [
            ({"first": first, "total": len(flat), "closed": closed}, [flat[first : first + step].tobytes()])
            for first in range(0, len(flat), step)
        ]
        self._send_parts("triangles", panel, parts)

    def set_vertices(
        self, vertices: np.ndarray, *, panel: int = 0, at: Mapping[int, float] | None = None
    ) -> None:
        """Set vertices (V, 3) in mm for the same triangles; they travel in steps of about 3 micrometres.

        `at` holds, by mode number, the slider values that these vertices have (see `follow`).
        """
        quantised, about = _quantised(vertices)
        self.serial += 1
        at = {str(mode): float(value) for mode, value in (at or {}).items()}
        self._latest.pop(("morph", panel, None), None)
        self._send_one("vertices", panel, about | {"serial": self.serial, "at": at}, [quantised])

    def follow(self, sliders: Sequence[widgets.FloatSlider], mode: Callable[[int], np.ndarray]) -> None:
        """Let the browser move the first panel's mesh itself while the user moves a slider.

        `mode(k)` returns the displacement (V, 3) in mm for one unit of slider `k`; it travels when the slider is
        first used. `set_vertices` says in `at` which sliders the browser may follow. Call this before the canvas is
        displayed.
        """
        self._mode = mode
        self.sliders = {slider.model_id: number for number, slider in enumerate(sliders)}

    def set_colours(self, colours: np.ndarray, *, panel: int = 0) -> None:
        """Set colours (V, 3) uint8, sRGB, one per vertex; nothing travels if they are the same as before."""
        content = np.ascontiguousarray(colours, dtype=np.uint8).tobytes()
        if self._colours.get(panel) != content:
            self._colours[panel] = content
            self._send_one("colours", panel, {}, [content])

    def set_lines(
        self,
        name: str,
        segments: np.ndarray,
        colours: np.ndarray,
        *,
        panel: int = 0,
        width: float = 2.0,
    ) -> None:
        """Set lines (n, 2, 3) in mm with colours (n, 3) uint8, `width` in pixels; shown if `show[name]` is true."""
        self._send_named("lines", name, segments, colours, panel=panel, width=width)

    def set_points(
        self,
        name: str,
        points: np.ndarray,
        colours: np.ndarray,
        *,
        panel: int = 0,
        width: float = 8.0,
    ) -> None:
        """Set points (n, 3) in mm with colours (n, 3) uint8; shown if `show[name]` is true."""
        self._send_named("points", name, points, colours, panel=panel, width=width)

    def set_photo(self, image: np.ndarray, frame: HeadFrame, *, depth: float, panel: int = 0) -> None:
        """Show a photo (H, W, 3) uint8 RGB as a plane, placed by a head's frame; one that is there stays.

        `depth` is the plane's z in photo pixels.
        """
        if self._photos.get(panel) is not image:
            self._photos[panel] = image
            self._send_one("photo", panel, {}, [_small_jpeg(image)])
        height, width = image.shape[:2]
        corners = frame.photo_plane(width, height, depth)
        self._send_one("photo corners", panel, {"corners": corners.tolist()})

    def swing(self, displacement: np.ndarray | None, *, reach: float = 3.0) -> None:
        """Swing the first panel's mesh along a displacement (V, 3) in mm, to `reach` times it on both sides.

        None stops it.
        """
        if displacement is None:
            self._send_one("morph", 0, {}, [])
            return
        quantised, about = _quantised(displacement)
        self._send_one("morph", 0, about | {"reach": reach}, [quantised])

    def look(self, rotation: np.ndarray) -> None:
        """Turn the camera to a rotation (3, 3) and reset zoom and pan."""
        self.camera = camera_towards(rotation)

    def _send_named(self, kind, name, places, colours, *, panel, width) -> None:
        places = np.ascontiguousarray(places, dtype="<f4")
        colours = np.ascontiguousarray(colours, dtype=np.uint8)
        if places.shape[-1:] != (3,) or colours.shape != (len(places), 3):
            raise ValueError(
                f"{kind} {name}: expected places (n, ..., 3) and colours (n, 3), got {places.shape} and "
                f"{colours.shape}"
            )
        about = {"name": name, "count": len(places), "width": width}
        self._send_one(kind, panel, about, [places.tobytes(), colours.tobytes()], name=name)

    def _send_one(self, kind, panel, about, buffers=(), *, name=None) -> None:
        self._send_parts(kind, panel, [(about, list(buffers))], name=name)

    def _send_parts(self, kind, panel, parts, *, name=None) -> None:
        messages = [({"kind": kind, "panel": max(panel, 0)} | about, buffers) for about, buffers in parts]
        key = (kind, panel, name)
        # Moved to the end, so that a browser that opens later gets all in the order of sending.
        self._latest.pop(key, None)
        self._latest[key] = messages
        for content, buffers in messages:
            self.send(content, buffers)

    def on_ready(self) -> None:
        """Send all that is shown."""
        self.send_state(_LOOKS)
        for messages in list(self._latest.values()):
            for message, buffers in messages:
                self.send(message, buffers)

    def on_message(self, content: dict) -> None:
        """Report a click or a double click, or send what the browser asks for."""
        kind = content["kind"]
        if kind == "mode":
            quantised, about = _quantised(self._mode(content["mode"]))
            self.send({"kind": "mode", "panel": 0, "mode": content["mode"]} | about, [quantised])
        elif kind == "clicked":
            self.on_click(content["panel"], content["vertex"])
        elif kind == "reset":
            self.on_reset()
        elif kind == "no webgl":
            self.send({"kind": "still"}, [self.still()])


def camera_towards(rotation: np.ndarray) -> dict:
    """Make a camera with a rotation (3, 3), zoom 1 and no pan."""
    return {"rotation": np.asarray(rotation, dtype=float).ravel().tolist(), "zoom": 1.0, "pan": [0.0, 0.0]}


def _quantised(points: np.ndarray) -> tuple[bytes, dict]:
    """Encode points (V, 3) as 16-bit steps within their bounding box; also return what decodes them."""
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"expected finite points (V, 3), got {points.shape}, or values that are not finite")
    low = points.min(0)
    step = np.maximum(np.ptp(points, axis=0) / _LEVELS, 1e-12)
    quantised = np.rint((points - low) / step).astype("<u2")
    return quantised.tobytes(), {"low": low.tolist(), "step": step.tolist()}


def contour_lines(
    landmarks: np.ndarray, *, colour: tuple[int, int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Make lines (n, 2, 3) through landmarks (68, 3), and colours (n, 3) uint8, by default by part of the face."""
    lines = [np.stack([landmarks[part[:-1]], landmarks[part[1:]]], axis=1) for part, _ in CONTOURS]
    colours = [np.tile(np.uint8(colour or own), (len(part) - 1, 1)) for part, own in CONTOURS]
    return np.concatenate(lines), np.concatenate(colours)


def pose_axes(rotation: np.ndarray, nose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make a head's axes (3, 2, 3) in mm, turned by a rotation (3, 3), and their colours (3, 3) uint8.

    They begin at the tip of its nose (3,).
    """
    return nose + np.stack([np.zeros((3, 3)), AXIS_LENGTH * rotation.T], axis=1), np.uint8(AXIS_COLOURS)


def _small_jpeg(image: np.ndarray) -> bytes:
    """Encode the photo as a JPEG, small enough for one message."""
    side = _PHOTO_SIDE
    while True:
        scale = min(1.0, side / max(image.shape[:2]))
        size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
        content = jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA), quality=85)
        if len(content) <= MESSAGE_BYTES:
            return content
        side = side * 3 // 4
