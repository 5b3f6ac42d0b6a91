"""Renders meshes over a photo: orthographic, with soft light and anti-aliased edges.

Vertices are in the photo's frame: x and y in photo pixels (x right, y down, integers at pixel centres), z in the same
unit towards the viewer. Normals are unit vectors with x right, y **up**, z towards the viewer. Back faces are culled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from m4kit.checks import check_mesh, check_number, check_type
from m4kit.images import check_image
from m4kit.landmarks import face_size
from m4kit.light import Light, darkened, lit
from m4kit.raster import Seen, look

PORCELAIN = (226, 222, 217)
"""Default colour of a mesh, sRGB from 0 to 255."""

_EDGE_SAMPLES = 4
"""Points along each side of a pixel on an edge."""

_JUMP = 3.0
"""A pixel is on an edge if the second difference of the depth is larger, in photo pixels."""


class DepthMap(NamedTuple):
    """The depth of a mesh over a region of the photo.

    `depth` (h, w) is z in photo pixels towards the viewer, NaN where there is no surface. Its first pixel is the
    photo's (`left`, `top`).
    """

    left: int
    top: int
    depth: np.ndarray


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Compute outward unit normals (V, 3), y up: the mean of the triangles around each vertex, weighted by area.

    `vertices` (V, 3) are in the photo's frame (y down), `triangles` (T, 3) counter-clockwise seen from outside.
    """
    corners = np.ascontiguousarray(triangles.T)
    return _vertex_normals(corners, _facing(vertices.T, corners), len(vertices)).T


