"""The 3D figure that needs no kernel, and the picture that needs no browser."""

import numpy as np
import pytest
from test_vertex_colours import MODEL, face

from m4kit.visualize import mesh_figure, mesh_picture


def traces(figure, kind):
    return [trace for trace in figure.data if trace.type == kind]


def test_it_holds_the_mesh_the_five_contours_and_three_axes():
    figure = mesh_figure(face(pose=(30, 0, 0)))
    (mesh,) = traces(figure, "mesh3d")
    assert len(mesh.x) == len(MODEL.mean)
    assert len(mesh.i) == len(MODEL.triangles)
    assert len(traces(figure, "scatter3d")) == 8
    assert len(mesh_figure(face(), landmarks=False, pose_axes=False).data) == 1


def test_the_head_looks_at_the_viewer_whatever_its_pose():
    (mesh,) = traces(mesh_figure(face(pose=(50, -10, 5))), "mesh3d")
    assert np.abs(np.column_stack([mesh.x, mesh.y, mesh.z]) - MODEL.mean.numpy()).max() < 1e-2


def test_axes_are_equal_and_unseen():
    scene = mesh_figure(face()).layout.scene
    assert scene.aspectmode == "data"
    assert not any(axis.visible for axis in (scene.xaxis, scene.yaxis, scene.zaxis))
    assert scene.camera.up.y == 1


def test_numbers_have_a_colour_bar_with_a_unit_and_colours_have_none():
    (mesh,) = traces(mesh_figure(face(), colour="depth"), "mesh3d")
    assert mesh.colorbar.title.text == "mm towards the viewer"
    assert mesh.intensity is not None
    (mesh,) = traces(mesh_figure(face(), colour="region"), "mesh3d")
    assert mesh.intensity is None
    assert len(set(mesh.vertexcolor)) >= len(MODEL.regions)


def test_a_hover_says_number_region_and_value():
    (mesh,) = traces(mesh_figure(face(), colour="depth"), "mesh3d")
    vertex = int(np.flatnonzero(MODEL.regions["nose"])[0])
    assert "nose" in mesh.text[vertex]
    assert mesh.customdata[vertex] == vertex
    assert "%{customdata}" in mesh.hovertemplate
    assert "mm towards the viewer" in mesh.hovertemplate


def test_it_stays_under_a_megabyte():
    assert len(mesh_figure(face(), colour="normals").to_json()) < 1_000_000


def test_the_page_holds_all_that_it_needs(tmp_path):
    mesh_figure(face()).write_html(tmp_path / "face.html", include_plotlyjs=True)
    assert '<script src="http' not in (tmp_path / "face.html").read_text(encoding="utf-8")


def test_the_picture_shows_the_head_turned():
    front, turned = (mesh_picture(face(), yaw=yaw, side=120).astype(int) for yaw in (0, 70))
    assert front.shape == (120, 120, 3)
    assert 0.15 < (front.min(-1) < 250).mean() < 0.6
    assert (np.abs(front - turned).max(-1) > 30).mean() > 0.1


def test_the_photo_is_asked_for():
    with pytest.raises(ValueError, match="expected the photo"):
        mesh_figure(face(), colour="texture")
