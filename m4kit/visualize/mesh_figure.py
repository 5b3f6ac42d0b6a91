"""A face in 3D to share: a plotly figure that needs no kernel, and a still picture that needs no browser.

Both show the head's own frame (`m4kit.head_frame`): millimetres, the head upright and looking at the viewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from m4kit.camera import rotation_from_euler
from m4kit.head_frame import HeadFrame
from m4kit.render import render
from m4kit.vertex_colours import VertexColours, vertex_colours
from m4kit.visualize.drawing import AXIS_COLOURS, LANDMARK_GROUPS

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from m4kit.prediction import Face

EXTENT = 120.0
"""Millimetres from the middle of a picture to its edge."""

AXIS_LENGTH = 75.0
"""Millimetres of each pose axis, from the tip of the nose."""

_LIGHTING = {"ambient": 0.62, "diffuse": 0.75, "specular": 0.1, "roughness": 0.75, "fresnel": 0.05}
_LIGHT_AT = {"x": -30000, "y": 50000, "z": 100000}
_NEAR = 3.0
"""Millimetres by which lines lie before the surface, so that it does not swallow them."""


def mesh_figure(
    face: Face,
    *,
    image: np.ndarray | None = None,
    colour: str = "clay",
    landmarks: bool = True,
    pose_axes: bool = True,
    height: int = 520,
) -> go.Figure:
    """The face's mesh as a plotly figure to turn around, seen from the front.

    `colour` is one of `vertex_colours.MODES`; `texture` needs the photo as `image` (H, W, 3) uint8 RGB. A hover says
    the vertex's number, its region and its value. The axes are the head's, from the tip of the nose: x red, y green,
    z blue.

    `figure.write_html("face.html", include_plotlyjs=True)` writes a page that opens offline.
    """
    import plotly.graph_objects as go

    frame = HeadFrame.of(face)
    vertices = frame.from_photo(face.vertices).astype(np.float32)
    coloured = vertex_colours(face, colour, image=image)
    triangles = face.triangles.astype(np.uint16 if len(vertices) <= 1 << 16 else np.uint32)
    hover = "vertex %{customdata}<br>%{text}"
    if coloured.values is not None:
        hover += f"<br>%{{intensity:.2f}} {coloured.unit}"
    data = [
        go.Mesh3d(
            **dict(zip("xyz", vertices.T.copy(), strict=True)),
            **dict(zip("ijk", triangles.T.copy(), strict=True)),
            **_surface(coloured),
            name="mesh",
            customdata=np.arange(len(vertices), dtype=np.uint16 if len(vertices) <= 1 << 16 else np.uint32),
            text=_regions(face),
            hovertemplate=hover + "<extra></extra>",
            lighting=_LIGHTING,
            lightposition=_LIGHT_AT,
            flatshading=False,
        )
    ]
    points = frame.from_photo(face.landmarks)
    if landmarks:
        data += _contours(points)
    if pose_axes:
        data += _axes(points[30])
    hidden = {"visible": False, "showspikes": False}
    return go.Figure(
        data,
        layout={
            "height": height,
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
            "showlegend": False,
            "scene": {
                "aspectmode": "data",
                **{axis: hidden for axis in ("xaxis", "yaxis", "zaxis")},
                "camera": {
                    "eye": {"x": 0, "y": 0, "z": 1.1},
                    "up": {"x": 0, "y": 1, "z": 0},
                    # Weak perspective, as the network's camera.
                    "projection": {"type": "orthographic"},
                },
            },
        },
    )


def mesh_picture(
    face: Face,
    *,
    image: np.ndarray | None = None,
    colour: str = "clay",
    yaw: float = 0.0,
    pitch: float = 0.0,
    side: int = 480,
) -> np.ndarray:
    """The mesh turned by `yaw` and `pitch` degrees, (side, side, 3) uint8 RGB on white; no browser is needed."""
    vertices = HeadFrame.of(face).from_photo(face.vertices)
    colours = vertex_colours(face, colour, image=image).colours
    return mesh_still(
        vertices, face.triangles, colours, rotation=rotation_from_euler(yaw, pitch, 0), side=side
    )


def mesh_still(
    vertices: np.ndarray,
    triangles: np.ndarray,
    colours: np.ndarray,
    *,
    rotation: np.ndarray,
    side: int,
) -> np.ndarray:
    """A mesh (V, 3) in mm, y up, turned by a rotation (3, 3), (side, side, 3) uint8 RGB on white."""
    seen = np.asarray(vertices) @ np.asarray(rotation).T * [1, -1, 1] * (side / 2 / EXTENT)
    seen[:, :2] += (side - 1) / 2
    white = np.full((side, side, 3), 255, dtype=np.uint8)
    return render(white, [(seen, triangles)], colour=[colours])


def _surface(coloured: VertexColours) -> dict:
    """The colours as plotly takes them: a scale for numbers, a colour a vertex for all else."""
    if coloured.values is None:
        return {"vertexcolor": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in coloured.colours.tolist()]}
    from matplotlib import colormaps

    stops = np.linspace(0, 1, 17)
    shades = np.rint(255 * colormaps[coloured.scale](stops)[:, :3]).astype(int)
    return {
        "intensity": coloured.values.astype(np.float32),
        "colorscale": [
            [float(stop), f"rgb({r},{g},{b})"] for stop, (r, g, b) in zip(stops, shades, strict=True)
        ],
        "cmin": coloured.limits[0],
        "cmax": coloured.limits[1],
        "colorbar": {"title": {"text": coloured.unit, "side": "right"}, "thickness": 14, "len": 0.7},
    }


def _regions(face: Face) -> list[str]:
    """Each vertex's regions in words."""
    words = [""] * len(face.model.mean)
    for name, mask in face.model.regions.items():
        for vertex in np.flatnonzero(mask):
            words[vertex] += f"{', ' if words[vertex] else ''}{name.replace('_', ' ')}"
    return words


def _contours(points: np.ndarray) -> list[go.Scatter3d]:
    import plotly.graph_objects as go

    near = points + np.array([0, 0, _NEAR])
    traces = []
    for name, (contours, colour) in LANDMARK_GROUPS.items():
        ends = [np.vstack([near[list(contour)], np.full((1, 3), np.nan)]) for contour in contours]
        traces.append(
            go.Scatter3d(
                **dict(zip("xyz", np.concatenate(ends).astype(np.float32).T.copy(), strict=True)),
                name=name,
                mode="lines+markers",
                line={"color": _css(colour), "width": 4},
                marker={"color": _css(colour), "size": 2.5},
                hoverinfo="name",
            )
        )
    return traces


def _axes(origin: np.ndarray) -> list[go.Scatter3d]:
    import plotly.graph_objects as go

    traces = []
    for axis, colour in enumerate(AXIS_COLOURS):
        ends = np.stack([origin, origin + AXIS_LENGTH * np.eye(3)[axis]]).astype(np.float32)
        traces.append(
            go.Scatter3d(
                **dict(zip("xyz", ends.T.copy(), strict=True)),
                name=f"{'xyz'[axis]} axis",
                mode="lines",
                line={"color": _css(colour), "width": 7},
                hoverinfo="name",
            )
        )
    return traces


def _css(colour) -> str:
    return f"rgb({', '.join(str(value) for value in colour)})"
