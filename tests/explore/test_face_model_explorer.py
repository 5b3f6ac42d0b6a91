"""The face model's explorer, used as a person would: by setting the widgets' values."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from m4kit import FaceModel, Prediction
from m4kit.explore import FaceModelExplorer
from m4kit.explore.modes import reconstruction_error
from m4kit.vertex_colours import vertex_colours

from helpers.canvas import PHOTO, TWO_FACES, last_colours, last_vertices, of_kind, vertices_in
from helpers.faces import MODEL

HEAD = MODEL.head


def face_of(vertices):
    """The face's vertices (V, 3), the first of a head's."""
    return vertices[: len(MODEL.mean)]


@pytest.fixture
def explorer(sent):
    return FaceModelExplorer(of=TWO_FACES)


def test_a_slider_moves_the_mesh_along_its_mode(explorer, sent):
    del sent[:]
    explorer.identity[3].value = 2.0
    expected = HEAD.mean + 2 * HEAD.identity_modes[3]
    assert np.abs(last_vertices(sent) - expected).max() < 0.01
    assert len(of_kind(sent, "vertices")) == 1
    assert not of_kind(sent, "triangles")


def test_the_mesh_says_which_sliders_the_browser_may_follow_by_itself(explorer, sent):
    """Those that move what is shown: no identity mode that is not kept, and none while a mode is explained."""

    def followed():
        return [content for content, _ in sent if content["kind"] == "vertices"][-1]["at"]

    explorer.identity[1].value = 1.5
    explorer.expression[0].value = -1
    assert len(followed()) == 50 and (followed()["1"], followed()["40"]) == (1.5, -1)
    explorer.kept.value = 3
    assert set(followed()) == {"0", "1", "2", *map(str, range(40, 50))}
    explorer.explain.value = 0
    assert followed() == {}


def test_exaggeration_scales_the_identity_beyond_its_sliders_and_keeps_the_expression(explorer, sent):
    explorer.identity[2].value, explorer.expression[1].value = 3.0, 1.0
    explorer.exaggeration.value = 4.0
    modes = 4 * 3 * HEAD.identity_modes[2] + HEAD.expression_modes[1]
    face = MODEL.regions["nose"]
    expected = (HEAD.mean + modes)[: len(MODEL.mean)][face]
    assert np.abs(face_of(last_vertices(sent))[face] - expected).max() < 0.01
    content = [content for content, _ in sent if content["kind"] == "vertices"][-1]
    assert set(content["at"]) == {str(mode) for mode in range(40, 50)}
    explorer.exaggeration.value = 1.0
    modes = 3 * HEAD.identity_modes[2] + HEAD.expression_modes[1]
    assert np.abs(last_vertices(sent) - (HEAD.mean + modes)).max() < 0.01


def test_random_mean_and_fit_send_the_mesh_once(explorer, sent):
    for press in ("Random person", "Random expression", "Fit to the photo", "Mean"):
        del sent[:]
        explorer.buttons[press].click()
        assert len(of_kind(sent, "vertices")) == 1, press
    assert np.abs(explorer.vertices - MODEL.mean).max() < 1e-4


NEAR = 0.2
"""Millimetres at most that the sliders' steps leave between a face and the mesh fitted to it."""


