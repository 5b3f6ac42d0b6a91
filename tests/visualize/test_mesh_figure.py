"""The 3D figure that needs no kernel, and the picture that needs no browser."""

import io

import numpy as np
import pytest
from PIL import Image

from m4kit.camera import rotation_from_euler
from m4kit.vertex_colours import vertex_colours
from m4kit.visualize import mesh_figure, mesh_picture, write_page

from helpers.faces import MODEL, face
from helpers.lab_browser import jupyter_browser

PHOTO = np.random.default_rng(0).integers(0, 255, (240, 240, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def page(browser):
    page = jupyter_browser.new_page(browser, width=500, height=500)
    yield page
    page.close()


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
    assert np.abs(np.column_stack([mesh.x, mesh.y, mesh.z]) - MODEL.mean).max() < 1e-2


def test_axes_are_equal_and_unseen():
    scene = mesh_figure(face()).layout.scene
    sides = (scene.xaxis, scene.yaxis, scene.zaxis)
    lengths = [side.range[1] - side.range[0] for side in sides]
    ratio = scene.aspectratio
    assert np.allclose(np.array([ratio.x, ratio.y, ratio.z]) / lengths, ratio.x / lengths[0])
    assert not any(side.visible for side in sides)
    assert scene.camera.projection.type == "orthographic"


def test_nothing_lies_outside_the_scene_where_plotly_would_cut_it_off():
    figure = mesh_figure(face(pose=(30, 0, 0)))
    scene = figure.layout.scene
    for trace in figure.data:
        for values, side in ((trace.x, scene.xaxis), (trace.y, scene.yaxis), (trace.z, scene.zaxis)):
            assert side.range[0] < np.nanmin(values)
            assert np.nanmax(values) < side.range[1]


def test_buttons_turn_the_head_and_one_of_them_to_its_pose_in_the_photo():
    (menu,) = mesh_figure(face(pose=(35, -10, 15))).layout.updatemenus
    cameras = {button.label: button.args[0]["scene.camera"] for button in menu.buttons}
    assert list(cameras) == ["Front", "As in photo", "Left side", "Right side"]
    rotation = rotation_from_euler(35, -10, 15)
    eye, up = (np.array([cameras["As in photo"][end][axis] for axis in "xyz"]) for end in ("eye", "up"))
    # What the viewer looks along and what is up to them, both in the head's frame.
    assert np.allclose(eye / np.linalg.norm(eye), rotation.T @ [0, 0, 1], atol=1e-6)
    assert np.allclose(up, rotation.T @ [0, 1, 0], atol=1e-6)
    # The person's left side is at positive x.
    assert cameras["Left side"]["eye"]["x"] > 2
    assert cameras["Front"]["eye"]["z"] > 2


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


def test_a_hover_says_what_the_photo_does_not_show_and_the_legend_marks_it():
    shown = face(pose=(40, 0, 0))
    filled = vertex_colours(shown, "texture", image=PHOTO).filled
    figure = mesh_figure(shown, colour="texture", image=PHOTO)
    (mesh,) = traces(figure, "mesh3d")
    assert [text.endswith(", filled in") for text in mesh.text] == filled.tolist()
    (dots,) = [trace for trace in figure.data if trace.name == "not in the photo"]
    assert len(dots.x) == filled.sum()
    assert dots.visible == "legendonly"


def test_a_hover_says_which_way_the_surface_looks():
    (mesh,) = traces(mesh_figure(face(), colour="normals"), "mesh3d")
    tip = int(MODEL.mean[:, 2].argmax())
    number, right, up, forward = mesh.customdata[tip]
    assert number == tip
    assert forward > 90
    assert np.hypot(np.hypot(right, up), forward) == pytest.approx(100, abs=2)


def test_each_region_has_its_colour_in_the_legend():
    figure = mesh_figure(face(), colour="region")
    (mesh,) = traces(figure, "mesh3d")
    names = {trace.name: trace.marker.color for trace in figure.data[1:] if trace.legendgroup is None}
    assert set(names) == {name.replace("_", " ") for name in MODEL.regions}
    nose = int(np.flatnonzero(MODEL.regions["nose"])[0])
    red, green, blue = (int(mesh.vertexcolor[nose][k : k + 2], 16) for k in (1, 3, 5))
    assert names["nose"] == f"rgb({red}, {green}, {blue})"


def test_two_faces_can_share_one_scale():
    (mesh,) = traces(mesh_figure(face(), colour="distance", limits=(-3, 3)), "mesh3d")
    assert (mesh.cmin, mesh.cmax) == (-3, 3)


@pytest.mark.parametrize("colour", ["clay", "distance"])
def test_in_a_browser_the_page_opens_offline_and_the_face_is_lit_from_above_left(page, tmp_path, colour):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    figure = mesh_figure(
        face(), colour=colour, image=np.full_like(PHOTO, 200), pose_axes=False, landmarks=False
    )
    write_page(figure, tmp_path / "face.html")
    page.goto(f"file://{tmp_path / 'face.html'}")
    page.wait_for_selector(".gl-container canvas")
    picture = seen_face(page)
    assert {address.split(":")[0] for address in asked} <= {"file", "data", "blob"}
    assert page.m4kit_errors == []
    rows, columns = np.nonzero(picture.min(-1) < 250)
    # The head stands in the middle and takes most of the height.
    assert abs((columns.min() + columns.max()) / 2 - picture.shape[1] / 2) < 0.2 * picture.shape[1]
    assert 0.6 < np.ptp(rows) / picture.shape[0] < 1
    if colour == "clay":
        # Where only ambient light reached, every pixel of clay would be the same.
        grey = picture[rows, columns].mean(-1)
        middle = np.median(columns)
        assert grey[columns < middle].mean() > grey[columns > middle].mean() + 15
        assert np.quantile(grey, 0.9) > 190


@pytest.mark.parametrize(("width", "height"), [(300, 800), (900, 400)])
@pytest.mark.parametrize("shown", [face(), face().head], ids=["face", "head"])
def test_in_a_browser_the_page_shows_all_of_it_in_a_narrow_and_in_a_low_window(
    page, tmp_path, shown, width, height
):
    figure = mesh_figure(shown, pose_axes=False, landmarks=False).update_layout(annotations=[])
    write_page(figure, tmp_path / "face.html")
    # The page also follows a window that changes.
    page.goto(f"file://{tmp_path / 'face.html'}")
    page.wait_for_selector(".gl-container canvas")
    page.set_viewport_size({"width": width, "height": height})
    # Below the buttons.
    picture = seen_face(page, {"x": 0, "y": 46, "width": width, "height": height - 46})
    rows, columns = np.nonzero(picture.min(-1) < 250)
    assert 0 < columns.min() < columns.max() < width - 1
    assert 0 < rows.min() < rows.max() < height - 47
    assert max(np.ptp(columns) / width, np.ptp(rows) / height) > 0.6


def seen_face(page, place=None):
    """What the scene's box shows once it stands still, (h, w, 3)."""
    place = place or {"x": 60, "y": 70, "width": 380, "height": 390}
    before = None
    for _ in range(50):
        page.wait_for_timeout(150)
        picture = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=place))).convert("RGB"))
        if before is not None and np.array_equal(before, picture) and (picture.min(-1) < 250).mean() > 0.1:
            return picture
        before = picture
    raise AssertionError("the face was not drawn")


