"""Meshes written for other programs, and read back."""

import numpy as np
import pytest
import trimesh

from m4kit import FaceModel
from m4kit.export import ExportError, save_mesh

MODEL = FaceModel.load()
VERTICES, TRIANGLES = MODEL.mean.numpy(), MODEL.triangles.numpy()
COLOURS = np.random.default_rng(0).integers(0, 255, VERTICES.shape, dtype=np.uint8)


def read_back(path):
    mesh = trimesh.load_mesh(path, process=False, maintain_order=True)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces), mesh


@pytest.mark.parametrize("ending", [".ply", ".obj", ".glb", ".PLY"])
def test_what_is_written_is_read_back(tmp_path, ending):
    path = save_mesh(tmp_path / f"face{ending}", VERTICES, TRIANGLES, colours=COLOURS)
    vertices, triangles, mesh = read_back(path)
    assert np.abs(vertices - VERTICES).max() < 1e-3
    assert np.array_equal(triangles, TRIANGLES)
    assert np.abs(mesh.visual.vertex_colors[:, :3].astype(int) - COLOURS).max() <= 1


def test_an_stl_holds_the_same_triangles(tmp_path):
    vertices, triangles, _ = read_back(save_mesh(tmp_path / "face.stl", VERTICES, TRIANGLES))
    assert len(triangles) == len(TRIANGLES)
    # An STL names no vertices, only each triangle's corners.
    assert np.abs(vertices[triangles] - VERTICES[TRIANGLES]).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "mesh", "words"),
    [
        ("face.fbx", (VERTICES, TRIANGLES, None), r"ends in \.obj, \.ply, \.glb, \.stl, got \.fbx"),
        ("none/face.ply", (VERTICES, TRIANGLES, None), "there is no folder"),
        ("face.ply", (VERTICES[:, :2], TRIANGLES, None), r"expected finite vertices \(V, 3\)"),
        ("face.ply", (VERTICES * np.nan, TRIANGLES, None), "expected finite vertices"),
        ("face.ply", (VERTICES[:9], TRIANGLES, None), "triangles .* of 9 vertices"),
        ("face.ply", (VERTICES, TRIANGLES, COLOURS / 255), "expected colours .* of uint8"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, name, mesh, words):
    vertices, triangles, colours = mesh
    with pytest.raises(ExportError, match=words):
        save_mesh(tmp_path / name, vertices, triangles, colours=colours)
    assert not list(tmp_path.iterdir())
