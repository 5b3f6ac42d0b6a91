"""The mesh viewer, used as a person would: by setting the widgets' values."""

import base64
import dataclasses
import functools
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from m4kit import Prediction, predict
from m4kit.camera import head_pose, rotation_from_euler
from m4kit.explore import MeshViewer, mesh_viewer
from m4kit.explore.canvas import MESSAGE_BYTES
from m4kit.head_frame import HeadFrame
from m4kit.vertex_colours import scalar_colours, vertex_colours
from m4kit.visualize import mesh_picture

from helpers.canvas import PHOTO, TWO_FACES, last_colours, last_vertices, of_kind, turned_face
from helpers.faces import MODEL, ellipsoid
from helpers.paths import SAMPLES


@pytest.fixture
def viewer(sent):
    return MeshViewer(TWO_FACES)


def test_the_viewer_shows_the_chosen_face(viewer, sent):
    for number, face in enumerate(TWO_FACES):
        viewer.face_choice.value = number
        assert np.abs(last_vertices(sent) - face.shape).max() < 0.01


def test_a_model_with_its_origin_elsewhere_is_shown_in_the_middle_too(sent):
    """As the Basel Face Model, whose nose is 132 mm in front of its origin."""
    far = MODEL.with_mean(MODEL.mean + np.array([0, 12, 61]))
    other = dataclasses.replace(
        TWO_FACES, faces=tuple(dataclasses.replace(one, model=far) for one in TWO_FACES)
    )
    viewer = MeshViewer(TWO_FACES, other=other)
    viewer.compare.value = "side"
    for panel in (0, 1):
        vertices = last_vertices(sent, panel)
        assert np.abs((vertices.min(axis=0) + vertices.max(axis=0)) / 2).max() < 25
    turned = mesh_picture(other[0], yaw=80, side=120)
    assert (turned[:, [0, -1]] == 255).all()


def test_the_camera_stays_where_the_hand_left_it(viewer):
    left = {"rotation": rotation_from_euler(30, 0, 0).ravel().tolist(), "zoom": 2.0, "pan": [3.0, 4.0]}
    viewer.canvas.camera = left
    viewer.colour.value = "depth"
    viewer.face_choice.value = 1
    viewer.toggles["wireframe"].value = True
    viewer.compare.value = "side"
    assert viewer.canvas.camera == left
    viewer.camera_buttons["Reset"].click()
    assert viewer.canvas.camera["zoom"] == 1.0


def test_as_in_photo_turns_the_camera_to_the_heads_pose(viewer):
    viewer.camera_buttons["As in photo"].click()
    rotation = np.array(viewer.canvas.camera["rotation"]).reshape(3, 3)
    pose = head_pose(np.column_stack([rotation, np.zeros(3)]))
    assert pose == pytest.approx((25.0, -10.0, 5.0), abs=0.01)


def rotation_of(viewer):
    return np.reshape(viewer.canvas.camera["rotation"], (3, 3))


def test_a_face_seen_as_in_the_photo_is_followed_by_the_next_one_as_in_the_photo(viewer):
    viewer.camera_buttons["As in photo"].click()
    # Zoomed, and turned by a degree by a click.
    hand = rotation_from_euler(1, 0, 0) @ rotation_of(viewer)
    viewer.canvas.camera = {"rotation": hand.ravel().tolist(), "zoom": 2.0, "pan": [3.0, 4.0]}
    viewer.face_choice.value = 1
    np.testing.assert_allclose(rotation_of(viewer), TWO_FACES[1].rotation)
    assert (viewer.canvas.camera["zoom"], viewer.canvas.camera["pan"]) == (2.0, [3.0, 4.0])
    viewer.face_choice.value = 0
    np.testing.assert_allclose(rotation_of(viewer), TWO_FACES[0].rotation)


@pytest.mark.parametrize("leave", ["Left", "turn"])
def test_a_camera_that_left_the_photos_view_stays_when_the_face_changes(viewer, leave):
    viewer.camera_buttons["As in photo"].click()
    if leave == "turn":
        turned = rotation_from_euler(20, 0, 0) @ rotation_of(viewer)
        viewer.canvas.camera = viewer.canvas.camera | {"rotation": turned.ravel().tolist()}
    else:
        viewer.camera_buttons[leave].click()
    before = viewer.canvas.camera
    viewer.face_choice.value = 1
    assert viewer.canvas.camera == before


