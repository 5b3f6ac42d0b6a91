"""Meshes into pictures: orthographic ray casting over the photo, soft light, clean edges.

Vertices are in the photo's frame: x and y in photo pixels (x right, y down, integers at pixel centres), z in
the same unit towards the viewer. Normals are unit vectors with y **up**, as one thinks of light: x right,
y up, z towards the viewer. A surface shows from outside alone: a face is a shell, and the back of it is no
skin. Open3D casts the rays; it is loaded at the first picture, never at import.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np

from m4kit.images import check_image
from m4kit.light import Light, shade
from m4kit.stand_ins import stand_in_for_unused

PORCELAIN = (226, 222, 217)
"""Default colour of a mesh, sRGB."""

_EDGE_SAMPLES = 4
"""Rays along each side of a pixel that an edge crosses."""

_JUMP = 3.0
"""Second difference of the depth, in photo pixels, from which a pixel counts as an edge."""

_CHUNK = 1 << 18
"""Rays shaded at once: bounds the memory that a 4,000-pixel photo takes."""


class RenderError(RuntimeError):
    """Open3D, which casts the rays, cannot be loaded."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """What each pixel of a region of the photo sees of one mesh.

    The region's first pixel is the photo's (`left`, `top`). `triangle` (h, w) int32 is the index of the
    triangle hit, -1 where none is; `barycentric` (h, w, 3) the weights of its corners; `depth` (h, w) z in
    photo pixels towards the viewer, NaN where nothing is hit; `normals` (h, w, 3) the interpolated unit
    normals, 0 where nothing is hit.
    """

    left: int
    top: int
    triangle: np.ndarray = field(repr=False)
    barycentric: np.ndarray = field(repr=False)
    depth: np.ndarray = field(repr=False)
    normals: np.ndarray = field(repr=False)
    triangles: np.ndarray = field(repr=False)

    @property
    def mask(self) -> np.ndarray:
        """Where the mesh is, (h, w) bool."""
        return self.triangle >= 0

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Values per vertex, (V,) or (V, k), over the pixels: (h, w) or (h, w, k), 0 where nothing is hit."""
        values = np.asarray(values, dtype=np.float32)
        result = np.zeros((*self.triangle.shape, *values.shape[1:]), dtype=np.float32)
        corners = values[self.triangles]
        result[self.mask] = _blend(corners, self.triangle[self.mask], self.barycentric[self.mask])
        return result


@cache
def load_open3d():
    """The `open3d` module, imported silently at the first call.

    Raises `RenderError` with a remedy if it, or a library of the system that it needs, is missing.
    """
    if sys.platform == "linux":
        _load_libusb()
        _load_stand_ins()
    # Inside Jupyter, Open3D's import would print and start a web server.
    switch = "OPEN3D_DISABLE_WEB_VISUALIZER"
    before = os.environ.get(switch)
    os.environ[switch] = "true"
    try:
        return importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise RenderError(
            f"drawing meshes needs Open3D, which did not load ({error}). If it is not installed: "
            "pip install open3d (open3d-cpu on Linux). If a library of the system is missing, on Debian or "
            "Ubuntu: apt install libegl1 libgl1 libx11-6 libudev1 libidn2-0"
        ) from error
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


def _load_stand_ins() -> None:
    spec = importlib.util.find_spec("open3d")
    for folder in (spec and spec.submodule_search_locations) or ():
        for library in sorted(Path(folder).glob("libOpen3D.so*")):
            stand_in_for_unused(library)


