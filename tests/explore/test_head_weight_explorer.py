"""The explorer of the heads' weights, used as a person would: by setting the widgets' values."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from m4kit import Prediction
from m4kit.camera import Crop
from m4kit.explore import HeadWeightExplorer
from m4kit.explore.explorer import Explorer
from m4kit.explore.head_accuracy import accuracy_colours, accuracy_legend, cuts_picture, shares_of
from m4kit.explore.weight_sliders import WeightSliders, moved
from m4kit.explore.weight_triangle import WeightTriangle
from m4kit.head_frame import HeadFrame
from m4kit.prediction import Face, FaceBox
from m4kit.vertex_colours import vertex_colours

from helpers.canvas import PHOTO, last_vertices, of_kind
from helpers.faces import MODEL, parameters
from helpers.head_records import LEARNED, SLOPE, linear_study

FREE = np.zeros(4, dtype=bool)
STUDY = linear_study()


def face(*, seed=0, yaws=(20.0, 25.0, 25.0, 30.0), left=40.0, weights=LEARNED):
    """A face whose heads give different turns and shapes."""
    random = np.random.default_rng(seed)
    heads = np.tile(random.normal(0, 0.6, 62), (len(yaws), 1))
    heads[:, 12:] += random.normal(0, 0.3, (len(yaws), 50))
    for head, yaw in zip(heads, yaws, strict=True):
        head[:12] = parameters((yaw, -10, 5), scale=0.55, shift=(1.0, -2.0, 0.0))[:12]
    return Face(FaceBox(60, 50, 260, 250), Crop(left, 30.0, 240.0), heads, np.asarray(weights), MODEL)


def prediction(*faces, network="these heads"):
    return Prediction(PHOTO, faces, "photo.jpg", network)


def explore(*faces, study=STUDY, **options):
    return HeadWeightExplorer(prediction(*faces, **options), study=study)


PREDICTION = prediction(face(), face(seed=1, left=150.0))


@pytest.fixture
def explorer(sent):
    return explore(*PREDICTION)


def pixels(widget):
    content = base64.b64decode(re.search(r"base64,([^\"]+)", widget.value)[1])
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


class TestSliders:
    @pytest.fixture
    def sliders(self):
        self.calls = 0

        def count():
            self.calls += 1

        sliders = WeightSliders(["A", "B", "C", "D"], explorer=Explorer(), on_change=count)
        sliders.set([0.1, 0.2, 0.3, 0.4])
        self.calls = 0
        return sliders

    def test_the_others_share_the_rest_in_proportion(self, sliders):
        sliders.sliders[0].value = 0.55
        np.testing.assert_allclose(sliders.weights, [0.55, 0.1, 0.15, 0.2])
        np.testing.assert_allclose([slider.value for slider in sliders.sliders], sliders.weights)
        assert self.calls == 1

    def test_on_the_way_back_from_the_end_the_others_get_back_what_they_had(self, sliders):
        for value in (0.6, 1.0, 0.4, 0.1):
            sliders.sliders[0].value = value
        np.testing.assert_allclose(sliders.weights, [0.1, 0.2, 0.3, 0.4])

    def test_others_that_are_all_zero_share_alike(self, sliders):
        sliders.set([1, 0, 0, 0])
        sliders.sliders[0].value = 0.4
        np.testing.assert_allclose(sliders.weights, [0.4, 0.2, 0.2, 0.2])

    def test_a_locked_weight_stays_and_the_moved_one_ends_where_it_leaves_off(self, sliders):
        sliders.locks[3].value = True
        sliders.sliders[0].value = 0.4
        np.testing.assert_allclose(sliders.weights, [0.4, 0.08, 0.12, 0.4])
        sliders.sliders[0].value = 0.9
        np.testing.assert_allclose(sliders.weights, [0.6, 0, 0, 0.4])
        assert sliders.sliders[0].value == pytest.approx(0.6)
        assert sliders.sliders[3].disabled

    def test_with_all_others_locked_nothing_can_move(self, sliders):
        for lock in sliders.locks[1:]:
            lock.value = True
        assert all(slider.disabled for slider in sliders.sliders)
        sliders.sliders[0].value = 0.9
        np.testing.assert_allclose(sliders.weights, [0.1, 0.2, 0.3, 0.4])
        assert sliders.sliders[0].value == pytest.approx(0.1)
        sliders.locks[2].value = False
        assert [slider.disabled for slider in sliders.sliders] == [False, True, False, True]

    def test_a_value_that_the_browser_rounds_and_sends_back_is_no_move(self, sliders):
        sliders.set([0.0648, 0.1352, 0.3, 0.5])
        self.calls = 0
        sliders.sliders[0].value = 0.06
        assert self.calls == 0
        np.testing.assert_allclose(sliders.weights, [0.0648, 0.1352, 0.3, 0.5])

    def test_whatever_is_moved_and_locked_the_sum_stays_one(self):
        random = np.random.default_rng(0)
        for _ in range(300):
            weights, locked = random.dirichlet(np.full(4, 0.3)), random.random(4) < 0.4
            head, value = random.integers(4), random.uniform(-0.2, 1.2)
            result = moved(weights, head, value, locked=locked)
            assert result.sum() == pytest.approx(1)
            assert (result >= 0).all()
            np.testing.assert_array_equal(result[locked], weights[locked])


class TestAnswer:
    def test_it_begins_with_the_networks_own(self, explorer, sent):
        np.testing.assert_allclose(explorer.weights, LEARNED)
        own = PREDICTION[0]
        expected = HeadFrame.of(own).from_photo(own.vertices)
        assert np.abs(last_vertices(sent) - expected).max() < 0.01
        assert "<b>0.00 %</b>" in explorer.readout.value

    def test_a_slider_moves_the_mesh_as_fusing_again_does_in_the_networks_own_frame(self, explorer, sent):
        del sent[:]
        explorer.sliders.sliders[1].value = 0.7
        there = PREDICTION[0].with_head_weights(explorer.weights)
        expected = HeadFrame.of(PREDICTION[0]).from_photo(there.vertices)
        assert np.abs(last_vertices(sent) - expected).max() < 0.01
        assert len(of_kind(sent, "vertices")) == 1
        assert not of_kind(sent, "triangles", "photo", "panels")

    def test_the_landmarks_follow_in_3d_and_on_the_photo_beside(self, explorer, sent):
        before = pixels(explorer.photo)
        del sent[:]
        explorer.presets["Head 1"].click()
        points = next(buffers[0] for content, buffers in sent if content["kind"] == "points")
        alone = PREDICTION[0].with_head_weights([1, 0, 0, 0])
        expected = HeadFrame.of(PREDICTION[0]).from_photo(alone.landmarks)
        np.testing.assert_allclose(np.frombuffer(points, "<f4").reshape(-1, 3), expected, atol=1e-3)
        assert [content["name"] for content in of_kind(sent, "lines")] == ["contours"]
        assert (np.abs(pixels(explorer.photo) - before).max(axis=-1) > 60).mean() > 0.005

    def test_the_readout_says_how_far_the_answer_is_from_the_networks_own(self, sent):
        plain = face(weights=[0, 1, 0, 0])
        explorer = explore(plain)
        explorer.presets["Head 4"].click()
        # Head 2 looks 25 degrees aside, head 4 looks 30.
        assert "turned by <b>5.0°</b><br>(yaw +5.0, pitch +0.0, roll +0.0)" in explorer.readout.value
        here, there = (plain.with_head_weights(row).landmarks[:, :2] for row in np.eye(4)[[1, 3]])
        size = np.sqrt(np.ptp(here, axis=0).prod())
        share = 100 * np.linalg.norm(here - there, axis=1).mean() / size
        assert f"<b>{share:.2f} %</b>" in explorer.readout.value
        assert share > 0.5

    def test_the_heads_disagreement_is_the_spread_in_millimetres(self, explorer, sent):
        explorer.presets["Head 3"].click()
        explorer.colour.value = "spread"
        expected = vertex_colours(PREDICTION[0].with_head_weights([0, 0, 1, 0]), "spread").values
        np.testing.assert_allclose(explorer.answer.colours("spread").values, expected, atol=1e-3)
        assert "mm between the heads" in explorer.legend.value

    @pytest.mark.parametrize("mode", ["spread", "moved"])
    def test_the_colours_scale_stays_while_weights_change_and_nothing_exceeds_it(self, explorer, mode):
        reference, limits = explorer.answer.reference, set()
        for weights in np.concatenate([np.eye(4), np.random.default_rng(0).dirichlet(np.ones(4), 5)]):
            coloured = reference.under(weights).colours(mode)
            assert coloured.values.max() <= coloured.limits[1] + 1e-6
            limits.add(coloured.limits)
        assert len(limits) == 1

    def test_another_face_is_shown_with_its_own_weights_only_by_who_looked_at_the_networks_own(self, sent):
        second = face(seed=1, weights=[0.4, 0.3, 0.2, 0.1])
        explorer = explore(face(), second)
        explorer.face_choice.value = 1
        np.testing.assert_allclose(explorer.weights, [0.4, 0.3, 0.2, 0.1])
        expected = HeadFrame.of(second).from_photo(second.vertices)
        assert np.abs(last_vertices(sent) - expected).max() < 0.01
        explorer.presets["Uniform"].click()
        explorer.face_choice.value = 0
        np.testing.assert_allclose(explorer.weights, np.full(4, 0.25))

    def test_as_in_photo_the_camera_has_the_heads_pose_and_the_photo_lies_behind(self, explorer, sent):
        expected = HeadFrame.of(PREDICTION[0]).rotation
        np.testing.assert_allclose(np.reshape(explorer.canvas.camera["rotation"], (3, 3)), expected)
        explorer.face_choice.value = 1
        expected = HeadFrame.of(PREDICTION[1]).rotation
        np.testing.assert_allclose(np.reshape(explorer.canvas.camera["rotation"], (3, 3)), expected)
        explorer.camera_buttons["Front"].click()
        explorer.face_choice.value = 0
        np.testing.assert_allclose(np.reshape(explorer.canvas.camera["rotation"], (3, 3)), np.eye(3))
        # The photo travelled once, and where it lies with each face.
        assert len(of_kind(sent, "photo")) == 1
        assert len(of_kind(sent, "photo corners")) == 3


class TestAccuracy:
    def test_it_is_interpolated_and_says_so_with_its_interval_and_its_faces(self, explorer):
        explorer.weights = [0.55, 0.15, 0.15, 0.15]
        error = np.array([0.55, 0.15, 0.15, 0.15]) @ SLOPE
        said = explorer.accuracy.value
        assert f"NME balanced <b>{error:.3f} %</b> (<b>interpolated</b>" in said
        assert f"95 % interval {error - 0.5:.3f} to {error + 0.5:.3f}" in said
        paired = f"({error - 1.5:+.2g} to {error - 0.5:+.2g}, paired): worse"
        assert (
            f"{error - 1:+.2g} against the best static weights that the other half of the people chose {paired}"
            in said
        )
        assert "on 30 faces of made-up people, not on this photo" in said

    def test_measured_weights_are_said_to_be_measured(self, explorer):
        explorer.presets["Best measured"].click()
        np.testing.assert_allclose(explorer.weights, [0, 0, 0, 1])
        assert "<b>1.000 %</b> (<b>measured</b>" in explorer.accuracy.value
        assert "does not differ" in explorer.accuracy.value

    def test_a_cut_has_the_colours_of_its_corners_and_the_present_point_in_red(self):
        side = 210
        picture = cuts_picture(STUDY, np.array([0.1, 0.2, 0.3, 0.4]), side=side).astype(int)
        assert picture.shape[1] == 4 * side
        assert (np.abs(picture - [255, 59, 48]).max(axis=-1) < 12).reshape(-1, 4, side).any(axis=(0, 2)).all()
        # Head 4 is held at 0.4: the other three share 0.6, and a corner gives it to one of them.
        last = picture[:, 3 * side :]
        for row, column, head in ((0.85, 0.2, 0), (0.85, 0.8, 1), (0.3, 0.5, 2)):
            near = last[int(row * side), int(column * side)]
            weights = 0.4 * np.eye(4)[3] + 0.6 * np.eye(4)[head]
            expected = accuracy_colours(STUDY, np.array([weights @ SLOPE]))[0]
            assert np.abs(near - expected).max() < 60, head

    def test_moving_the_held_head_leaves_the_point_on_its_cut_where_it_is(self):
        weights = np.array([0.1, 0.2, 0.3, 0.4])
        after = moved(weights, 3, 0.9, locked=FREE)
        np.testing.assert_allclose(shares_of(after, 3), shares_of(weights, 3))
        np.testing.assert_allclose(shares_of(np.eye(4)[3], 3), 1 / 3)

    def test_no_error_of_the_record_lies_beyond_the_end_of_the_colours(self):
        errors = np.sort(STUDY.grid.headline)
        colours = accuracy_colours(STUDY, errors)
        for end in (0, -1):
            same = (colours == colours[end]).all(axis=1)
            assert np.ptp(errors[same]) < 0.05
        assert "<span>1.00</span>" in accuracy_legend(STUDY)
        assert "<span>4.00</span>" in accuracy_legend(STUDY)

    def test_the_cuts_follow_the_slider(self, explorer):
        before = [view.cut for view in explorer.triangles]
        explorer.sliders.sliders[0].value = 0.8
        for view, cut in zip(explorer.triangles, before, strict=True):
            assert (np.abs(view.cut.colours.astype(int) - cut.colours).max(axis=-1) > 40).mean() > 0.02
            np.testing.assert_allclose(view.cut.at(view.cut.present), explorer.weights)

    def test_a_press_in_a_triangle_sets_the_weights_there(self, explorer, sent):
        explorer.weights = [0.1, 0.2, 0.3, 0.4]
        # Held is head 2; the corners are heads 1, 3 and 4.
        press = {"kind": "pressed", "shares": [0.25, 0.0, 0.75]}
        explorer.triangles[1]._received(None, press, [])
        np.testing.assert_allclose(explorer.weights, [0.2, 0.2, 0, 0.6])
        assert [slider.value for slider in explorer.sliders.sliders] == [0.2, 0.2, 0, 0.6]
        assert (
            "<b>interpolated</b>" in explorer.accuracy.value or "<b>measured</b>" in explorer.accuracy.value
        )
        expected = explorer.under([0.2, 0.2, 0, 0.6]).vertices
        assert np.abs(last_vertices(sent) - expected).max() < 0.01

    def test_a_press_leaves_locked_weights_as_they_are_and_a_preset_opens_the_locks(self, explorer):
        explorer.weights = [0.1, 0.2, 0.3, 0.4]
        explorer.sliders.locks[0].value = True
        explorer.triangles[1]._received(None, {"kind": "pressed", "shares": [0.8, 0.05, 0.15]}, [])
        # Head 2 has 0.2 of the 0.9 that are free, heads 3 and 4 share their part one to three.
        weights = np.array([0.2, 0.04, 0.12]) * 0.9 / 0.36
        np.testing.assert_allclose(explorer.weights, [0.1, *weights])
        for lock in explorer.sliders.locks[:3]:
            lock.value = True
        explorer.triangles[0]._received(None, {"kind": "pressed", "shares": [1, 0, 0]}, [])
        np.testing.assert_allclose(explorer.weights, [0.1, *weights])
        explorer.presets["Head 2"].click()
        np.testing.assert_allclose(explorer.weights, [0, 1, 0, 0])
        assert not any(lock.value for lock in explorer.sliders.locks)

    def test_the_browser_gets_every_cut_when_it_is_ready_and_an_answer_to_each_press(
        self, explorer, monkeypatch
    ):
        answers = []
        monkeypatch.setattr(WeightTriangle, "send", lambda view, *message: answers.append(message))
        explorer.triangles[2]._received(None, {"kind": "ready"}, [])
        (content, (picture,)) = answers.pop()
        assert (content["title"], content["names"]) == ("Head 3 held at 0.31", ["Head 1", "Head 2", "Head 4"])
        assert Image.open(io.BytesIO(picture)).size == (240, 208)
        np.testing.assert_allclose(content["present"], shares_of(LEARNED, 2))
        explorer.triangles[2]._received(None, {"kind": "pressed", "shares": [0, 0, 1]}, [])
        assert answers[-1] == ({"kind": "heard"},)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"study": linear_study(network="others")}, "got one of made-up (others)"),
            ({"network": ""}, "a prediction with the fingerprint"),
            ({"study": "nowhere.npz"}, "nowhere.npz: no such record"),
        ],
    )
    def test_a_record_of_other_heads_is_refused_and_the_explorer_goes_on(self, sent, changes, message):
        explorer = explore(*PREDICTION, **changes)
        assert message in explorer.accuracy.value
        assert explorer.triangles == []
        assert explorer.presets["Best measured"].disabled
        del sent[:]
        explorer.sliders.sliders[0].value = 0.9
        assert len(of_kind(sent, "vertices")) == 1

    def test_a_network_of_another_number_of_heads_has_as_many_sliders_and_no_record(self, sent):
        three = face(yaws=(20.0, 25.0, 30.0), weights=[0.2, 0.3, 0.5])
        explorer = explore(three)
        assert len(explorer.sliders.sliders) == 3
        assert "got a face with 3" in explorer.accuracy.value
        explorer.presets["Head 3"].click()
        np.testing.assert_allclose(explorer.weights, [0, 0, 1])


class TestBadInput:
    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([0.5, 0.6, -0.1, 0], "leave a head out with 0"),
            ([0.5, 0.4, 0, 0], "whose sum is 0.9; divide by it"),
            ([0.5, 0.5, 0], "expected 4 weights, one per head, at least 0 and with a sum of 1, got 3"),
            ([np.nan, 1, 0, 0], "leave a head out with 0"),
            ("half", "got something else"),
        ],
    )
    def test_invalid_weights_are_refused_in_words_and_nothing_moves(self, explorer, sent, weights, message):
        del sent[:]
        explorer.weights = weights
        assert message in explorer.error_line.text
        assert isinstance(explorer.errors.pop(), ValueError)
        np.testing.assert_allclose(explorer.weights, LEARNED)
        assert sent == []
        explorer.weights = [0.25, 0.25, 0.25, 0.25]
        assert explorer.error_line.text == ""

    def test_a_prediction_without_faces_or_a_study_of_another_type_is_refused_in_a_sentence(self):
        with pytest.raises(
            ValueError, match=r"photo\.jpg: expected a prediction with at least one face, got none; "
        ):
            explore()
        with pytest.raises(
            TypeError, match=r"HeadWeightExplorer: study: expected HeadStudy or str .*got 3 \(int\)"
        ):
            explore(*PREDICTION, study=3)

    def test_faces_of_different_heads_are_refused(self):
        with pytest.raises(
            ValueError, match=r"photo\.jpg: expected faces with one number of heads, got 2 and 4"
        ):
            explore(face(), face(yaws=(1.0, 2.0), weights=[0.5, 0.5]))

    def test_an_unknown_camera_position_or_preset_is_an_error_that_names_the_known(self, explorer):
        with pytest.raises(ValueError, match=r"a camera position out of Front, .*As in photo, got 'Back'"):
            explorer.look("Back")
        with pytest.raises(ValueError, match=r"a preset out of Network's own, .*got 'Worst'"):
            explorer.preset("Worst")


def test_readers_without_a_kernel_see_a_small_still_picture_and_a_short_line(explorer):
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == "HeadWeightExplorer of photo.jpg, weights 0.13, 0.22, 0.31, 0.34"
    assert len(bundle["image/jpeg"]) < 130_000


def test_what_the_toggles_show_the_canvas_shows(explorer):
    explorer.toggles["mesh"].value = False
    explorer.toggles["landmarks"].value = True
    expected = {"photo": True, "mesh": False, "contours": True, "landmarks": True, "own": True}
    assert explorer.canvas.show == expected


def test_predictions_name_the_heads_that_made_them_whatever_fuses_them():
    from m4kit import M4Net, Predictor

    network = M4Net("small")
    boxes = [60, 50, 260, 250]
    names = {
        Predictor(network=some, detector=lambda image: boxes)(PHOTO).network
        for some in (network, network.with_dynamic_fusion(), M4Net("small").eval())
    }
    assert len(names) == 2