def test_side_by_side_as_in_the_photo_both_faces_are_as_in_their_photo(viewer, sent):
    viewer.compare.value = "side"
    viewer.camera_buttons["As in photo"].click()

    def seen(panel):
        return last_vertices(sent, panel=panel) @ rotation_of(viewer).T

    for panel, face in enumerate(TWO_FACES):
        frame = HeadFrame.of(face)
        expected = (face.vertices - frame.origin) * [1, -1, 1] / frame.scale
        np.testing.assert_allclose(seen(panel), expected, atol=0.02)
    # Both look straight ahead again, and in a difference one lies over the other.
    viewer.camera_buttons["Front"].click()
    assert np.abs(last_vertices(sent, panel=1) - TWO_FACES[1].shape).max() < 0.01
    viewer.camera_buttons["As in photo"].click()
    viewer.compare.value = "difference"
    assert np.abs(last_vertices(sent, panel=1) - TWO_FACES[1].shape).max() < 0.01


def test_another_face_keeps_the_clicked_vertex_and_the_face_to_compare_with(sent):
    three = Prediction(PHOTO, (*TWO_FACES, turned_face(seed=2)), "three.jpg")
    viewer = MeshViewer(three, other=three)
    viewer.compare.value = "side"
    viewer.partner.label = "Face 3"
    viewer.canvas.on_click(0, 5)
    viewer.face_choice.value = 1
    assert viewer.partner.label == "Face 3"
    assert "Face 2, vertex 5" in viewer.readout.value
    mark = [m for m in sent if m[0]["kind"] == "points" and m[0]["name"] == "mark" and not m[0]["panel"]][-1]
    expected = HeadFrame.of(three[1]).from_photo(three[1].vertices[[5]])
    np.testing.assert_allclose(np.frombuffer(mark[1][0], "<f4"), expected[0], atol=1e-3)
    # A face is not compared with itself.
    viewer.face_choice.value = 2
    assert viewer.partner.label == "Other prediction"
    viewer.canvas.on_click(1, 7)
    viewer.compare.value = "one"
    assert "Click the face" in viewer.readout.value


@pytest.mark.parametrize("mode", ["texture", "depth", "normals", "distance", "spread", "region", "clay"])
def test_another_colour_sends_colours_alone_and_keeps_what_was_clicked(viewer, sent, mode):
    viewer.colour.value = "normals" if mode != "normals" else "depth"
    viewer.canvas.on_click(0, 5)
    del sent[:]
    viewer.colour.value = mode
    assert [content["kind"] for content, _ in sent] == ["colours"]
    assert "vertex 5" in viewer.readout.value
    assert ("mm towards the viewer" in viewer.readout.value) == (mode == "depth")


def test_side_by_side_shows_two_faces_under_one_camera(viewer, sent):
    viewer.compare.value = "side"
    panels = of_kind(sent, "panels")[-1]
    assert panels["count"] == 2
    assert panels["titles"] == ["Face 1", "Face 2"]
    assert np.abs(last_vertices(sent, panel=1) - TWO_FACES[1].shape).max() < 0.01
    viewer.compare.value = "one"
    assert of_kind(sent, "panels")[-1]["count"] == 1


def test_side_by_side_colours_of_one_legend_are_on_one_scale(viewer, sent):
    viewer.colour.value = "spread"
    viewer.compare.value = "side"
    spread = [vertex_colours(face, "spread") for face in TWO_FACES]
    highest = max(one.limits[1] for one in spread)
    assert spread[0].limits[1] != spread[1].limits[1]
    for panel, one in enumerate(spread):
        expected = scalar_colours(one.values, limits=(0, highest), scale="inferno").colours
        np.testing.assert_array_equal(last_colours(sent, panel=panel), expected)
    assert f"{highest:.3g}</span>" in viewer.legend.value
    viewer.compare.value = "one"
    assert f"{spread[0].limits[1]:.3g}</span>" in viewer.legend.value


def test_the_difference_to_other_head_weights_is_in_millimetres(sent):
    alone = Prediction(PHOTO, tuple(f.with_head_weights([1, 0, 0, 0]) for f in TWO_FACES), "two.jpg")
    viewer = MeshViewer(TWO_FACES, other=alone)
    viewer.compare.value = "difference"
    distance = np.linalg.norm(TWO_FACES[0].shape - alone[0].shape, axis=1)
    viewer.canvas.on_click(0, int(distance.argmax()))
    assert f"{distance.max():.2f} mm from other prediction" in viewer.readout.value


def test_a_click_is_read_and_marked_in_the_photo(viewer, sent):
    before = viewer.photo.value
    viewer.canvas.on_click(0, 5)
    x, y, _ = TWO_FACES[0].vertices[5]
    assert "vertex 5" in viewer.readout.value
    assert f"{x:.1f}, {y:.1f} px" in viewer.readout.value
    assert viewer.photo.value != before
    assert of_kind(sent, "points")[-1] | {"name": "mark", "count": 1} == of_kind(sent, "points")[-1]
    viewer.canvas.on_click(0, None)
    assert viewer.photo.value == before