def _load_libusb() -> None:
    """Load the libusb-1.0 that `libusb_package` ships: Open3D links to it, and a bare system has none."""
    try:
        path = importlib.import_module("libusb_package").get_library_path()
    except ImportError:
        return  # The system's own may do; if not, Open3D's import names the missing library.
    if path is not None:
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3), the triangles' around each vertex weighted by area; y up, outward.

    `vertices` (V, 3) are in the photo's frame (y down), `triangles` (T, 3) counter-clockwise from outside.
    """
    corners = vertices[triangles]
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    index = triangles.ravel()
    sums = [np.bincount(index, np.repeat(facing[:, k], 3), minlength=len(vertices)) for k in range(3)]
    # y points down in the photo, a mirrored frame, in which the cross product points inward.
    total = np.stack(sums, axis=1) * [-1, 1, -1]
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return (total / np.where(length > 0, length, 1)).astype(np.float32)


def buffers(
    vertices: np.ndarray,
    triangles: np.ndarray,
    *,
    region: tuple[int, int, int, int] | None = None,
) -> Buffers:
    """Cast one ray through each pixel's centre of `region` (left, top, width, height).

    Without a region, it is the mesh's own box, which may reach outside any photo. Raises `ValueError` for an
    empty mesh or one that is not finite.
    """
    mesh = _Mesh(vertices, triangles)
    if region is None:
        low, high = mesh.box()
        region = (*low, *(high - low + 1))
    left, top, width, height = (int(value) for value in region)
    if width < 1 or height < 1:
        raise ValueError(f"expected a region (left, top, width, height) of at least 1x1 pixels, got {region}")
    x, y = np.meshgrid(np.arange(left, left + width), np.arange(top, top + height))
    triangle, barycentric, depth = mesh.cast(x.ravel(), y.ravel())
    normals = np.zeros((height * width, 3), dtype=np.float32)
    hit = triangle >= 0
    normals[hit] = mesh.normals_at(triangle[hit], barycentric[hit])
    shape = (height, width)
    return Buffers(
        left,
        top,
        triangle=triangle.reshape(shape),
        barycentric=barycentric.reshape(*shape, 3),
        depth=depth.reshape(shape),
        normals=normals.reshape(*shape, 3),
        triangles=mesh.triangles,
    )


def render(
    image: np.ndarray,
    meshes: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    opacity: float = 1.0,
    colour: Sequence = PORCELAIN,
    light: Light | None = None,
) -> np.ndarray:
    """Draw meshes over a photo, (H, W, 3) uint8 RGB, and return the new picture.

    `meshes` holds (vertices (V, 3), triangles (T, 3)) pairs, triangles counter-clockwise seen from outside.
    Weak perspective knows no distance between faces, so where two overlap, the larger is in front. `opacity`
    runs from 0 (the photo) to 1 (solid); of a translucent mesh, too, only the nearest surface shows. `colour`
    is one sRGB colour (3,) in 0 to 255 for all meshes, or a list with one entry for each: (3,), or (V, 3) for
    colours by vertex.

    Raises `ValueError` for an empty mesh or one that is not finite, and for colours that do not fit.
    """
    image = check_image(image, name="render")
    if not 0 <= opacity <= 1:
        raise ValueError(f"expected an opacity between 0 and 1, got {opacity}")
    light = Light() if light is None else light
    parts = [_Mesh(vertices, triangles) for vertices, triangles in meshes]
    colours = _colours(colour, parts)
    picture = image.copy()
    uncovered = np.ones(image.shape[:2], dtype=np.float32) if len(parts) > 1 else None
    for index in sorted(range(len(parts)), key=lambda i: -parts[i].size):
        low, high = parts[index].box()
        # One pixel more all around: an edge is known by what lies on its other side.
        left, top = np.maximum(low - 1, 0)
        right, bottom = np.minimum(high + 2, [image.shape[1], image.shape[0]])
        if left >= right or top >= bottom:
            continue
        window = (slice(top, bottom), slice(left, right))
        shaded, coverage = _draw(parts[index], (left, top, right, bottom), colours[index], light)
        if uncovered is not None:
            coverage *= uncovered[window]
            uncovered[window] -= coverage
        # Against the photo, not the picture so far: shares of a pixel then add up whatever lies in front.
        change = (shaded - image[window]) * (opacity * coverage)[..., None]
        picture[window] = np.clip(np.rint(picture[window] + change), 0, 255).astype(np.uint8)
    return picture


class _Mesh:
    """A checked mesh with its ray-casting scene."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        self.vertices = np.asarray(vertices, dtype=np.float64)
        self.triangles = np.asarray(triangles)
        if self.vertices.ndim != 2 or self.vertices.shape[1:] != (3,) or len(self.vertices) == 0:
            raise ValueError(f"expected vertices of shape (V, 3), at least one, got {self.vertices.shape}")
        if self.triangles.ndim != 2 or self.triangles.shape[1:] != (3,) or len(self.triangles) == 0:
            raise ValueError(f"expected triangles of shape (T, 3), at least one, got {self.triangles.shape}")
        if self.triangles.min() < 0 or self.triangles.max() >= len(self.vertices):
            raise ValueError(
                f"expected triangles that index {len(self.vertices)} vertices, "
                f"got {self.triangles.min()} to {self.triangles.max()}"
            )
        wrong = int((~np.isfinite(self.vertices)).any(axis=1).sum())
        if wrong:
            raise ValueError(
                f"expected finite vertices, but {wrong} of {len(self.vertices)} are NaN or infinite; "
                "look at the parameters that they come from"
            )
        self.size = float(np.sqrt(np.ptp(self.vertices[:, :2], axis=0).prod()))

    @cached_property
    def outside(self) -> np.ndarray:
        """Indices of the triangles that turn their outside to the viewer."""
        first, second, third = self.vertices[self.triangles][..., :2].swapaxes(0, 1)
        a, b = second - first, third - first
        return np.flatnonzero(a[:, 0] * b[:, 1] < a[:, 1] * b[:, 0]).astype(np.int32)

    @cached_property
    def normals(self) -> np.ndarray:
        """Unit normals at the triangles' corners, (T, 3, 3)."""
        return vertex_normals(self.vertices, self.triangles)[self.triangles]

    @cached_property
    def _scene(self):
        open3d = load_open3d()
        scene = open3d.t.geometry.RaycastingScene()
        # Single precision in the caster: near the origin it does not matter how large the photo is.
        vertices = np.ascontiguousarray(self.vertices - self.vertices.mean(axis=0), dtype=np.float32)
        triangles = np.ascontiguousarray(self.triangles[self.outside], dtype=np.uint32)
        scene.add_triangles(*(open3d.core.Tensor.from_numpy(array) for array in (vertices, triangles)))
        return scene

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last pixel (x, y) that the mesh can touch."""
        plane = self.vertices[:, :2]
        return np.floor(plane.min(axis=0)).astype(int), np.ceil(plane.max(axis=0)).astype(int)

    def cast(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Triangle (n,), barycentrics (n, 3) and depth (n,) that rays at photo points x, y (n,) meet."""
        origin = self.vertices.mean(axis=0)
        start = float(self.vertices[:, 2].max() - origin[2]) + 1
        triangle = np.empty(len(x), dtype=np.int32)
        barycentric = np.zeros((len(x), 3), dtype=np.float32)
        depth = np.full(len(x), np.nan, dtype=np.float32)
        if len(self.outside) == 0:
            return np.full_like(triangle, -1), barycentric, depth
        tensor = load_open3d().core.Tensor.from_numpy
        for first in range(0, len(x), _CHUNK):
            part = slice(first, first + _CHUNK)
            rays = np.zeros((len(x[part]), 6), dtype=np.float32)
            rays[:, 0], rays[:, 1], rays[:, 2] = x[part] - origin[0], y[part] - origin[1], start
            rays[:, 5] = -1
            answer = self._scene.cast_rays(tensor(rays))
            # A miss is the largest uint32, which reads as -1.
            found = answer["primitive_ids"].numpy().view(np.int32)
            triangle[part] = np.where(found >= 0, self.outside[found], -1)
            barycentric[part, 1:] = answer["primitive_uvs"].numpy()
            depth[part] = start + origin[2] - answer["t_hit"].numpy()
        missed = triangle < 0
        barycentric[:, 0] = 1 - barycentric[:, 1] - barycentric[:, 2]
        barycentric[missed] = 0
        depth[missed] = np.nan
        return triangle, barycentric, depth

    def albedo_at(self, colour: np.ndarray, triangle: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        """The colour itself, (3,), or colours at the triangles' corners (T, 3, 3) interpolated, (n, 3)."""
        return colour if colour.ndim == 1 else _blend(colour, triangle, barycentric)

    def normals_at(self, triangle: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        """Interpolated unit normals (n, 3)."""
        normals = _blend(self.normals, triangle, barycentric)
        length = np.sqrt(np.einsum("nk,nk->n", normals, normals))
        return normals / np.where(length > 0, length, 1)[:, None]


def _blend(values: np.ndarray, triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values per corner of the triangles, (T, 3, ...), at points in triangles (n,) with weights (n, 3)."""
    return np.einsum("nk,nk...->n...", weights, np.take(values, triangle, axis=0))


def _colours(colour: Sequence, meshes: list[_Mesh]) -> list[np.ndarray]:
    """One array for each mesh, in linear light: (3,), or (T, 3, 3) at the triangles' corners."""
    each = [colour] * len(meshes) if np.shape(colour) == (3,) else list(colour)
    if len(each) != len(meshes):
        raise ValueError(
            f"expected one colour (3,) or one entry for each of the {len(meshes)} meshes, got {len(each)}; "
            "colours by vertex go into a list, one array (V, 3) a mesh"
        )
    result = []
    for entry, mesh in zip(each, meshes, strict=True):
        array = np.asarray(entry, dtype=np.float32)
        if array.shape not in {(3,), mesh.vertices.shape} or not np.isfinite(array).all():
            raise ValueError(
                f"expected a colour (3,) or finite colours {mesh.vertices.shape}, one a vertex, "
                f"got an array {array.shape}"
            )
        linear = (np.clip(array, 0, 255) / 255) ** np.float32(2.2)
        result.append(linear if linear.ndim == 1 else linear[mesh.triangles])
    return result


def _draw(mesh: _Mesh, window: tuple[int, int, int, int], colour: np.ndarray, light: Light):
    """The mesh's colour (h, w, 3), 0 to 255, and its share of each pixel (h, w), in a window of the photo."""
    left, top, right, bottom = window
    x, y = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    shape = x.shape
    x, y = x.ravel(), y.ravel()
    triangle, barycentric, depth = mesh.cast(x, y)
    depth = depth.reshape(shape)
    hollow = _hollows(depth, mesh.size).ravel()
    hit = np.flatnonzero(triangle >= 0)
    shaded = np.zeros((x.size, 3), dtype=np.float32)
    for part in _parts(hit):
        normals = mesh.normals_at(triangle[part], barycentric[part])
        albedo = mesh.albedo_at(colour, triangle[part], barycentric[part])
        shaded[part] = shade(normals, albedo, light=light, hollow=hollow[part])
    coverage = (triangle >= 0).astype(np.float32)

    step = (np.arange(_EDGE_SAMPLES) + 0.5) / _EDGE_SAMPLES - 0.5
    step_x, step_y = (grid.ravel() for grid in np.meshgrid(step, step))
    rays = len(step_x)
    for part in _parts(np.flatnonzero(_edges(depth)), share=rays):
        triangle, barycentric, _ = mesh.cast(
            (x[part, None] + step_x).ravel(), (y[part, None] + step_y).ravel()
        )
        hit = triangle >= 0
        normals = mesh.normals_at(triangle[hit], barycentric[hit])
        albedo = mesh.albedo_at(colour, triangle[hit], barycentric[hit])
        around = np.repeat(hollow[part], rays)[hit]
        colours = np.zeros((len(hit), 3), dtype=np.float32)
        colours[hit] = shade(normals, albedo, light=light, hollow=around)
        count = hit.reshape(-1, rays).sum(axis=1)
        shaded[part] = colours.reshape(-1, rays, 3).sum(axis=1) / np.maximum(count, 1)[:, None]
        coverage[part] = count / rays
    return shaded.reshape(*shape, 3), coverage.reshape(shape)


def _parts(indices: np.ndarray, *, share: int = 1) -> list[np.ndarray]:
    """Indices in pieces of at most `_CHUNK` rays, where each stands for `share` of them."""
    return np.array_split(indices, len(indices) * share // _CHUNK + 1)


def _edges(depth: np.ndarray) -> np.ndarray:
    """Pixels (h, w) where a silhouette passes, the mesh's own or one of a part before another.

    There the depth jumps, so its second difference is large; on a smooth slope it is not, however steep.
    """
    filled = np.nan_to_num(depth, nan=-1e6)
    across = np.array([[1, -2, 1]], dtype=np.float32)
    bends = (cv2.filter2D(filled, -1, k, borderType=cv2.BORDER_REPLICATE) for k in (across, across.T))
    return np.maximum(*(np.abs(bend) for bend in bends)) > _JUMP


def _hollows(depth: np.ndarray, size: float) -> np.ndarray:
    """How far each pixel lies below its surroundings, 0 to 1: a cheap stand-in for ambient occlusion.

    The unsharp mask of the depth buffer (Luft, Colditz and Deussen, SIGGRAPH 2006), its darkening half alone.
    """
    # Blurring a smaller copy is enough: the result is smooth.
    factor = max(1.0, size / 160)
    small = tuple(max(1, round(side / factor)) for side in depth.shape[::-1])
    mask = (~np.isnan(depth)).astype(np.float32)
    filled = np.nan_to_num(depth, nan=0.0)
    sigma = 0.03 * size / factor
    share, total = (
        cv2.GaussianBlur(cv2.resize(field, small, interpolation=cv2.INTER_AREA), (0, 0), sigma)
        for field in (mask, filled)
    )
    mean = cv2.resize(total / np.maximum(share, 1e-3), depth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip((mean - filled) / (0.045 * size), 0, 1) * mask
