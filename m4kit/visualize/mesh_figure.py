"""A face in 3D: an interactive plotly figure that needs no kernel, and a still picture that needs no browser.

Both use the head's own frame (`m4kit.head_frame`): millimetres, with the head upright and facing the viewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from m4kit.camera import rotation_from_euler
from m4kit.checks import check_number, check_type, check_whole, needed
from m4kit.head_frame import HeadFrame
from m4kit.landmarks import LANDMARK_GROUPS
from m4kit.light import Lamp, Light
from m4kit.prediction import check_face
from m4kit.render import render
from m4kit.vertex_colours import VertexColours, scalar_colours, vertex_colours
from m4kit.visualize.drawing import AXIS_COLOURS, draw_landmarks, draw_pose_axes, pose_text
from m4kit.visualize.legend import with_legend
from m4kit.visualize.style import CLEAR, INK, SCREEN_INK

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from m4kit.face_model import FaceModel
    from m4kit.prediction import Face

EXTENT = 120.0
"""Millimetres from the middle of a picture of a face to its edge."""

_HEAD_MARGIN = 1.12
"""Millimetres to the edge for each millimetre to the farthest vertex of a head."""

AXIS_LENGTH = 75.0
"""Millimetres of each pose axis, from the tip of the nose."""

_LIGHTING = {"ambient": 0.38, "diffuse": 0.66, "specular": 0.0}
# A texture already has light, and colours must match the legend.
_EVEN_LIGHTING = {"ambient": 0.62, "diffuse": 0.42, "specular": 0.0}
# From above left. Plotly takes it in clip coordinates, unlike its manual: z is negative towards the viewer and weighs
# about 500 times as much as x and y. With a positive z the visible side would be dark.
_LIGHT_AT = {"x": -40_000, "y": 60_000, "z": -330}
_EVEN_LIGHT = Light(
    key=Lamp((-0.3, 0.4, 0.9), (0.36, 0.36, 0.36)),
    fill=Lamp((0.9, 0.0, 0.35), (0.08, 0.08, 0.08)),
    sky=(0.56, 0.56, 0.56),
    ground=(0.46, 0.46, 0.46),
    gloss=0.02,
    cavity=0.1,
)
"""Even light, for colours that must match their legend."""

_NEAR = 3.0
"""Millimetres between lines and the surface, so that the surface does not hide them."""

_ZOOM = 2.15
"""Side length of plotly's scene at which the head fills the figure's height."""

_FITTED = """
const plot = document.getElementById("{plot_id}");
document.body.style.margin = 0;
let fitted = 1;
// Plotly fits the scene to the window's height alone. The head is less wide than 0.8 times the height.
function fit() {
  const { w, h } = plot._fullLayout._size, share = Math.min(1, w / h / 0.8);
  if (Math.abs(share - fitted) < 0.01) return;
  // Relative to the present ratio, which is also plotly's zoom.
  const { x, y, z } = plot._fullLayout.scene.aspectratio, by = share / fitted;
  fitted = share;
  Plotly.relayout(plot, { "scene.aspectratio": { x: by * x, y: by * y, z: by * z } });
}
plot.on("plotly_afterplot", fit);
fit();
"""
"""What a page does when it opens and when its window changes."""

_UPPER_LEFT = {
    "x": 0,
    "y": 1,
    "xref": "paper",
    "yref": "paper",
    "xanchor": "left",
    "yanchor": "top",
    "xshift": 8,
}


class Framing(NamedTuple):
    """What a view shows: `centre` (3,) in mm is in its middle, and its edge is `extent` mm away from it."""

    centre: np.ndarray
    extent: float


def framing(model: FaceModel) -> Framing:
    """How a model's meshes are shown: a face around the model's origin, a head around its own middle.

    The origin of another model may be elsewhere. Where its mean face would reach out of the picture, that face's
    middle is the picture's.
    """
    low, high = model.mean.min(axis=0).astype(float), model.mean.max(axis=0).astype(float)
    middle = (low + high) / 2
    if model.is_head:
        return Framing(middle, _HEAD_MARGIN * float((high - low).max()) / 2)
    inside = max(high.max(), -low.min()) <= EXTENT
    return Framing(np.zeros(3) if inside else middle, EXTENT)


def mesh_figure(
    face: Face,
    *,
    image: np.ndarray | None = None,
    colour: str = "clay",
    limits: tuple[float, float] | None = None,
    landmarks: bool = True,
    pose_axes: bool = True,
    height: int = 560,
) -> go.Figure:
    """The face's mesh as a plotly figure to turn around, seen from the front; `face.head` shows the whole head.

    `colour` is one of `vertex_colours.MODES`. For `texture`, `image` (H, W, 3) uint8 RGB is the photo, by default the
    one that the face was found in. Vertices that the photo does not show are marked: the hover says "filled in", and
    a click on the legend shows them as dots. `limits` are those of the colour scale, see `vertex_colours`. The hover
    shows the vertex's number, its region and its value. The axes are the head's, from the tip of the nose: x red,
    y green, z blue. Buttons turn the head to the front, to its sides, and to its pose in the photo.

    `write_page` writes the figure as a page that opens offline.

    Raises `ValueError` for what `vertex_colours` refuses.
    """
    go = needed("plotly.graph_objects", "mesh_figure")

    frame = HeadFrame.of(check_face(face, "mesh_figure"))
    check_number(height, "height", above=0, unit="in pixels")
    vertices = frame.from_photo(face.vertices)
    coloured = vertex_colours(face, colour, image=image, limits=limits)
    data = [_mesh(face, vertices, colour, coloured)]
    if coloured.filled is not None:
        data.append(_filled(vertices, coloured.filled))
    data += _colour_names(coloured)
    points = frame.from_photo(face.landmarks)
    if landmarks:
        data += _contours(_lifted(points))
    if pose_axes:
        data += _axes(points[30])
    middle = (vertices.min(0) + vertices.max(0)) / 2
    # The head is in the middle of a cube that holds the axes; plotly cuts off what lies outside.
    reach = max(np.abs(vertices - middle).max(), np.abs(points[30] + AXIS_LENGTH - middle).max()) + _NEAR
    sides = [
        {"visible": False, "showspikes": False, "range": [float(place - reach), float(place + reach)]}
        for place in middle
    ]
    return go.Figure(
        data,
        layout={
            "height": height,
            "margin": {"l": 0, "r": 0, "t": 44, "b": 0},
            "paper_bgcolor": CLEAR,
            "font": {"color": SCREEN_INK, "size": 12},
            "annotations": [{"text": pose_text(face.pose), "showarrow": False} | _UPPER_LEFT],
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 0,
                "itemsizing": "constant",
                "bgcolor": "rgba(0,0,0,0)",
            },
            "hoverlabel": {"bgcolor": "white", "font": {"color": INK}},
            # The mouse does the same, and in a narrow figure these would cover the buttons.
            "modebar": {
                "remove": [
                    "zoom",
                    "pan",
                    "orbitRotation",
                    "tableRotation",
                    "resetCameraDefault",
                    "resetCameraLastSave",
                ]
            },
            "updatemenus": [_camera_buttons(frame.rotation)],
            "scene": {
                "aspectmode": "manual",
                "aspectratio": dict.fromkeys("xyz", _ZOOM * reach / framing(face.model).extent),
                "dragmode": "orbit",
                **dict(zip(("xaxis", "yaxis", "zaxis"), sides, strict=True)),
                "camera": _camera(np.eye(3)),
            },
        },
    )


def write_page(figure: go.Figure, path: str | PathLike) -> None:
    """Write a figure of `mesh_figure` as an HTML page that opens offline and shows the whole head in any window."""
    import plotly.graph_objects as go

    check_type(figure, "write_page", go.Figure, remedy="mesh_figure(face) makes one")
    page = go.Figure(figure).update_layout(height=None)
    page.write_html(path, include_plotlyjs=True, post_script=_FITTED)


def mesh_picture(
    face: Face,
    *,
    image: np.ndarray | None = None,
    colour: str = "clay",
    limits: tuple[float, float] | None = None,
    landmarks: bool = False,
    pose_axes: bool = False,
    legend: bool = True,
    yaw: float = 0.0,
    pitch: float = 0.0,
    side: int = 480,
) -> np.ndarray:
    """A still picture of the mesh turned by `yaw` and `pitch` degrees, (side, side, 3) uint8 RGB on white.

    Arguments as for `mesh_figure`; `face.head` shows the whole head. `legend` adds a colour bar or names, unless the
    picture is too small. Landmarks are drawn over the mesh, also those behind it.
    """
    check_whole(side, "side", least=1)
    rotation = rotation_from_euler(check_number(yaw, "yaw"), check_number(pitch, "pitch"), 0)
    frame = HeadFrame.of(check_face(face, "mesh_picture"))
    vertices = frame.from_photo(face.vertices)
    coloured = vertex_colours(face, colour, image=image, limits=limits)
    picture = mesh_still(face.model, vertices, coloured, rotation=rotation, side=side)
    shown = framing(face.model)
    seen = _in_picture(frame.from_photo(face.landmarks), rotation, side, shown)
    if landmarks:
        picture = draw_landmarks(picture, seen)
    if pose_axes:
        # `draw_pose_axes` draws axes of 0.55 times the head's height.
        picture = draw_pose_axes(
            picture, rotation, seen[30, :2], AXIS_LENGTH / 0.55 * side / 2 / shown.extent
        )
    return with_legend(picture, coloured) if legend else picture


def mesh_still(
    model: FaceModel,
    vertices: np.ndarray,
    coloured: VertexColours,
    *,
    rotation: np.ndarray,
    side: int,
    background: int | Sequence[int] = 255,
) -> np.ndarray:
    """Render a model's mesh (V, 3) in mm, y up, turned by a rotation (3, 3): (side, side, 3) uint8 RGB.

    Clay has strong light and shade, which show its shape; other colours should match their legend. `background` is a
    grey value or a colour (3,); see also `without_background`.
    """
    paper = np.full((side, side, 3), background, dtype=np.uint8)
    mesh = _in_picture(vertices, rotation, side, framing(model)), model.triangles
    return render(paper, [mesh], colour=[coloured.colours], light=None if coloured.plain else _EVEN_LIGHT)


def _in_picture(points: np.ndarray, rotation: np.ndarray, side: int, shown: Framing) -> np.ndarray:
    """Points (n, 3) in mm, y up, in the pixels of a square picture, y down."""
    seen = (points - shown.centre) @ np.asarray(rotation).T * [1, -1, 1] * (side / 2 / shown.extent)
    seen[:, :2] += (side - 1) / 2
    return seen


def _mesh(face: Face, vertices: np.ndarray, colour: str, coloured: VertexColours) -> go.Mesh3d:
    import plotly.graph_objects as go

    whole = np.uint16 if len(vertices) <= 1 << 16 else np.uint32
    hover, number = "vertex %{customdata}<br>%{text}", np.arange(len(vertices), dtype=whole)
    if coloured.values is not None:
        hover += f"<br>%{{intensity:.2f}} {coloured.unit}"
    elif colour == "normals":
        # Whole percents take a quarter of the space.
        percent = np.rint(coloured.colours / 1.275 - 100)
        number = np.column_stack([number, percent]).astype(np.int16 if len(vertices) <= 1 << 15 else np.int32)
        parts = (
            f"%{{customdata[{k}]}} % {word}" for k, word in ((1, "right"), (2, "up"), (3, "to the viewer"))
        )
        hover = hover.replace("%{customdata}", "%{customdata[0]}") + "<br>" + ", ".join(parts)
    elif colour == "texture":
        hover += "<br>%{vertexcolor}"
    words = _regions(face)
    if coloured.filled is not None:
        words = [
            f"{word}, filled in" if filled else word
            for word, filled in zip(words, coloured.filled, strict=True)
        ]
    return go.Mesh3d(
        **dict(zip("xyz", vertices.astype(np.float32).T.copy(), strict=True)),
        **dict(zip("ijk", face.triangles.astype(whole).T.copy(), strict=True)),
        **_surface(coloured),
        name="mesh",
        customdata=number,
        text=words,
        hovertemplate=hover + "<extra></extra>",
        lighting=_LIGHTING if coloured.plain else _EVEN_LIGHTING,
        lightposition=_LIGHT_AT,
        flatshading=False,
    )


def _surface(coloured: VertexColours) -> dict:
    """The colours as plotly takes them: a scale for numbers, otherwise one per vertex."""
    if coloured.values is None:
        return {"vertexcolor": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in coloured.colours.tolist()]}
    stops = np.linspace(0, 1, 33)
    shades = scalar_colours(stops, limits=(0, 1), scale=coloured.scale).colours
    return {
        "intensity": coloured.values.astype(np.float32),
        "colorscale": [[float(stop), _css(shade)] for stop, shade in zip(stops, shades, strict=True)],
        "cmin": coloured.limits[0],
        "cmax": coloured.limits[1],
        "colorbar": {"title": {"text": coloured.unit, "side": "right"}, "thickness": 14, "len": 0.7},
    }


def _regions(face: Face) -> list[str]:
    """The names of each vertex's regions."""
    words = [""] * len(face.model.mean)
    for name, mask in face.model.regions.items():
        for vertex in np.flatnonzero(mask):
            words[vertex] += f"{', ' if words[vertex] else ''}{_spoken(name)}"
    return [word or "no region" for word in words]