class TestFaceOfThePhoto:
    def test_the_photo_is_shown_around_the_chosen_face(self, explorer):
        first = explorer.photo.value
        explorer.face_choice.value = 1
        assert explorer.photo.value != first
        assert 'alt="The photo around face 2"' in explorer.photo.value
        explorer.fit()
        assert np.abs(explorer.vertices - TWO_FACES[1].shape).max() < NEAR

    def test_another_face_is_fitted_at_once_only_if_the_last_one_was(self, explorer):
        explorer.face_choice.value = 1
        assert np.abs(explorer.coefficients).max() == 0
        explorer.fit()
        explorer.face_choice.value = 0
        assert np.abs(explorer.vertices - TWO_FACES[0].shape).max() < NEAR
        explorer.identity[3].value += 0.5
        mine = explorer.coefficients
        explorer.face_choice.value = 1
        assert np.array_equal(explorer.coefficients, mine)

    def test_one_face_has_no_choice_and_none_has_no_photo(self, sent):
        assert FaceModelExplorer(of=TWO_FACES[:1]).face_choice.layout.display == "none"
        explorer = FaceModelExplorer(MODEL)
        assert (explorer.face, explorer.photo.value) == (None, "")
        with pytest.raises(ValueError, match=r"give FaceModelExplorer\(of=prediction\)"):
            explorer.fit()

    def test_a_face_without_its_photo_is_fitted_and_the_photos_place_says_why_it_is_empty(self, sent):
        explorer = FaceModelExplorer(of=TWO_FACES[0])
        assert "has no photo" in explorer.photo.value
        explorer.fit()
        assert np.abs(explorer.vertices - TWO_FACES[0].shape).max() < NEAR


class TestActions:
    def test_an_action_sets_the_ten_sliders_and_the_mesh_to_its_values(self, explorer, sent):
        explorer.expression[2].value = 1.0
        explorer.action.value = "jawOpen"
        explorer.strength.value = 0.5
        values = [slider.value for slider in explorer.expression]
        np.testing.assert_allclose(values, 0.5 * MODEL.actions["jawOpen"], atol=1 / 64)
        assert np.abs(last_vertices(sent) - HEAD.vertices(None, values)).max() < 0.01

    def test_none_sets_back_what_the_sliders_were_before_the_action(self, explorer):
        explorer.expression[2].value = 1.0
        assert explorer.strength.disabled
        for action in ("jawOpen", "mouthSmileLeft"):
            explorer.action.value = action
        assert not explorer.strength.disabled
        explorer.action.value = "none"
        assert [slider.value for slider in explorer.expression] == [0, 0, 1, *[0] * 7]
        assert explorer.strength.disabled

    def test_a_slider_moved_by_hand_ends_the_action_and_stays(self, explorer):
        explorer.action.value = "jawOpen"
        explorer.expression[1].value = -2.0
        assert explorer.action.value == "none"
        assert explorer.expression[1].value == -2.0
        assert explorer.expression[0].value == pytest.approx(MODEL.actions["jawOpen"][0], abs=1 / 64)

    @pytest.mark.parametrize("other", ["Mean", "Random expression", "Fit to the photo"])
    def test_another_expression_ends_the_action(self, explorer, sent, other):
        explorer.action.value = "jawOpen"
        explorer.buttons[other].click()
        assert explorer.action.value == "none"
        assert np.abs(face_of(last_vertices(sent)) - explorer.vertices).max() < 0.01


def test_the_distance_from_the_mean_is_that_of_the_viewers(explorer):
    explorer.fit()
    explorer.colour.value = "distance"
    shown = explorer._shown_colours()
    expected = vertex_colours(TWO_FACES[0].head, "distance")
    np.testing.assert_allclose(shown.values, expected.values, atol=NEAR)
    assert (shown.unit, shown.scale) == (expected.unit, expected.scale)


def test_the_head_can_be_left_away_and_comes_back_with_the_sliders_face(explorer, sent):
    explorer.action.value = "jawOpen"
    explorer.identity[0].value = 1.0
    face = explorer.vertices
    explorer.toggles["head"].value = False
    assert np.abs(last_vertices(sent) - face).max() < 0.01
    assert of_kind(sent, "triangles")[-1]["total"] == MODEL.triangles.size
    assert len(explorer._mode(0)) == len(last_colours(sent)) == len(MODEL.mean)
    explorer.explain.value = 2
    explorer.toggles["head"].value = True
    assert np.abs(last_vertices(sent) - HEAD.mean).max() < 0.01
    explorer.explain.value = -1
    head = last_vertices(sent)
    assert len(head) == len(HEAD.mean) and np.abs(face_of(head) - face).max() < 0.01