def _facing(axes: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Compute inward normals (3, T), y down, of triangles with corners (3, T). Their lengths are twice the areas.

    `axes` (3, V) are the vertices' x, y and z.
    """
    x, y, z = (axis.take(corners) for axis in axes)
    (ax, bx), (ay, by), (az, bz) = (values[1:] - values[0] for values in (x, y, z))
    # Inward, because the photo's frame is mirrored.
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _vertex_normals(corners: np.ndarray, facing: np.ndarray, count: int) -> np.ndarray:
    """Compute outward unit normals (3, V), y up."""
    sums = [sum(np.bincount(corner, weights, minlength=count) for corner in corners) for weights in facing]
    total = np.stack(sums) * [[-1], [1], [-1]]
    length = np.sqrt(np.square(total).sum(axis=0))
    return (total / np.where(length > 0, length, 1)).astype(np.float32)


def depth_map(
    vertices: np.ndarray, triangles: np.ndarray, *, region: tuple[int, int, int, int] | None = None
) -> DepthMap:
    """Compute the depth at the centre of each pixel of `region` (left, top, width, height).

    By default the region is the mesh's bounding box, which may reach outside the photo. Raises `ValueError` for a
    mesh that is empty or not finite.
    """
    mesh = _Mesh(vertices, triangles)
    if region is None:
        low, high = mesh.box()
        region = (*low, *(high - low + 1))
    left, top, width, height = (int(value) for value in region)
    if width < 1 or height < 1:
        raise ValueError(f"expected a region (left, top, width, height) of at least 1x1 pixels, got {region}")
    return DepthMap(left, top, mesh.look((left, top, width, height)).depth.reshape(height, width))


def render(
    image: np.ndarray,
    meshes: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    opacity: float = 1.0,
    colour: Sequence = PORCELAIN,
    light: Light | None = None,
) -> np.ndarray:
    """Draw meshes over a photo, (H, W, 3) uint8 RGB, and return the new picture.

    `meshes` holds pairs of vertices (V, 3) and triangles (T, 3), counter-clockwise seen from outside. Weak
    perspective has no distance between faces, so where two overlap, the larger one is in front. `opacity` runs from
    0 (the photo) to 1 (solid); only the nearest surface of a mesh is visible. `colour` is one sRGB colour (3,), 0
    to 255, for all meshes, or a list with one entry per mesh: (3,), or (V, 3) for one colour per vertex.

    Raises `ValueError` for a mesh that is empty or not finite, and for colours of another shape.
    """
    return render_each(image, meshes, opacities=[opacity], colour=colour, light=light)[0]


def render_each(
    image: np.ndarray,
    meshes: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    opacities: Sequence[float],
    colour: Sequence = PORCELAIN,
    light: Light | None = None,
) -> list[np.ndarray]:
    """Do `render` at several opacities, a picture for each. The meshes are cast and shaded once."""
    image = check_image(image, name="render")
    for opacity in opacities:
        check_number(opacity, "opacity", least=0, most=1)
    light = (
        Light() if light is None else check_type(light, "light", Light, remedy="m4kit.light.Light makes one")
    )
    words = "pairs of vertices (V, 3) and triangles (T, 3)"
    remedy = "[(face.vertices, face.triangles)] is one"
    check_type(meshes, "meshes", Sequence, remedy=remedy, words=words)
    parts = [_Mesh(*check_type(pair, "meshes", tuple, list, remedy=remedy, words=words)) for pair in meshes]
    colours = _colours(colour, parts)
    pictures = [image.copy() for _ in opacities]
    uncovered = np.ones(image.shape[:2], dtype=np.float32) if len(parts) > 1 else None
    for index in sorted(range(len(parts)), key=lambda i: -parts[i].size):
        # What a mesh computes to be drawn takes megabytes, which a crowd of faces cannot keep.
        part, parts[index] = parts[index], None
        low, high = part.box()
        # One pixel more on each side: finding an edge needs both of its sides.
        left, top = np.maximum(low - 1, 0)
        right, bottom = np.minimum(high + 2, [image.shape[1], image.shape[0]])
        if left >= right or top >= bottom:
            continue
        window = (slice(top, bottom), slice(left, right))
        shaded, coverage = _draw(part, (left, top, right, bottom), colours[index], light)
        if uncovered is not None:
            coverage *= uncovered[window]
            uncovered[window] -= coverage
        whole, some = (coverage == 1).astype(np.uint8), np.nonzero((coverage > 0) & (coverage < 1))
        photo, share = image[window], coverage[some][:, None]
        for picture, opacity in zip(pictures, opacities, strict=True):
            within = picture[window]
            # The change is relative to the photo, not to the picture so far: then the coverages of a pixel add up.
            change = (shaded[some] - photo[some].astype(np.float32)) * share * np.float32(opacity)
            within[some] = np.clip(np.rint(within[some] + change), 0, 255)
            cv2.copyTo(cv2.addWeighted(shaded, opacity, photo, 1 - opacity, 0), whole, within)
    return pictures


class _Mesh:
    """A valid mesh, and what is seen of it."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        self.vertices, self.triangles = check_mesh(vertices, triangles)
        axes = np.ascontiguousarray(self.vertices.T)
        self._origin, self._end = axes.min(axis=1), axes.max(axis=1)
        self.size = float(face_size(np.stack([self._origin, self._end])))
        # Near the origin, float32 tells vertices apart even in the largest photo.
        self._axes = (axes - self._origin[:, None]).astype(np.float32)

    @cached_property
    def outside(self) -> np.ndarray:
        """Corners (3, n) of the triangles that face the viewer."""
        return self._corners.take(np.flatnonzero(self._facing[2] < 0), axis=1)

    @cached_property
    def _corners(self) -> np.ndarray:
        return np.ascontiguousarray(self.triangles.T)

    @cached_property
    def _front(self) -> np.ndarray:
        """x, y and z of the corners of `outside`, (3, 3, n)."""
        return self._axes.take(self.outside, axis=1)

    @cached_property
    def _facing(self) -> np.ndarray:
        return _facing(self._axes, self._corners)

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and last pixel (x, y) of the mesh's bounding box."""
        return np.floor(self._origin[:2]).astype(int), np.ceil(self._end[:2]).astype(int)

    def look(self, window: tuple[int, int, int, int], **options) -> Seen:
        """What is seen of `outside`; see `raster.look`."""
        left, top, *size = window
        seen = look(self._front, (left - self._origin[0], top - self._origin[1], *size), **options)
        return seen._replace(depth=seen.depth + np.float32(self._origin[2]))

    def surface(self, colour: np.ndarray, light: Light) -> np.ndarray:
        """Compute the light (`light.lit`) from the corners of `outside`, (3, 3, n): channels first."""
        normals = _vertex_normals(self._corners, self._facing, len(self.vertices))
        return np.ascontiguousarray(lit(normals.T, colour, light).T).take(self.outside, axis=1)


def _colours(colour: Sequence, meshes: list[_Mesh]) -> list[np.ndarray]:
    """Return one array per mesh, in linear light: (3,), or (V, 3), one per vertex."""
    check_type(
        colour, "colour", Sequence, np.ndarray, remedy="(255, 255, 255) is white", words="a colour (3,)"
    )
    single = len(colour) == 3 and not any(np.ndim(entry) for entry in colour)
    each = [colour] * len(meshes) if single else list(colour)
    if len(each) != len(meshes):
        raise ValueError(
            f"expected one colour (3,) or one entry for each of the {len(meshes)} meshes, got {len(each)}; "
            "put colours per vertex into a list, one array (V, 3) per mesh"
        )
    result = []
    for entry, mesh in zip(each, meshes, strict=True):
        array = np.asarray(entry, dtype=np.float32)
        if array.shape not in {(3,), mesh.vertices.shape} or not np.isfinite(array).all():
            raise ValueError(
                f"expected a colour (3,) or finite colours {mesh.vertices.shape}, one per vertex, "
                f"got an array {array.shape}"
            )
        result.append((np.clip(array, 0, 255) / 255) ** np.float32(2.2))
    return result


def _draw(mesh: _Mesh, window: tuple[int, int, int, int], colour: np.ndarray, light: Light):
    """Compute colours (h, w, 3) uint8 and coverage (h, w), 0 to 1, of a mesh in a window of the photo."""
    left, top, right, bottom = window
    window = left, top, right - left, bottom - top
    surface = mesh.surface(colour, light)
    seen = mesh.look(window, values=surface)
    depth = seen.depth.reshape(bottom - top, right - left)
    coverage = (~np.isnan(depth)).astype(np.float32)
    remains = 255 * darkened(_hollows(depth, coverage, mesh.size), light)
    colours = seen.values.reshape(3, *depth.shape)
    edges = _edges(depth)
    fine = mesh.look(window, values=surface, pixels=edges, fine=_EDGE_SAMPLES)
    points = _EDGE_SAMPLES**2
    count = np.count_nonzero(~np.isnan(fine.depth).reshape(points, -1), axis=0)
    places = np.flatnonzero(edges)
    coverage.ravel()[places] = count / points
    mean = fine.values.reshape(3, points, -1).sum(axis=1) / np.maximum(count, 1)
    for channel, one in zip(colours, mean, strict=True):
        channel.ravel()[places] = one
    return cv2.merge([cv2.multiply(channel, remains, dtype=cv2.CV_8U) for channel in colours]), coverage


def _edges(depth: np.ndarray) -> np.ndarray:
    """Find the pixels (h, w) on a silhouette: of the mesh, or of one part in front of another.

    There the depth jumps, so its second difference is large. On a smooth slope it is small, however steep.
    """
    filled = np.fmax(depth, np.float32(-1e6))
    across = np.array([[1, -2, 1]], dtype=np.float32)
    bends = (cv2.filter2D(filled, -1, k, borderType=cv2.BORDER_REPLICATE) for k in (across, across.T))
    return np.maximum(*(np.abs(bend) for bend in bends)) > _JUMP


def _hollows(depth: np.ndarray, mask: np.ndarray, size: float) -> np.ndarray:
    """Compute how far each pixel lies below its surroundings, 0 to 1: a fast approximation of ambient occlusion.

    The darkening half of the unsharp mask of the depth buffer (Luft, Colditz and Deussen, SIGGRAPH 2006). `mask`
    (h, w) float32 is 1 where there is a surface.
    """
    # The result is smooth, so blurring a smaller copy is enough.
    factor = max(1.0, size / 160)
    small = tuple(max(1, round(side / factor)) for side in depth.shape[::-1])
    filled = np.where(mask > 0, depth, 0)
    sigma = 0.03 * size / factor
    share, total = (
        cv2.GaussianBlur(cv2.resize(field, small, interpolation=cv2.INTER_LINEAR), (0, 0), sigma)
        for field in (mask, filled)
    )
    mean = cv2.resize(total / np.maximum(share, 1e-3), depth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip((mean - filled) / (0.045 * size), 0, 1) * mask