def _filled(vertices: np.ndarray, filled: np.ndarray) -> go.Scatter3d:
    """Dots on the vertices that the photo does not show; a click on the legend shows them."""
    import plotly.graph_objects as go

    return go.Scatter3d(
        **dict(zip("xyz", vertices[filled].astype(np.float32).T.copy(), strict=True)),
        name="not in the photo",
        visible="legendonly",
        mode="markers",
        marker={"color": "#d81b60", "size": 1.6},
        hoverinfo="skip",
    )


def _colour_names(coloured: VertexColours) -> list[go.Scatter3d]:
    """One legend entry per named colour."""
    import plotly.graph_objects as go

    return [
        go.Scatter3d(
            **{axis: [None] for axis in "xyz"},
            name=name,
            mode="markers",
            marker={"color": _css(colour), "symbol": "square", "size": 8},
            hoverinfo="skip",
        )
        for name, colour in coloured.names.items()
    ]


def _lifted(points: np.ndarray) -> np.ndarray:
    """Landmarks (68, 3) in mm, moved slightly off the mesh: sideways at the jaw, and to the front.

    The mesh's normals cannot serve here: at the edges of lids and lips they point inwards.
    """
    sideways = points * [1, 0, 0]
    width = np.abs(sideways).max()
    return points + _NEAR * (sideways / width + [0, 0, 1])


