"""The explorers, driven as a user's hand would: by setting the widgets' values."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from m4kit import FaceModel, Prediction
from m4kit.camera import Crop, head_pose, rotation_from_euler
from m4kit.explore import FaceModelExplorer, MeshViewer
from m4kit.explore.canvas import MESSAGE_BYTES, Canvas
from m4kit.explore.face_model_explorer import cumulative_variance, reconstruction_error
from m4kit.head_frame import HeadFrame
from m4kit.prediction import Face, FaceBox

MODEL = FaceModel.load()
PHOTO = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)


def face(*, seed=0, pose=(25.0, -10.0, 5.0), left=40.0):
    random = np.random.default_rng(seed)
    camera = np.column_stack([0.55 * rotation_from_euler(*pose), [1.0, -2.0, 0.0]])
    heads = np.tile(np.concatenate([camera.ravel(), random.normal(0, 0.6, 50)]), (4, 1))
    heads[:, 12:] += random.normal(0, 0.2, (4, 50))
    return Face(FaceBox(60, 50, 260, 250), Crop(left, 30.0, 240.0), heads, np.full(4, 0.25), MODEL)


PREDICTION = Prediction(PHOTO, (face(), face(seed=1, pose=(-30.0, 5.0, 0.0), left=150.0)), "two.jpg")


@pytest.fixture
def sent(monkeypatch):
    messages = []
    monkeypatch.setattr(
        Canvas, "send", lambda self, content, buffers=None: messages.append((content, buffers or []))
    )
    return messages


def of_kind(messages, *kinds):
    return [content for content, _ in messages if content["kind"] in kinds]


def vertices_in(message):
    content, (buffer,) = message
    return np.array(content["low"]) + np.frombuffer(buffer, "<u2").reshape(-1, 3) * np.array(content["step"])


def last_vertices(messages, panel=0):
    return vertices_in([m for m in messages if m[0]["kind"] == "vertices" and m[0]["panel"] == panel][-1])


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
    viewer.reset.click()
    assert viewer.canvas.camera["zoom"] == 1.0
    assert viewer.errors == []


def test_as_in_photo_turns_the_camera_to_the_heads_pose(sent):
    viewer = MeshViewer(PREDICTION)
    viewer.views["As in photo"].click()
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
    assert "expected a face with several heads" in viewer.complaints.value
    viewer.colour.value = "clay"
    assert viewer.complaints.value == ""
    assert len(viewer.errors) == 1


def test_readers_without_a_kernel_see_a_small_still_picture(sent):
    bundle = MeshViewer(PREDICTION)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert len(bundle["image/jpeg"]) < 60_000


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


def test_more_modes_appear_on_demand(sent):
    explorer = FaceModelExplorer(MODEL)
    box = explorer.tabs.children[0].children[0]
    assert len(box.children) == 10
    for _ in range(3):
        explorer.more.click()
    assert len(box.children) == 40
    assert explorer.more.layout.display == "none"


def small_model(modes=5):
    arrays = {
        "mean": MODEL.mean.numpy(),
        "identity_modes": MODEL.identity_modes.numpy()[:modes],
        "expression_modes": MODEL.expression_modes.numpy()[:2],
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


def test_a_face_of_another_model_is_refused_in_words(sent):
    explorer = FaceModelExplorer(small_model(), of=PREDICTION)
    explorer.buttons["Fit to the photo"].click()
    assert "expected a face with 5 identity and 2 expression coefficients" in explorer.complaints.value


def test_deviations_make_sliders_count_in_standard_deviations(sent):
    explorer = FaceModelExplorer(small_model(), deviations=np.full(7, 10.0))
    explorer.identity[0].value = 0.5
    expected = MODEL.mean.numpy() + 5 * MODEL.identity_modes[0].numpy()
    assert np.abs(explorer.vertices - expected).max() < 1e-3
    with pytest.raises(ValueError, match=r"expected deviations \(7,\)"):
        FaceModelExplorer(small_model(), deviations=np.ones(3))


def test_the_cumulative_variance_of_equal_orthogonal_modes_grows_evenly():
    modes = np.eye(12).reshape(4, 3, 12)[:, :, :3]
    modes = np.stack([np.roll(np.eye(3), k, axis=0) for k in range(4)])
    assert np.allclose(cumulative_variance(modes), [0.25, 0.5, 0.75, 1.0])
    assert np.allclose(cumulative_variance(modes[:2], np.array([2.0, 1.0])), [0.8, 1.0])


def test_the_reconstruction_error_is_what_the_missing_modes_move():
    modes = np.zeros((2, 4, 3))
    modes[0, :, 0], modes[1, :, 1] = 3.0, 4.0
    assert np.allclose(reconstruction_error(modes, np.array([1.0, 1.0])), [5.0, 4.0, 0.0])