def test_numbers_are_about_the_face_with_the_head_or_without(explorer):
    explorer.fit()
    explorer.kept.value = 5
    charts = explorer.variance.value, explorer.lost.value
    explorer.toggles["head"].value = False
    assert (explorer.variance.value, explorer.lost.value) == charts


def test_sliders_that_move_nothing_are_disabled(explorer):
    explorer.kept.value = 3
    assert [slider.disabled for slider in explorer.identity] == [False] * 3 + [True] * 37
    explorer.kept.value = 40
    assert not any(slider.disabled for slider in explorer.identity)


def test_the_sliders_reach_every_face_of_the_photo_and_every_action(sent):
    heads = TWO_FACES[0].heads.copy()
    heads[:, 12] = 4.4
    explorer = FaceModelExplorer(of=dataclasses.replace(TWO_FACES[0], heads=heads))
    explorer.fit()
    assert explorer.identity[0].value == pytest.approx(4.4, abs=1 / 64)
    for action, wanted in MODEL.actions.items():
        explorer.action.value = action
        np.testing.assert_allclose([slider.value for slider in explorer.expression], wanted, atol=1 / 64)
    assert FaceModelExplorer(MODEL).identity[0].max == 4


def test_a_mode_explained_swings_about_the_mean_until_a_slider_is_moved(explorer, sent):
    explorer.identity[0].value = 1.0
    explorer.explain.value = 41
    assert np.abs(last_vertices(sent) - HEAD.mean).max() < 0.01
    swing = of_kind(sent, "morph")[-1]
    assert swing["reach"] == 3.0
    message = [m for m in sent if m[0]["kind"] == "morph"][-1]
    assert np.abs(vertices_in(message) - HEAD.expression_modes[1]).max() < 0.01
    explorer.identity[0].value = 1.5
    assert explorer.explain.value == -1
    expected = HEAD.mean + 1.5 * HEAD.identity_modes[0]
    assert np.abs(last_vertices(sent) - expected).max() < 0.01


def test_the_button_beside_a_slider_explains_its_mode_and_stops_it(explorer):
    identity, expression = (explorer.tabs.children[number].children[-1] for number in (0, 1))
    expression.rows.children[2].children[1].click()
    assert explorer.explain.label == "expression 3"
    icons = [[one.children[1].icon for one in page.rows.children] for page in (identity, expression)]
    assert icons == [["play"] * 10, ["play"] * 2 + ["stop"] + ["play"] * 7]
    identity.rows.children[0].children[1].click()
    assert explorer.explain.label == "identity 1"
    assert identity.rows.children[0].children[1].icon == "stop"
    identity.rows.children[0].children[1].click()
    assert explorer.explain.label == "none"
    assert identity.rows.children[0].children[1].icon == "play"


def test_with_the_first_modes_alone_the_face_is_as_far_from_itself_as_the_words_say(explorer, sent):
    chart = explorer.error_chart.value
    explorer.fit()
    assert explorer.error_chart.value != chart
    whole = explorer.vertices
    explorer.colour.value = "lost"
    explorer.kept.value = 5
    identity = np.array([slider.value for slider in explorer.identity])
    expression = [slider.value for slider in explorer.expression]
    expected = MODEL.vertices(np.where(np.arange(40) < 5, identity, 0), expression)
    assert np.abs(face_of(last_vertices(sent)) - expected).max() < 0.01
    error = np.sqrt(np.square(whole - expected).sum(1).mean())
    assert error == pytest.approx(reconstruction_error(MODEL.identity_modes, identity)[5], rel=1e-3)
    assert f"{error:.2f} mm" in explorer.lost.value
    assert "mm from the face with all modes" in explorer.legend.value
    explorer.kept.value = 40
    assert np.abs(explorer.vertices - whole).max() < 1e-4


