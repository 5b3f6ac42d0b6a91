"""The explorers, used as a person would: by setting the widgets' values."""

import base64
import dataclasses
import functools
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from m4kit import FaceModel, Prediction, predict
from m4kit.camera import Crop, head_pose, rotation_from_euler
from m4kit.explore import FaceModelExplorer, MeshViewer, mesh_viewer
from m4kit.explore.canvas import MESSAGE_BYTES
from m4kit.explore.modes import reconstruction_error
from m4kit.head_frame import HeadFrame
from m4kit.prediction import Face, FaceBox
from m4kit.vertex_colours import scalar_colours, vertex_colours

from helpers.canvas import PHOTO, last_colours, last_vertices, of_kind, vertices_in
from helpers.faces import MODEL, parameters
from helpers.paths import SAMPLES


def face(*, seed=0, pose=(25.0, -10.0, 5.0), left=40.0):
    random = np.random.default_rng(seed)
    heads = parameters(pose, scale=0.55, shift=(1.0, -2.0, 0.0), coefficients=random.normal(0, 0.6, 50))
    heads = np.tile(heads, (4, 1))
    heads[:, 12:] += random.normal(0, 0.2, (4, 50))
    return Face(FaceBox(60, 50, 260, 250), Crop(left, 30.0, 240.0), heads, np.full(4, 0.25), MODEL)


PREDICTION = Prediction(PHOTO, (face(), face(seed=1, pose=(-30.0, 5.0, 0.0), left=150.0)), "two.jpg")


def test_in_the_heads_frame_the_face_looks_straight_ahead_and_is_as_large_as_in_the_model():
    shown = HeadFrame.of(face()).from_photo(face().vertices)
    # The camera of this face is an exact scaled rotation, so the model's own shape comes back.
    assert np.abs(shown - face().shape).max() < 1e-3


def test_turned_back_by_its_rotation_the_frame_is_the_photos():
    frame, points = HeadFrame.of(face()), face().landmarks
    seen = frame.from_photo(points) @ frame.rotation.T
    across, down = (points - frame.origin)[:, :2].T
    assert np.allclose(seen[:, 0] * frame.scale, across)
    assert np.allclose(-seen[:, 1] * frame.scale, down)


def test_the_photo_lies_behind_the_face_in_the_right_place():
    frame = HeadFrame.of(face())
    corners = frame.photo_plane(400, 300, -50.0) @ frame.rotation.T
    assert np.allclose(corners[:, 2], corners[0, 2])
    width = corners[1, 0] - corners[0, 0]
    assert width == pytest.approx(400 / frame.scale)


def test_the_viewer_shows_the_chosen_face_and_its_errors_are_none(sent):
    viewer = MeshViewer(PREDICTION)
    first = last_vertices(sent)
    viewer.face_choice.value = 1
    second = last_vertices(sent)
    assert np.abs(first - face().shape).max() < 0.01
    assert np.abs(second - PREDICTION[1].shape).max() < 0.01
    assert viewer.errors == []


def test_the_camera_stays_where_the_hand_left_it(sent):
    viewer = MeshViewer(PREDICTION)
    left = {"rotation": rotation_from_euler(30, 0, 0).ravel().tolist(), "zoom": 2.0, "pan": [3.0, 4.0]}
    viewer.canvas.camera = left
    viewer.colour.value = "depth"
    viewer.face_choice.value = 1
    viewer.toggles["wireframe"].value = True
    viewer.compare.value = "side"
    assert viewer.canvas.camera == left
    viewer.camera_buttons["Reset"].click()
    assert viewer.canvas.camera["zoom"] == 1.0
    assert viewer.errors == []


def test_as_in_photo_turns_the_camera_to_the_heads_pose(sent):
    viewer = MeshViewer(PREDICTION)
    viewer.camera_buttons["As in photo"].click()
    rotation = np.array(viewer.canvas.camera["rotation"]).reshape(3, 3)
    pose = head_pose(np.column_stack([rotation, np.zeros(3)]))
    assert pose == pytest.approx((25.0, -10.0, 5.0), abs=0.01)


@pytest.mark.parametrize("mode", ["texture", "depth", "normals", "distance", "spread", "region", "clay"])
def test_another_colour_sends_colours_and_no_triangles(sent, mode):
    viewer = MeshViewer(PREDICTION)
    viewer.colour.value = "normals" if mode != "normals" else "depth"
    del sent[:]
    viewer.colour.value = mode
    assert len(of_kind(sent, "colours")) == 1
    assert not of_kind(sent, "triangles")
    assert viewer.errors == []