def test_two_faces_have_two_photos_and_one_face_under_other_weights_has_one(sent):
    alone = dataclasses.replace(TWO_FACES, faces=tuple(f.with_head_weights([1, 0, 0, 0]) for f in TWO_FACES))
    viewer = MeshViewer(TWO_FACES, other=alone)
    viewer.compare.value = "side"
    assert viewer.photo.value.count("<img") == 1
    viewer.partner.label = "Face 2"
    assert 'alt="The photo around face 1"' in viewer.photo.value
    assert 'alt="The photo around face 2"' in viewer.photo.value
    viewer.compare.value = "one"
    assert viewer.photo.value.count("<img") == 1


def test_the_photo_travels_once_and_small(sent):
    noisy = dataclasses.replace(
        TWO_FACES, image=np.random.default_rng(1).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    )
    viewer = MeshViewer(noisy)
    assert not of_kind(sent, "photo")
    viewer.toggles["photo"].value = True
    viewer.colour.value = "depth"
    photos = [buffers[0] for content, buffers in sent if content["kind"] == "photo"]
    assert len(photos) == 1
    assert len(photos[0]) <= MESSAGE_BYTES


def test_a_prediction_without_faces_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"empty\.jpg: expected a prediction with at least one face"):
        MeshViewer(Prediction(PHOTO, (), "empty.jpg"))


def test_a_height_that_is_not_a_number_is_an_error_that_says_so():
    with pytest.raises(TypeError, match=r"MeshViewer: height, pixels: expected a whole number of at least 1"):
        MeshViewer(TWO_FACES, height="tall")


def test_readers_without_a_kernel_see_a_small_still_picture(viewer):
    bundle = viewer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert len(bundle["image/png"]) < 60_000


def test_a_photo_moved_away_after_the_prediction_does_not_matter(sent, tmp_path):
    photo = tmp_path / "photo.jpg"
    shutil.copy(SAMPLES / "astronaut.jpg", photo)
    prediction = predict(photo)
    photo.unlink()
    viewer = MeshViewer(prediction)
    viewer.colour.value = "texture"
    viewer.toggles["photo"].value = True
    assert 'alt="The photo around face 1"' in viewer.photo.value


def test_a_face_that_cannot_have_its_colour_is_in_clay_and_the_viewer_says_why_and_goes_on(sent):
    single = dataclasses.replace(TWO_FACES[1], heads=TWO_FACES[1].heads[:1], head_weights=np.ones(1))
    viewer = MeshViewer(Prediction(PHOTO, (TWO_FACES[0], single), "two.jpg"))
    viewer.colour.value = "spread"
    assert viewer.error_line.value == ""
    viewer.face_choice.value = 1
    assert "expected a face with several heads" in viewer.error_line.value
    assert np.abs(last_vertices(sent) - single.shape).max() < 0.01
    assert np.array_equal(last_colours(sent), vertex_colours(single, "clay").colours)
    assert viewer.still()
    viewer.colour.value = "depth"
    assert viewer.error_line.value == ""
    assert isinstance(viewer.errors.pop(), ValueError)


def test_the_legend_names_each_region_and_gives_numbers_their_unit(viewer):
    assert viewer.legend.value == ""
    viewer.colour.value = "region"
    assert all(name.replace("_", " ") in viewer.legend.value for name in MODEL.regions)
    viewer.colour.value = "distance"
    assert "mm outward from the mean" in viewer.legend.value


def test_a_colour_shown_before_is_not_computed_again_and_few_are_kept(sent, monkeypatch):
    computed = []
    original = mesh_viewer.vertex_colours
    monkeypatch.setattr(
        mesh_viewer,
        "vertex_colours",
        lambda face, mode, **options: computed.append(mode) or original(face, mode, **options),
    )
    viewer = MeshViewer(TWO_FACES)
    for mode in ("texture", "clay", "texture", "depth", "texture"):
        viewer.colour.value = mode
    assert sorted(computed) == ["clay", "depth", "texture"]
    assert viewer._known_colours.cache_info().maxsize <= 32


def test_a_difference_lays_the_other_face_behind_the_first(viewer, sent):
    assert viewer.toggles["over"].layout.display == "none"
    viewer.compare.value = "difference"
    assert of_kind(sent, "panels")[-1]["over"] is True
    assert np.abs(last_vertices(sent, panel=1) - TWO_FACES[1].shape).max() < 0.01
    assert viewer.toggles["over"].layout.display is None
    viewer.compare.value = "one"
    assert of_kind(sent, "panels")[-1]["over"] is False