def _contours(points: np.ndarray) -> list[go.Scatter3d]:
    import plotly.graph_objects as go

    traces = []
    for name, (contours, colour) in LANDMARK_GROUPS.items():
        ends = [np.vstack([points[list(contour)], np.full((1, 3), np.nan)]) for contour in contours]
        numbers = [number for contour in contours for number in (*contour, -1)]
        traces.append(
            go.Scatter3d(
                **dict(zip("xyz", np.concatenate(ends).astype(np.float32).T.copy(), strict=True)),
                name="landmarks",
                legendgroup="landmarks",
                showlegend=not traces,
                mode="lines+markers",
                line={"color": _css(colour), "width": 4},
                marker={"color": _css(colour), "size": 2.5},
                customdata=np.array(numbers, dtype=np.int8),
                hovertemplate=f"landmark %{{customdata}}<br>{_spoken(name)}<extra></extra>",
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
                name="pose axes",
                legendgroup="pose axes",
                showlegend=not traces,
                mode="lines+text",
                text=["", "xyz"[axis]],
                textfont={"color": _css(colour), "size": 15},
                textposition="top center",
                line={"color": _css(colour), "width": 7},
                hovertemplate=f"{'xyz'[axis]} axis of the head<extra></extra>",
            )
        )
    return traces