def test_side_by_side_shows_two_faces_under_one_camera(sent):
    viewer = MeshViewer(PREDICTION)
    viewer.compare.value = "side"
    panels = of_kind(sent, "panels")[-1]
    assert panels["count"] == 2
    assert panels["titles"] == ["Face 1", "Face 2"]
    assert np.abs(last_vertices(sent, panel=1) - PREDICTION[1].shape).max() < 0.01
    viewer.compare.value = "one"
    assert of_kind(sent, "panels")[-1]["count"] == 1
    assert viewer.errors == []


def test_side_by_side_colours_of_one_legend_are_on_one_scale(sent):
    viewer = MeshViewer(PREDICTION)
    viewer.colour.value = "spread"
    viewer.compare.value = "side"
    spread = [vertex_colours(face, "spread") for face in PREDICTION]
    highest = max(one.limits[1] for one in spread)
    assert spread[0].limits[1] != spread[1].limits[1]
    for panel, one in enumerate(spread):
        expected = scalar_colours(one.values, limits=(0, highest), scale="inferno").colours
        np.testing.assert_array_equal(last_colours(sent, panel=panel), expected)
    assert f"{highest:.3g}</span>" in viewer.legend.value
    viewer.compare.value = "one"
    assert f"{spread[0].limits[1]:.3g}</span>" in viewer.legend.value


def test_the_difference_to_other_head_weights_is_in_millimetres(sent):
    alone = Prediction(PHOTO, tuple(f.with_head_weights([1, 0, 0, 0]) for f in PREDICTION), "two.jpg")
    viewer = MeshViewer(PREDICTION, other=alone)
    viewer.compare.value = "difference"
    distance = np.linalg.norm(PREDICTION[0].shape - alone[0].shape, axis=1)
    viewer.canvas.on_click(0, int(distance.argmax()))
    assert f"{distance.max():.2f} mm from other prediction" in viewer.readout.value
    assert viewer.errors == []


def test_a_click_is_read_and_marked_in_the_photo(sent):
    viewer = MeshViewer(PREDICTION)
    before = viewer.photo.value
    viewer.canvas.on_click(0, 5)
    x, y, _ = PREDICTION[0].vertices[5]
    assert "vertex 5" in viewer.readout.value
    assert f"{x:.1f}, {y:.1f} px" in viewer.readout.value
    assert viewer.photo.value != before
    assert of_kind(sent, "points")[-1] | {"name": "mark", "count": 1} == of_kind(sent, "points")[-1]
    viewer.canvas.on_click(0, None)
    assert viewer.photo.value == before
    assert viewer.errors == []


def test_the_photo_travels_once_and_small(sent):
    noisy = dataclasses.replace(
        PREDICTION, image=np.random.default_rng(1).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    )
    viewer = MeshViewer(noisy)
    assert not of_kind(sent, "photo")
    viewer.toggles["photo"].value = True
    viewer.colour.value = "depth"
    photos = [buffers[0] for content, buffers in sent if content["kind"] == "photo"]
    assert len(photos) == 1
    assert len(photos[0]) <= MESSAGE_BYTES
    assert viewer.errors == []


def test_a_prediction_without_faces_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"empty\.jpg: expected a prediction with at least one face"):
        MeshViewer(Prediction(PHOTO, (), "empty.jpg"))


def test_a_face_of_one_head_says_so_below_the_view_and_the_viewer_goes_on(sent):
    single = dataclasses.replace(face(), heads=face().heads[:1], head_weights=np.ones(1))
    viewer = MeshViewer(Prediction(PHOTO, (single,), "one.jpg"))
    viewer.colour.value = "spread"
    assert "expected a face with several heads" in viewer.error_line.value
    viewer.colour.value = "clay"
    assert viewer.error_line.value == ""
    assert len(viewer.errors) == 1


def test_readers_without_a_kernel_see_a_small_still_picture(sent):
    bundle = MeshViewer(PREDICTION)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert len(bundle["image/jpeg"]) < 60_000


def test_a_photo_moved_away_after_the_prediction_does_not_matter(sent, tmp_path):
    photo = tmp_path / "photo.jpg"
    shutil.copy(SAMPLES / "astronaut.jpg", photo)
    prediction = predict(photo)
    photo.unlink()
    viewer = MeshViewer(prediction)
    viewer.colour.value = "texture"
    viewer.toggles["photo"].value = True
    assert viewer.errors == []
    assert 'alt="The photo around face 1"' in viewer.photo.value