def test_the_still_of_two_faces_shows_both(viewer):
    viewer.compare.value = "side"
    with Image.open(io.BytesIO(viewer.still())) as still:
        assert still.width == 2 * still.height
        opaque = np.asarray(still.convert("RGBA"))[..., 3] == 255
    assert all(half.mean() > 0.2 for half in np.hsplit(opaque, 2))


def test_with_its_head_the_face_is_shown_smaller_and_every_vertex_can_be_read(viewer, sent):
    extent, beyond = viewer.canvas.extent, len(MODEL.mean) + 5
    viewer.toggles["head"].value = True
    assert np.abs(last_vertices(sent) - TWO_FACES[0].head.shape).max() < 0.01
    assert np.array_equal(last_colours(sent), vertex_colours(TWO_FACES[0].head, "clay").colours)
    assert viewer.canvas.extent > extent and viewer.canvas.centre != [0, 0, 0]
    viewer.canvas.on_click(0, beyond)
    assert f"vertex {beyond}" in viewer.readout.value
    viewer.toggles["head"].value = False
    assert np.abs(last_vertices(sent) - TWO_FACES[0].shape).max() < 0.01
    assert len(last_colours(sent)) == len(MODEL.mean)
    assert (viewer.canvas.extent, viewer.canvas.centre) == (extent, [0, 0, 0])
    assert "Click the face" in viewer.readout.value


def test_a_face_without_a_head_is_compared_with_one_that_has_it(sent):
    viewer = MeshViewer(Prediction(PHOTO, (TWO_FACES[0], ellipsoid()), "egg.jpg"))
    viewer.toggles["head"].value = True
    viewer.compare.value = "side"
    assert np.abs(last_vertices(sent) - TWO_FACES[0].head.shape).max() < 0.01
    assert np.abs(last_vertices(sent, panel=1) - ellipsoid().shape).max() < 0.01


def test_faces_without_a_head_have_no_button_for_it(viewer):
    assert viewer.toggles["head"].layout.display is None
    without = MeshViewer(Prediction(PHOTO, (ellipsoid(),), "egg.jpg"))
    assert without.toggles["head"].layout.display == "none"


@pytest.fixture
def notebook_folder(tmp_path, monkeypatch):
    """The working folder, in which turntables are short and small."""
    monkeypatch.chdir(tmp_path)
    short = functools.partialmethod(MeshViewer.turntable, frames=2, side=32)
    monkeypatch.setattr(MeshViewer, "turntable", short)
    return tmp_path


def test_the_turntables_button_saves_a_film_beside_the_notebook_and_shows_it(notebook_folder, sent):
    viewer = MeshViewer(dataclasses.replace(TWO_FACES, source="a/b c.d.jpg"))
    viewer.face_choice.value = 1
    viewer.spin.click()
    saved = notebook_folder / "b_c_d_face_2.gif"
    assert base64.b64encode(saved.read_bytes()).decode() in viewer.film.value
    assert 'download="b_c_d_face_2.gif"' in viewer.film.value
    assert f"Saved as {saved}" in viewer.film.value


def test_a_turntable_leaves_a_file_of_the_same_name_as_it_was(notebook_folder, viewer):
    (notebook_folder / "two_face_1.gif").write_bytes(b"mine")
    for _ in range(2):
        viewer.spin.click()
    assert (notebook_folder / "two_face_1.gif").read_bytes() == b"mine"
    assert sorted(path.name for path in notebook_folder.iterdir()) == ["two_face_1.gif", "two_face_1_2.gif"]
    viewer.face_choice.value = 1
    assert viewer.film.value == ""


def test_a_turntable_that_cannot_be_saved_says_why_and_its_button_works_again(notebook_folder, viewer):
    (notebook_folder / "two_face_1.gif").mkdir()
    viewer.spin.click()
    assert "two_face_1.gif" in viewer.error_line.value
    assert (viewer.spin.disabled, viewer.spin.description) == (False, "Turntable GIF")
    viewer.errors.clear()


def test_the_view_is_described_in_words(viewer):
    viewer.compare.value = "side"
    viewer.colour.value = "depth"
    assert viewer.canvas.label == "3D view of face 1 and face 2, colour: depth"


def test_the_turntable_is_a_gif_that_turns(viewer, tmp_path):
    content = viewer.turntable(tmp_path / "turn.gif", frames=4, side=96)
    assert (tmp_path / "turn.gif").read_bytes() == content
    with Image.open(tmp_path / "turn.gif") as gif:
        assert gif.n_frames == 4
        first = np.asarray(gif.convert("RGB")).astype(int)
        gif.seek(1)
        assert (np.abs(np.asarray(gif.convert("RGB")) - first) > 30).mean() > 0.02
