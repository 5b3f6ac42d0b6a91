"""The live 3D view that the explorers share: its kernel side. `canvas.js` is what runs in the browser.

Meshes travel as messages with binary buffers, not as synchronised traits, for two reasons: a notebook that is saved
with its widgets' state would carry every trait, and triangles and colours should travel only when they change.

Frame: millimetres, right-handed, x right, y up, z towards the viewer when the camera's rotation is the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import ipywidgets as widgets
import numpy as np
import traitlets

from m4kit.explore.javascript import ListeningView, listening_module
from m4kit.light import Light
from m4kit.visualize.mesh_figure import EXTENT

MESSAGE_BYTES = 160_000
"""The most that one message carries."""

_LEVELS = 65535
_LOOKS = ("camera", "show", "opacity", "shading", "extent", "label", "height")


class Canvas(ListeningView):
    """One or two panels under one camera, side by side or one over the other, each with a mesh, lines, points and a
    photo plane.

    - `camera`: `rotation` (nine numbers, row by row, from the frame above to the view), `zoom`, `pan` (mm). The
      user's hand changes it in the browser; setting it here moves the view.
    - `show`: what is visible: `mesh`, `wireframe`, `photo`, and the names given to `set_lines` and `set_points`.
    - `extent`: millimetres from the middle of the view to its upper edge, at zoom 1.
    - `shading`: 1 for a mesh lit as clay, 0 for its colours as they are; a photo on the mesh has light of its own.
    - `label`: what is seen, in words, for those who do not see it.
    - `on_click(panel, vertex)` is called for a click on a mesh (vertex None beside it), `on_reset()` for a double
      click, and `still()` gives a JPEG for browsers without WebGL.
    """

    _esm = listening_module("canvas.js")

    camera = traitlets.Dict().tag(sync=True)
    show = traitlets.Dict().tag(sync=True)
    light = traitlets.Dict().tag(sync=True)
    opacity = traitlets.Float(1.0).tag(sync=True)
    shading = traitlets.Float(1.0).tag(sync=True)
    extent = traitlets.Float(EXTENT).tag(sync=True)
    label = traitlets.Unicode("3D view").tag(sync=True)
    height = traitlets.Int(480).tag(sync=True)
    # Modes by the ids of the sliders' models.
    sliders = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits):
        traits.setdefault("camera", camera_towards(np.eye(3)))
        super().__init__(light=_light_in_words(Light()), **traits)
        self.on_click: Callable[[int, int | None], None] = lambda panel, vertex: None
        self.on_reset: Callable[[], None] = lambda: None
        self.still: Callable[[], bytes] = lambda: b""
        self._mode: Callable[[int], np.ndarray] | None = None
        self.serial = 0
        # What a browser that opens later has to be told, by kind, panel and name.
        self._said: dict[tuple, list[tuple[dict, list[bytes]]]] = {}
        self._triangles: dict[int, np.ndarray] = {}
        self._colours: dict[int, bytes] = {}
        self.on_msg(self._heard)

    def set_panels(self, titles: Sequence[str], *, over: bool = False) -> None:
        """As many panels as titles.

        With `over`, the second panel's mesh lies in the first, translucent, where `show["over"]` is true.
        """
        for key in [key for key in self._said if key[1] >= len(titles)]:
            del self._said[key]
        for known in (self._triangles, self._colours):
            for panel in [panel for panel in known if panel >= len(titles)]:
                del known[panel]
        self._say("panels", -1, {"count": len(titles), "titles": list(titles), "over": over})

    def set_mesh(
        self,
        vertices: np.ndarray,
        triangles: np.ndarray,
        *,
        panel: int = 0,
        centre: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        """Show a mesh (V, 3) in mm, with triangles (T, 3); `centre` is the point that the camera turns about."""
        self.set_triangles(triangles, panel=panel)
        self.set_vertices(vertices, panel=panel, centre=centre)

    def set_triangles(self, triangles: np.ndarray, *, panel: int = 0) -> None:
        """The mesh's triangles (T, 3); nothing travels if they are what they were."""
        known = self._triangles.get(panel)
        if known is triangles or (known is not None and np.array_equal(known, triangles)):
            return
        if triangles.max() > _LEVELS:
            raise ValueError(
                f"expected at most {_LEVELS + 1} vertices, got triangles up to {triangles.max()}"
            )
        self._triangles[panel] = triangles
        flat = np.ascontiguousarray(triangles, dtype="<u2").ravel()
        step = MESSAGE_BYTES // flat.itemsize
        parts = [
            ({"first": first, "total": len(flat)}, [flat[first : first + step].tobytes()])
            for first in range(0, len(flat), step)
        ]
        self._say_all("triangles", panel, parts)

    def set_vertices(
        self,
        vertices: np.ndarray,
        *,
        panel: int = 0,
        centre: Sequence[float] = (0.0, 0.0, 0.0),
        at: Mapping[int, float] | None = None,
    ) -> None:
        """Other places (V, 3) in mm for the same triangles, in steps of some 3 micrometres.

        `at` are the values of the modes whose sliders the browser follows by itself (`follow`).
        """
        quantised, about = _quantised(vertices)
        self.serial += 1
        about |= {"centre": [float(value) for value in centre], "serial": self.serial}
        about["at"] = {str(mode): float(value) for mode, value in (at or {}).items()}
        self._said.pop(("morph", panel, None), None)
        self._say("vertices", panel, about, [quantised])

    def follow(self, sliders: Sequence[widgets.FloatSlider], mode: Callable[[int], np.ndarray]) -> None:
        """Let the browser move the mesh of the first panel by itself when a hand moves a slider: what counts are
        the milliseconds to the kernel and back.

        `mode(k)` is the displacement (V, 3) in mm for one unit of slider `k`; it travels once the slider is touched.
        Vertices that are sent say `at` which values of the sliders they hold; other sliders are not followed. To be
        called before the canvas is displayed.
        """
        self._mode = mode
        self.sliders = {slider.model_id: number for number, slider in enumerate(sliders)}

    def set_colours(self, colours: np.ndarray, *, panel: int = 0) -> None:
        """Colours (V, 3) uint8, sRGB, one a vertex; nothing travels if they are what they were."""
        content = np.ascontiguousarray(colours, dtype=np.uint8).tobytes()
        if self._colours.get(panel) != content:
            self._colours[panel] = content
            self._say("colours", panel, {}, [content])

    def set_lines(
        self,
        name: str,
        segments: np.ndarray,
        colours: np.ndarray,
        *,
        panel: int = 0,
        width: float = 2.0,
    ) -> None:
        """Lines (n, 2, 3) in mm with colours (n, 3) uint8, `width` in pixels; seen where `show[name]` is true."""
        self._say_named("lines", name, segments, colours, panel=panel, width=width)

    def set_points(
        self,
        name: str,
        points: np.ndarray,
        colours: np.ndarray,
        *,
        panel: int = 0,
        width: float = 8.0,
    ) -> None:
        """Points (n, 3) in mm with colours (n, 3) uint8; seen where `show[name]` is true."""
        self._say_named("points", name, points, colours, panel=panel, width=width)

    def set_photo(self, jpeg: bytes | None, corners: np.ndarray, *, panel: int = 0) -> None:
        """A photo as a plane, its corners (4, 3) in mm: upper left, upper right, lower left, lower right.

        Without `jpeg`, the photo that is there stays.
        """
        if jpeg is not None:
            self._say("photo", panel, {}, [jpeg])
        self._say("photo corners", panel, {"corners": np.asarray(corners, dtype=float).tolist()})

    def swing(self, displacement: np.ndarray | None, *, reach: float = 3.0, panel: int = 0) -> None:
        """Let the mesh swing along a displacement (V, 3) in mm, `reach` times to either side; None stops it."""
        if displacement is None:
            self._say("morph", panel, {}, [])
            return
        quantised, about = _quantised(displacement)
        self._say("morph", panel, about | {"reach": reach}, [quantised])

    def look(self, rotation: np.ndarray) -> None:
        """Turn the camera to a rotation (3, 3) and put zoom and pan back."""
        self.camera = camera_towards(rotation)

    def _say_named(self, kind, name, places, colours, *, panel, width) -> None:
        places = np.ascontiguousarray(places, dtype="<f4")
        colours = np.ascontiguousarray(colours, dtype=np.uint8)
        if places.shape[-1:] != (3,) or colours.shape != (len(places), 3):
            raise ValueError(
                f"{kind} {name}: expected places (n, ..., 3) and colours (n, 3), got {places.shape} and "
                f"{colours.shape}"
            )
        about = {"name": name, "count": len(places), "width": width}
        self._say(kind, panel, about, [places.tobytes(), colours.tobytes()], name=name)

    def _say(self, kind, panel, about, buffers=(), *, name=None) -> None:
        self._say_all(kind, panel, [(about, list(buffers))], name=name)

    def _say_all(self, kind, panel, parts, *, name=None) -> None:
        messages = [({"kind": kind, "panel": max(panel, 0)} | about, buffers) for about, buffers in parts]
        key = (kind, panel, name)
        # At the end, so that a browser that opens later hears all in the order in which it was said.
        self._said.pop(key, None)
        self._said[key] = messages
        for content, buffers in messages:
            self.send(content, buffers)

    def _heard(self, _widget, content: dict, _buffers) -> None:
        kind = content.get("kind")
        if kind == "ready":
            self.send_state(_LOOKS)
            for messages in list(self._said.values()):
                for message, buffers in messages:
                    self.send(message, buffers)
        elif kind == "mode":
            quantised, about = _quantised(self._mode(content["mode"]))
            self.send({"kind": "mode", "panel": 0, "mode": content["mode"]} | about, [quantised])
        elif kind == "clicked":
            self.on_click(content["panel"], content["vertex"])
        elif kind == "reset":
            self.on_reset()
        elif kind == "no webgl":
            self.send({"kind": "still"}, [self.still()])