def test_a_face_that_cannot_have_its_colour_is_shown_in_clay(sent):
    single = dataclasses.replace(PREDICTION[1], heads=PREDICTION[1].heads[:1], head_weights=np.ones(1))
    viewer = MeshViewer(Prediction(PHOTO, (PREDICTION[0], single), "two.jpg"))
    viewer.colour.value = "spread"
    assert viewer.error_line.value == ""
    viewer.face_choice.value = 1
    assert "expected a face with several heads" in viewer.error_line.value
    assert np.abs(last_vertices(sent) - single.shape).max() < 0.01
    colours = [buffers[0] for content, buffers in sent if content["kind"] == "colours"][-1]
    assert len(set(np.frombuffer(colours, "V3").tolist())) == 1
    assert viewer.still()


def test_the_legend_names_each_region_and_gives_numbers_their_unit(sent):
    viewer = MeshViewer(PREDICTION)
    assert viewer.legend.value == ""
    viewer.colour.value = "region"
    assert all(name.replace("_", " ") in viewer.legend.value for name in MODEL.regions)
    viewer.colour.value = "distance"
    assert "mm from the mean face" in viewer.legend.value


def test_another_colour_keeps_what_was_clicked_and_sends_no_mesh(sent):
    viewer = MeshViewer(PREDICTION)
    viewer.canvas.on_click(0, 5)
    del sent[:]
    viewer.colour.value = "depth"
    assert {content["kind"] for content, _ in sent} == {"colours"}
    assert "vertex 5" in viewer.readout.value
    assert "mm towards the viewer" in viewer.readout.value


def test_a_colour_shown_before_is_not_computed_again_and_few_are_kept(sent, monkeypatch):
    computed = []
    original = mesh_viewer.vertex_colours
    monkeypatch.setattr(
        mesh_viewer,
        "vertex_colours",
        lambda face, mode, **options: computed.append(mode) or original(face, mode, **options),
    )
    viewer = MeshViewer(PREDICTION)
    for mode in ("texture", "clay", "texture", "depth", "texture"):
        viewer.colour.value = mode
    assert sorted(computed) == ["clay", "depth", "texture"]
    assert viewer._known_colours.cache_info().maxsize <= 32


def test_a_difference_lays_the_other_face_over_the_first(sent):
    viewer = MeshViewer(PREDICTION)
    assert viewer.toggles["over"].layout.display == "none"
    viewer.compare.value = "difference"
    assert of_kind(sent, "panels")[-1]["over"] is True
    assert np.abs(last_vertices(sent, panel=1) - PREDICTION[1].shape).max() < 0.01
    assert viewer.toggles["over"].layout.display is None
    viewer.compare.value = "one"
    assert of_kind(sent, "panels")[-1]["over"] is False
    assert viewer.errors == []


def test_the_still_of_two_faces_shows_both(sent):
    viewer = MeshViewer(PREDICTION)
    viewer.compare.value = "side"
    with Image.open(io.BytesIO(viewer.still())) as still:
        assert still.width == 2 * still.height
        dark = np.asarray(still.convert("L")) < 250
    assert all(half.mean() > 0.2 for half in np.hsplit(dark, 2))


