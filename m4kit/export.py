"""Writes meshes as OBJ, PLY, STL or GLB files.

trimesh writes all but GLB. Its GLB has no normals and no material, and its colours are not in linear light, so that
viewers show dark, faceted metal.
"""

from __future__ import annotations

import json
import struct
from os import PathLike
from pathlib import Path

import numpy as np

from m4kit.checks import check_mesh, check_type
from m4kit.render import vertex_normals

FORMATS = (".obj", ".ply", ".glb", ".stl")
"""The endings that `save_mesh` can write; STL has no colours."""

_FLOAT, _UNSIGNED_SHORT, _UNSIGNED_INT = 5126, 5123, 5125
_VERTEX_DATA, _TRIANGLE_DATA = 34962, 34963


class ExportError(ValueError):
    """A mesh cannot be written."""


def save_mesh(
    path: str | Path, vertices: np.ndarray, triangles: np.ndarray, *, colours: np.ndarray | None = None
) -> Path:
    """Write a mesh in the format of the path's ending; gives the path. `Face.save` does so for a face.

    `vertices` (V, 3) and `triangles` (T, 3), counter-clockwise seen from outside, are written unchanged: for
    `face.shape` in millimetres, x right, y up, z towards the viewer. A GLB scales them to metres, the unit of glTF.
    `colours` (V, 3) uint8 sRGB are written where the format has colours.

    Raises `ExportError` for another ending, a missing folder, arrays that are not a mesh, and failed writing.
    """
    path = Path(
        check_type(path, "save_mesh", str, PathLike, remedy="give the name of a file", words="a path")
    )
    if path.suffix.lower() not in FORMATS:
        raise ExportError(
            f"{path}: expected a name that ends in {', '.join(FORMATS)}, got {path.suffix or 'no ending'}"
        )
    if not path.parent.is_dir():
        raise ExportError(f"{path}: the folder {path.parent} does not exist; make it first")
    try:
        vertices, triangles = check_mesh(vertices, triangles)
    except ValueError as error:
        raise ExportError(f"{path}: {error}") from error
    if colours is not None:
        colours = np.asarray(colours)
        if colours.shape != vertices.shape or colours.dtype != np.uint8:
            raise ExportError(
                f"{path}: expected colours {vertices.shape} of uint8, one per vertex, got {colours.shape} of "
                f"{colours.dtype}"
            )
    try:
        if path.suffix.lower() == ".glb":
            path.write_bytes(_glb(vertices, triangles, colours))
        else:
            import trimesh

            # Unprocessed: by default trimesh merges and drops vertices.
            mesh = trimesh.Trimesh(vertices, triangles, vertex_colors=colours, process=False)
            mesh.export(path, file_type=path.suffix.lower()[1:])
    except OSError as error:
        raise ExportError(
            f"{path}: writing failed ({error}); free some space, or choose another folder"
        ) from error
    return path


def _glb(vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray | None) -> bytes:
    """Encode a mesh in mm as binary glTF 2.0: one node, scaled to metres, with a matt material."""
    # `vertex_normals` expects the photo's frame, y down.
    normals = vertex_normals(vertices * [1, -1, 1], triangles)
    arrays = {
        "POSITION": (vertices.astype("<f4"), _FLOAT, "VEC3"),
        "NORMAL": (normals.astype("<f4"), _FLOAT, "VEC3"),
    }
    if colours is not None:
        # 16 bits keep dark tones apart; the alpha channel aligns each vertex to four bytes.
        linear = np.rint(65535 * _linear(np.column_stack([colours, np.full(len(colours), 255)])))
        arrays["COLOR_0"] = (linear.astype("<u2"), _UNSIGNED_SHORT, "VEC4")
    kind = ("<u2", _UNSIGNED_SHORT) if len(vertices) < 65536 else ("<u4", _UNSIGNED_INT)
    parts = [*arrays.values(), (triangles.ravel().astype(kind[0]), kind[1], "SCALAR")]
    accessors, views, body = [], [], b""
    for number, (array, component, shape) in enumerate(parts):
        accessor = {"bufferView": number, "componentType": component, "count": len(array), "type": shape}
        if number == 0:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        if shape == "VEC4":
            accessor["normalized"] = True
        target = _TRIANGLE_DATA if shape == "SCALAR" else _VERTEX_DATA
        views.append({"buffer": 0, "byteOffset": len(body), "byteLength": array.nbytes, "target": target})
        accessors.append(accessor)
        body += array.tobytes()
        body += bytes(-len(body) % 4)
    surface = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    primitive = {
        "attributes": {name: number for number, name in enumerate(arrays)},
        "indices": len(arrays),
        "material": 0,
    }
    scene = {
        "asset": {"version": "2.0", "generator": "m4kit"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face", "scale": [0.001] * 3}],
        "meshes": [{"name": "face", "primitives": [primitive]}],
        "materials": [{"name": "skin", "pbrMetallicRoughness": surface, "doubleSided": True}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(body)}],
    }
    words = json.dumps(scene, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 4)
    chunks = [
        struct.pack("<I4s", len(part), name) + part for name, part in ((b"JSON", words), (b"BIN\0", body))
    ]
    content = b"".join(chunks)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(content)) + content


def _linear(colours: np.ndarray) -> np.ndarray:
    """Convert sRGB, 0 to 255, to linear light, 0 to 1 (IEC 61966-2-1)."""
    share = colours / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