def camera_towards(rotation: np.ndarray) -> dict:
    """The camera that sees the frame turned by a rotation (3, 3), with nothing else changed."""
    return {"rotation": np.asarray(rotation, dtype=float).ravel().tolist(), "zoom": 1.0, "pan": [0.0, 0.0]}


def _quantised(points: np.ndarray) -> tuple[bytes, dict]:
    """Points (V, 3) as 16-bit steps between the ends of their box, and what the browser needs to undo that."""
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"expected finite points (V, 3), got {points.shape}; look at what they come from")
    low = points.min(0)
    step = np.maximum(np.ptp(points, axis=0) / _LEVELS, 1e-12)
    quantised = np.rint((points - low) / step).astype("<u2")
    return quantised.tobytes(), {"low": low.tolist(), "step": step.tolist()}


def _light_in_words(light: Light) -> dict:
    """The light as `canvas.js` takes it."""

    def unit(direction):
        return (np.asarray(direction) / np.linalg.norm(direction)).tolist()

    return {
        "keyDirection": unit(light.key.direction),
        "keyColour": list(light.key.colour),
        "fillDirection": unit(light.fill.direction),
        "fillColour": list(light.fill.colour),
        "sky": list(light.sky),
        "ground": list(light.ground),
        "softness": light.softness,
        "gloss": light.gloss,
    }