def test_the_turntables_button_saves_a_film_beside_the_notebook_and_shows_it(sent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = functools.partialmethod(MeshViewer.turntable, frames=3, side=64)
    monkeypatch.setattr(MeshViewer, "turntable", short)
    viewer = MeshViewer(dataclasses.replace(PREDICTION, source="a/b c.d.jpg"))
    viewer.face_choice.value = 1
    viewer.spin.click()
    saved = tmp_path / "b_c_d_face_2.gif"
    assert base64.b64encode(saved.read_bytes()).decode() in viewer.film.value
    assert 'download="b_c_d_face_2.gif"' in viewer.film.value
    assert f"Saved as {saved}" in viewer.film.value
    assert viewer.errors == []


def test_a_turntable_that_cannot_be_saved_says_why_and_its_button_works_again(sent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = functools.partialmethod(MeshViewer.turntable, frames=2, side=32)
    monkeypatch.setattr(MeshViewer, "turntable", short)
    (tmp_path / "two_face_1.gif").mkdir()
    viewer = MeshViewer(PREDICTION)
    viewer.spin.click()
    assert "two_face_1.gif" in viewer.error_line.value
    assert (viewer.spin.disabled, viewer.spin.description) == (False, "Turntable GIF")


def test_the_view_is_described_in_words(sent):
    viewer = MeshViewer(PREDICTION)
    viewer.compare.value = "side"
    viewer.colour.value = "depth"
    assert viewer.canvas.label == "3D view of face 1 and face 2, colour: depth"


def test_the_turntable_is_a_gif_that_turns(sent, tmp_path):
    content = MeshViewer(PREDICTION).turntable(tmp_path / "turn.gif", frames=4, side=96)
    assert (tmp_path / "turn.gif").read_bytes() == content
    with Image.open(tmp_path / "turn.gif") as gif:
        assert gif.n_frames == 4
        first = np.asarray(gif.convert("RGB")).astype(int)
        gif.seek(1)
        assert (np.abs(np.asarray(gif.convert("RGB")) - first) > 30).mean() > 0.02


def test_a_slider_moves_the_mesh_along_its_mode(sent):
    explorer = FaceModelExplorer(MODEL)
    explorer.identity[3].value = 2.0
    expected = MODEL.mean + 2 * MODEL.identity_modes[3]
    assert np.abs(last_vertices(sent) - expected.numpy()).max() < 0.01
    assert explorer.errors == []


def test_the_mesh_says_which_sliders_the_browser_may_follow_by_itself(sent):
    """Those that move what is shown: no identity mode that is not kept, and none while a mode is explained."""
    explorer = FaceModelExplorer(MODEL)

    def followed():
        return [content for content, _ in sent if content["kind"] == "vertices"][-1]["at"]

    explorer.identity[1].value = 1.5
    explorer.expression[0].value = -1
    assert len(followed()) == 50 and (followed()["1"], followed()["40"]) == (1.5, -1)
    explorer.kept.value = 3
    assert set(followed()) == {"0", "1", "2", *map(str, range(40, 50))}
    explorer.explain.value = 0
    assert followed() == {}


def test_a_slider_sends_the_vertices_and_nothing_large_besides(sent):
    explorer = FaceModelExplorer(MODEL)
    del sent[:]
    explorer.expression[0].value = 1.0
    assert len(of_kind(sent, "vertices")) == 1
    assert not of_kind(sent, "triangles")


def test_random_mean_and_fit_send_the_mesh_once(sent):
    explorer = FaceModelExplorer(of=PREDICTION)
    for press in ("Random person", "Random expression", "Fit to the photo", "Mean"):
        del sent[:]
        explorer.buttons[press].click()
        assert len(of_kind(sent, "vertices")) == 1, press
    assert np.abs(explorer.vertices - MODEL.mean.numpy()).max() < 1e-4
    assert explorer.errors == []


def test_fitted_to_the_photo_the_mesh_is_the_faces(sent):
    explorer = FaceModelExplorer(of=PREDICTION)
    explorer.buttons["Fit to the photo"].click()
    assert np.abs(explorer.vertices - PREDICTION[0].shape).max() < 1e-3


def test_an_action_is_laid_over_the_expression(sent):
    explorer = FaceModelExplorer(MODEL)
    explorer.action.value = "jawOpen"
    explorer.strength.value = 0.5
    expected = MODEL.vertices(None, 0.5 * MODEL.actions["jawOpen"])
    assert np.abs(last_vertices(sent) - expected.numpy()).max() < 0.01


def test_a_mode_explained_swings_about_the_mean_until_a_slider_is_moved(sent):
    explorer = FaceModelExplorer(MODEL)
    explorer.identity[0].value = 1.0
    explorer.explain.value = 41
    assert np.abs(last_vertices(sent) - MODEL.mean.numpy()).max() < 0.01
    swing = of_kind(sent, "morph")[-1]
    assert swing["reach"] == 3.0
    message = [m for m in sent if m[0]["kind"] == "morph"][-1]
    assert np.abs(vertices_in(message) - MODEL.expression_modes[1].numpy()).max() < 0.01
    explorer.identity[0].value = 1.5
    assert explorer.explain.value == -1
    expected = MODEL.mean + 1.5 * MODEL.identity_modes[0]
    assert np.abs(last_vertices(sent) - expected.numpy()).max() < 0.01
    assert explorer.errors == []


def test_the_button_beside_a_slider_explains_its_mode_and_stops_it(sent):
    explorer = FaceModelExplorer(MODEL)
    identity, expression = explorer.tabs.children[0], explorer.tabs.children[1].children[-1]
    expression.rows.children[2].children[1].click()
    assert explorer.explain.label == "expression 3"
    identity.rows.children[0].children[1].click()
    assert explorer.explain.label == "identity 1"
    identity.rows.children[0].children[1].click()
    assert explorer.explain.label == "none"
    assert explorer.errors == []


def test_with_the_first_modes_alone_the_face_is_as_far_from_itself_as_the_words_say(sent):
    explorer = FaceModelExplorer(of=PREDICTION)
    explorer.fit()
    whole = explorer.vertices
    explorer.colour.value = "lost"
    explorer.kept.value = 5
    identity = PREDICTION[0].identity
    expected = MODEL.vertices(np.where(np.arange(40) < 5, identity, 0), PREDICTION[0].expression).numpy()
    assert np.abs(last_vertices(sent) - expected).max() < 0.01
    error = np.sqrt(np.square(whole - expected).sum(1).mean())
    assert error == pytest.approx(reconstruction_error(MODEL.identity_modes.numpy(), identity)[5], rel=1e-3)
    assert f"{error:.2f} mm" in explorer.lost.value
    assert "mm from the face with all modes" in explorer.legend.value
    explorer.kept.value = 40
    assert np.abs(explorer.vertices - whole).max() < 1e-4
    assert explorer.errors == []


def test_the_error_chart_follows_the_face_that_the_sliders_show(sent):
    explorer = FaceModelExplorer(MODEL)
    before = explorer.error_chart.value
    explorer.identity[0].value = 2.0
    assert explorer.error_chart.value != before


def test_the_still_of_numbers_has_their_legend(sent):
    explorer = FaceModelExplorer(MODEL)
    explorer.explain.value = 0
    with Image.open(io.BytesIO(explorer.still())) as still:
        bar = np.asarray(still.convert("RGB"))[round(0.935 * still.height)]
    assert len(np.unique(bar[100:320], axis=0)) > 20


def test_more_modes_appear_on_demand(sent):
    explorer = FaceModelExplorer(MODEL)
    modes = explorer.tabs.children[0]
    assert len(modes.rows.children) == 10
    for _ in range(3):
        modes.more.click()
    assert len(modes.rows.children) == 40
    assert modes.more.layout.display == "none"


def small_model(*, modes=5, moods=2):
    arrays = {
        "mean": MODEL.mean.numpy(),
        "identity_modes": MODEL.identity_modes.numpy()[:modes],
        "expression_modes": MODEL.identity_modes.numpy()[::-1][:moods].copy(),
        "triangles": MODEL.triangles.numpy(),
        "landmark_vertices": MODEL.landmark_vertices.numpy(),
        "landmark_weights": MODEL.landmark_weights.numpy(),
        "mirror": np.zeros(0, dtype=np.int64),
        "symmetry": np.zeros(0),
    }
    return FaceModel(arrays=arrays)


def test_any_face_model_can_be_explored(sent):
    explorer = FaceModelExplorer(small_model())
    explorer.random_person(seed=3)
    explorer.random_expression(seed=3)
    assert len(explorer.coefficients) == 7
    assert np.abs(last_vertices(sent) - explorer.vertices).max() < 0.01
    assert explorer.errors == []


@pytest.mark.parametrize(("modes", "moods"), [(1, 0), (0, 3), (12, 25)])
def test_a_model_may_have_any_number_of_modes_and_each_has_its_slider(sent, modes, moods):
    explorer = FaceModelExplorer(small_model(modes=modes, moods=moods))
    for page in (explorer.tabs.children[0], explorer.tabs.children[1].children[-1]):
        for _ in range(2):
            page.more.click()
        assert len(page.rows.children) == len(page.sliders)
    last = (*explorer.identity, *explorer.expression)[-1]
    last.value = 2.0
    assert np.abs(explorer.vertices - MODEL.mean.numpy()).max() > 0.05
    assert explorer.errors == []


def test_a_face_of_another_model_is_refused_in_words(sent):
    explorer = FaceModelExplorer(small_model(), of=PREDICTION)
    explorer.buttons["Fit to the photo"].click()
    assert "expected a face with 5 identity and 2 expression coefficients" in explorer.error_line.value


def test_deviations_make_sliders_count_in_standard_deviations(sent):
    explorer = FaceModelExplorer(small_model(), deviations=np.full(7, 10.0))
    explorer.identity[0].value = 0.5
    expected = MODEL.mean.numpy() + 5 * MODEL.identity_modes[0].numpy()
    assert np.abs(explorer.vertices - expected).max() < 1e-3
    with pytest.raises(ValueError, match=r"expected deviations \(7,\)"):
        FaceModelExplorer(small_model(), deviations=np.ones(3))