def _camera(rotation: np.ndarray) -> dict:
    """Plotly's camera for a head turned by a rotation (3, 3)."""
    eye, up = 3 * np.asarray(rotation)[2], np.asarray(rotation)[1]
    return {
        "eye": dict(zip("xyz", eye.tolist(), strict=True)),
        "up": dict(zip("xyz", up.tolist(), strict=True)),
        "center": {"x": 0, "y": 0, "z": 0},
        # Weak perspective, like the network's camera.
        "projection": {"type": "orthographic"},
    }


def _camera_buttons(in_photo: np.ndarray) -> dict:
    """Buttons that turn the head; "left" is the person's left."""
    rotations = {
        "Front": np.eye(3),
        "As in photo": in_photo,
        "Left side": rotation_from_euler(90, 0, 0),
        "Right side": rotation_from_euler(-90, 0, 0),
    }
    return {
        "type": "buttons",
        "direction": "right",
        "showactive": False,
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "bottom",
        "pad": {"l": 6, "b": 8},
        "font": {"size": 11},
        "buttons": [
            {"label": name, "method": "relayout", "args": [{"scene.camera": _camera(rotation)}]}
            for name, rotation in rotations.items()
        ],
    }


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _css(colour) -> str:
    return f"rgb({', '.join(str(int(value)) for value in colour)})"