def test_the_still_of_numbers_has_their_legend(explorer):
    explorer.explain.value = 0
    with Image.open(io.BytesIO(explorer.still())) as still:
        bar = np.asarray(still.convert("RGBA"))[round(0.935 * still.height)]
    assert len(np.unique(bar[100:320], axis=0)) > 20


def test_more_modes_appear_on_demand_and_go_again(explorer):
    modes = explorer.tabs.children[0].children[-1]
    first = modes.rows.children
    assert len(first) == 10
    assert modes.fewer.layout.display == "none"
    for _ in range(3):
        modes.more.click()
    assert len(modes.rows.children) == 40
    assert modes.more.layout.display == "none"
    modes.fewer.click()
    assert modes.rows.children == first
    assert (modes.more.layout.display, modes.fewer.layout.display) == (None, "none")


def small_model(*, modes=5, expressions=2):
    arrays = {
        "mean": MODEL.mean,
        "identity_modes": MODEL.identity_modes[:modes],
        "expression_modes": MODEL.identity_modes[::-1][:expressions].copy(),
        "triangles": MODEL.triangles,
        "landmark_vertices": MODEL.landmark_vertices,
        "landmark_weights": MODEL.landmark_weights,
        "mirror": np.zeros(0, dtype=np.int64),
        "symmetry": np.zeros(0),
    }
    return FaceModel(arrays=arrays)


@pytest.mark.parametrize(("modes", "expressions"), [(1, 0), (0, 3), (12, 25)])
def test_a_model_may_have_any_number_of_modes_and_each_has_its_slider(sent, modes, expressions):
    explorer = FaceModelExplorer(small_model(modes=modes, expressions=expressions))
    assert explorer.toggles["head"].layout.display == "none"
    for page in (tab.children[-1] for tab in explorer.tabs.children[:2]):
        for _ in range(2):
            page.more.click()
        assert len(page.rows.children) == len(page.sliders)
    last = (*explorer.identity, *explorer.expression)[-1]
    last.value = 2.0
    assert np.abs(explorer.vertices - MODEL.mean).max() > 0.05
    explorer.random_person()
    explorer.random_expression()
    assert len(explorer.coefficients) == modes + expressions
    assert np.abs(last_vertices(sent) - explorer.vertices).max() < 0.01


def test_a_face_of_another_model_is_refused_in_words(sent):
    explorer = FaceModelExplorer(small_model(), of=TWO_FACES)
    explorer.buttons["Fit to the photo"].click()
    assert "expected a face with 5 identity and 2 expression coefficients" in explorer.error_line.value
    explorer.errors.clear()


def test_deviations_make_sliders_count_in_standard_deviations(sent):
    explorer = FaceModelExplorer(small_model(), deviations=np.full(7, 10.0))
    explorer.identity[0].value = 0.5
    expected = MODEL.mean + 5 * MODEL.identity_modes[0]
    assert np.abs(explorer.vertices - expected).max() < NEAR
    with pytest.raises(ValueError, match=r"deviations: expected \(7,\), one per mode, got \(3,\)"):
        FaceModelExplorer(small_model(), deviations=np.ones(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "model.npz"},
            r"expected FaceModel or None, got 'model.npz' \(str\); give it FaceModel\.load",
        ),
        (
            {"of": "photo.jpg"},
            r"of: expected Prediction or Face, got 'photo.jpg' \(str\); give it m4kit\.predict",
        ),
        (
            {"of": Prediction(PHOTO, (), "empty.jpg")},
            r"empty\.jpg: expected a prediction with at least one face",
        ),
        ({"deviations": "wide"}, r"expected \(50,\) numbers above 0, one per mode, got 'wide'"),
        ({"deviations": np.zeros(50)}, "expected numbers above 0, got 0 for 50 of 50 modes"),
    ],
)
def test_what_cannot_be_explored_is_refused_in_a_sentence(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        FaceModelExplorer(**options)
