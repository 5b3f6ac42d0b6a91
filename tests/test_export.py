"""Meshes written for other programs, and read back."""

import json
import struct

import numpy as np
import pytest
import trimesh

from m4kit import FaceModel
from m4kit.export import ExportError, save_mesh

MODEL = FaceModel.load()
VERTICES, TRIANGLES = MODEL.mean, MODEL.triangles
COLOURS = np.random.default_rng(0).integers(0, 255, VERTICES.shape, dtype=np.uint8)


def read_back(path):
    mesh = trimesh.load_mesh(path, process=False, maintain_order=True)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces), mesh


@pytest.mark.parametrize("ending", [".ply", ".obj", ".PLY"])
def test_what_is_written_is_read_back(tmp_path, ending):
    path = save_mesh(tmp_path / f"face{ending}", VERTICES, TRIANGLES, colours=COLOURS)
    vertices, triangles, mesh = read_back(path)
    assert np.abs(vertices - VERTICES).max() < 1e-3
    assert np.array_equal(triangles, TRIANGLES)
    assert np.abs(mesh.visual.vertex_colors[:, :3].astype(int) - COLOURS).max() <= 1


def glb_parts(path):
    """The words of a binary glTF and the arrays that its mesh names, read as the standard says."""
    content = path.read_bytes()
    magic, version, length, words, kind = struct.unpack_from("<4sIII4s", content)
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    scene = json.loads(content[20 : 20 + words])
    body, name = struct.unpack_from("<I4s", content, 20 + words)
    assert (body, name) == (scene["buffers"][0]["byteLength"], b"BIN\0")
    assert 28 + words + body == length

    def array(number):
        accessor = scene["accessors"][number]
        view = scene["bufferViews"][accessor["bufferView"]]
        kind = np.dtype({5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]])
        columns = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        start, count = 28 + words + view["byteOffset"], accessor["count"] * columns
        assert count * kind.itemsize == view["byteLength"]
        return np.frombuffer(content, kind, count, start).reshape(-1, columns)

    (primitive,) = scene["meshes"][0]["primitives"]
    named = primitive["attributes"] | {"indices": primitive["indices"]}
    return scene, {name: array(number) for name, number in named.items()}


def test_a_glb_is_read_back_in_metres_as_the_standard_has_it(tmp_path):
    vertices, triangles, _ = read_back(save_mesh(tmp_path / "face.glb", VERTICES, TRIANGLES, colours=COLOURS))
    assert np.abs(1000 * vertices - VERTICES).max() < 1e-3
    assert np.array_equal(triangles, TRIANGLES)
    assert np.ptp(vertices[:, 1]) == pytest.approx(0.19, abs=0.02)


def test_a_glbs_numbers_are_the_meshs_and_its_colours_are_linear_light(tmp_path):
    scene, arrays = glb_parts(save_mesh(tmp_path / "face.glb", VERTICES, TRIANGLES, colours=COLOURS))
    assert np.array_equal(arrays["POSITION"], VERTICES)
    assert np.array_equal(arrays["indices"].reshape(-1, 3), TRIANGLES)
    position = scene["accessors"][scene["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert np.allclose([position["min"], position["max"]], [VERTICES.min(0), VERTICES.max(0)])
    linear = arrays["COLOR_0"] / 65535
    # IEC 61966-2-1, the way back to sRGB.
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.array_equal(np.rint(255 * coded[:, :3]), COLOURS)
    assert (linear[:, 3] == 1).all()


def test_a_glb_is_smooth_skin_and_no_metal(tmp_path):
    scene, arrays = glb_parts(save_mesh(tmp_path / "face.glb", VERTICES, TRIANGLES))
    assert scene["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert "COLOR_0" not in arrays
    assert np.allclose(np.linalg.norm(arrays["NORMAL"], axis=1), 1, atol=1e-5)
    # At the tip of the nose, of all vertices the nearest to the viewer.
    assert arrays["NORMAL"][VERTICES[:, 2].argmax(), 2] > 0.9


def test_an_stl_holds_the_same_triangles(tmp_path):
    vertices, triangles, _ = read_back(save_mesh(tmp_path / "face.stl", VERTICES, TRIANGLES))
    assert len(triangles) == len(TRIANGLES)
    # An STL names no vertices, only each triangle's corners.
    assert np.abs(vertices[triangles] - VERTICES[TRIANGLES]).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "mesh", "words"),
    [
        ("face.fbx", (VERTICES, TRIANGLES, None), r"ends in \.obj, \.ply, \.glb, \.stl, got \.fbx"),
        ("none/face.ply", (VERTICES, TRIANGLES, None), "does not exist; make it first"),
        ("face.ply", (VERTICES[:, :2], TRIANGLES, None), r"face\.ply: expected vertices of shape \(V, 3\)"),
        ("face.ply", (VERTICES, TRIANGLES / 1.0, None), "triangles that index .* of float64"),
        ("face.ply", (VERTICES, TRIANGLES, COLOURS / 255), "expected colours .* of uint8"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, name, mesh, words):
    vertices, triangles, colours = mesh
    with pytest.raises(ExportError, match=words):
        save_mesh(tmp_path / name, vertices, triangles, colours=colours)
    assert not list(tmp_path.iterdir())
