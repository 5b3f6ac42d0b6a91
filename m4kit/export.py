"""Meshes as files for other programs: OBJ, PLY, GLB and STL, written by trimesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FORMATS = (".obj", ".ply", ".glb", ".stl")
"""What `save_mesh` writes; an STL has no colours."""


class ExportError(ValueError):
    """A mesh that cannot be written: the message says why and what to do."""


def save_mesh(
    path: str | Path, vertices: np.ndarray, triangles: np.ndarray, *, colours: np.ndarray | None = None
) -> Path:
    """Write a mesh, in the format that the path's ending names; gives the path.

    `vertices` (V, 3) and `triangles` (T, 3), counter-clockwise seen from outside, are written as they are: of
    `face.shape` that is millimetres, x right, y up, z towards the viewer. `colours` (V, 3) uint8 sRGB, such as
    `vertex_colours(face, "texture", image=photo).colours`, go along where the format has them.

        save_mesh("face.ply", face.shape, face.triangles)

    Raises `ExportError` for another ending, a folder that is not there, arrays that are no mesh, and where writing
    fails.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ExportError(
            f"{path}: expected a name that ends in {', '.join(FORMATS)}, got {path.suffix or 'no ending'}"
        )
    if not path.parent.is_dir():
        raise ExportError(f"{path}: there is no folder {path.parent}; make it first")
    vertices, triangles = np.asarray(vertices, dtype=np.float64), np.asarray(triangles)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise ExportError(f"{path}: expected finite vertices (V, 3), got {vertices.shape}")
    if (
        triangles.ndim != 2
        or triangles.shape[1] != 3
        or not 0 <= triangles.min() <= triangles.max() < len(vertices)
    ):
        raise ExportError(
            f"{path}: expected triangles (T, 3) of {len(vertices)} vertices, got {triangles.shape}"
        )
    if colours is not None:
        colours = np.asarray(colours)
        if colours.shape != vertices.shape or colours.dtype != np.uint8:
            raise ExportError(
                f"{path}: expected colours {vertices.shape} of uint8, one a vertex, got {colours.shape} of "
                f"{colours.dtype}"
            )
    import trimesh

    # As it is: by default trimesh would merge and drop vertices.
    mesh = trimesh.Trimesh(vertices, triangles, vertex_colors=colours, process=False)
    try:
        mesh.export(path, file_type=path.suffix.lower()[1:])
    except OSError as error:
        raise ExportError(f"{path}: writing failed ({error}); make room, or choose another folder") from error
    return path