def test_it_stays_under_a_megabyte():
    assert len(mesh_figure(face(), colour="normals").to_json()) < 1_000_000


def test_the_page_holds_all_that_it_needs(tmp_path):
    write_page(mesh_figure(face()), tmp_path / "face.html")
    assert '<script src="http' not in (tmp_path / "face.html").read_text(encoding="utf-8")


def test_the_picture_shows_the_head_turned():
    front, turned = (mesh_picture(face(), yaw=yaw, side=120).astype(int) for yaw in (0, 70))
    assert front.shape == (120, 120, 3)
    assert 0.15 < (front.min(-1) < 250).mean() < 0.6
    assert (np.abs(front - turned).max(-1) > 30).mean() > 0.1


def test_the_picture_of_a_head_shows_all_of_it_from_every_side():
    for yaw, pitch in ((0, 0), (90, 0), (0, -90)):
        seen = mesh_picture(face().head, yaw=yaw, pitch=pitch, side=120).min(-1) < 250
        assert not (seen[[0, -1]].any() or seen[:, [0, -1]].any())
        assert seen.mean() > 0.25


def test_a_head_in_a_figure_is_the_faces_own():
    subject = face(pose=(30, 0, 0), coefficients=0.5)
    (alone,), (head,) = (traces(mesh_figure(one), "mesh3d") for one in (subject, subject.head))
    assert len(head.x) == len(MODEL.head.mean)
    assert np.array_equal(head.x[: len(alone.x)], alone.x)
    assert len(head.vertexcolor) == len(head.text) == len(head.x)
    assert "teeth" in head.text[int(np.flatnonzero(MODEL.head.regions["teeth"])[0])]


def test_numbers_bring_a_bar_with_their_scales_colours():
    plain, with_bar = (
        mesh_picture(face(), colour="depth", legend=legend, side=240) for legend in (False, True)
    )
    rows = np.nonzero((plain != with_bar).any(-1).any(1))[0]
    assert rows.min() > 0.85 * 240
    bar = with_bar[224, 60:180].astype(int)
    # Cividis runs from dark blue to yellow.
    assert bar[0, 2] > bar[0, 0]
    assert bar[-1, 0] > 200 > bar[-1, 2]
    clay = [mesh_picture(face(), legend=legend, side=120) for legend in (False, True)]
    assert np.array_equal(*clay)


def test_landmarks_and_axes_are_drawn_where_the_turned_face_has_them():
    plain = mesh_picture(face(), yaw=30, side=240)
    marked = mesh_picture(face(), yaw=30, side=240, landmarks=True)
    axes = mesh_picture(face(), yaw=30, side=240, pose_axes=True)
    turned = MODEL.landmarks() @ rotation_from_euler(30, 0, 0).T
    x, y = np.rint(turned[:, :2] * [1, -1] + 119.5).astype(int).T
    assert (plain[y, x] != marked[y, x]).any(1).mean() > 0.95
    assert (plain[y[30], x[30]] != axes[y[30], x[30]]).any()


def test_the_photo_is_asked_for():
    with pytest.raises(ValueError, match="expected the photo"):
        mesh_figure(face(), colour="texture")
