"""Live pages in a real browser, from a file and without a network; skipped without Chromium or playwright."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from m4kit import cli, exaggeration, predict
from m4kit.ablation.heads.accuracy import accuracy_at
from m4kit.ablation.heads.record import HeadStudy
from m4kit.explore import FaceModelExplorer, HeadWeightExplorer
from m4kit.head_frame import HeadFrame
from m4kit.live.packing import page_order
from m4kit.vertex_colours import vertex_colours

from helpers.paths import SAMPLES

PREDICTION = predict(SAMPLES / "astronaut.jpg")
FACE = PREDICTION[0]
HEAD = FACE.model.head
ORDER = page_order(HEAD.triangles, len(HEAD.mean))
OFF = 0.35
"""Millimetres by which the worst vertex of a page may be off, because its modes are rounded; the mean is a fifth."""


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """Opens a page's HTML from a file, without a network; its errors are none at the end."""
    folder, pages, contexts = tmp_path_factory.mktemp("pages"), [], []

    def open_page(html, name, **context):
        path = folder / f"{name}.html"
        path.write_text(html, encoding="utf-8")
        contexts.append(
            browser.new_context(offline=True, **{"viewport": {"width": 1200, "height": 1300}} | context)
        )
        page = contexts[-1].new_page()
        page.m4kit_errors = []
        page.on("console", lambda one: one.type == "error" and page.m4kit_errors.append(one.text))
        page.on("pageerror", lambda error: page.m4kit_errors.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector("canvas[data-serial]", timeout=60_000)
        pages.append(page)
        return page

    yield open_page
    assert [page.m4kit_errors for page in pages] == [[]] * len(pages)
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def page(opened):
    return opened(HeadWeightExplorer(PREDICTION).to_html(), "face")


@pytest.fixture(scope="module")
def model_page(opened):
    return opened(FaceModelExplorer().to_html(), "model")


@pytest.fixture(scope="module")
def phone(opened):
    size = {"viewport": {"width": 390, "height": 760}, "has_touch": True, "is_mobile": True}
    return opened(PREDICTION.to_html(), "phone", color_scheme="dark", **size)


def picture(page) -> np.ndarray:
    """The view (h, w, 3), once it is drawn no more."""
    canvas = page.locator(".view canvas")
    drawn = None
    while drawn != (now := canvas.get_attribute("data-drawn")):
        drawn = now
        page.wait_for_timeout(350)
    # Without the ring that shows the keyboard focus.
    return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)[5:-40, 5:-5]


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """The share of pixels that clearly differ."""
    return float((np.abs(before - after).max(-1) > 24).mean())


def press(page, words: str) -> None:
    page.get_by_role("button", name=words, exact=True).first.click()


def vertices_of(page) -> np.ndarray:
    """The vertices (V, 3) of the page's face in its frame."""
    return np.array(page.evaluate("() => Array.from(m4kitPage.shown().vertices())")).reshape(-1, 3)


def slide(page, name: str, value: float) -> None:
    page.get_by_role("slider", name=name, exact=True).fill(str(value))


class TestNumbers:
    """What the page computes is what m4kit computes."""

    def test_vertices(self, page):
        expected = HeadFrame.of(FACE.head).from_photo(FACE.head.vertices)[ORDER]
        off = np.linalg.norm(vertices_of(page) - expected, axis=1)
        assert off.max() < OFF
        assert off.mean() < OFF / 5

    def test_vertices_under_other_head_weights(self, page):
        weights = [0.1, 0.2, 0.3, 0.4]
        press(page, "Network's own")
        page.evaluate("(weights) => m4kitPage.weigh(Float64Array.from(weights))", weights)
        other = FACE.with_head_weights(weights).head
        expected = HeadFrame.of(FACE).from_photo(other.vertices)[ORDER]
        assert np.abs(vertices_of(page) - expected).max() < OFF
        press(page, "Network's own")

    @pytest.mark.parametrize("mode", ["depth", "distance", "spread"])
    def test_numbers_of_colours(self, page, mode):
        found = page.evaluate("(mode) => Array.from(m4kitPage.shown().values(mode).values)", mode)
        expected = vertex_colours(FACE.head, mode).values[ORDER]
        assert np.abs(np.array(found) - expected).max() < OFF

    def test_normals(self, page):
        found = page.evaluate("() => Array.from(normalColours(m4kitPage.shown()))")
        expected = vertex_colours(FACE.head, "normals").colours[ORDER].astype(int)
        assert np.percentile(np.abs(np.reshape(found, (-1, 3)) - expected), 99) < 16

    def test_the_texture(self, page):
        found = page.evaluate("() => Array.from(m4kitPage.face.texture)")
        assert np.array_equal(np.reshape(found, (-1, 3)), vertex_colours(FACE.head, "texture").colours[ORDER])

    def test_a_caricature(self, page):
        found = page.evaluate("() => Array.from(new Shown(m4kitPage.face, { k: 2 }).shape)")
        expected = exaggeration.exaggerate(FACE.head, 2).shape[ORDER]
        assert np.abs(np.reshape(found, (-1, 3)) - expected).max() < 2 * OFF

    def test_the_measured_accuracy(self, page):
        study = HeadStudy.packaged()
        weights = np.random.default_rng(3).dirichlet(np.ones(4), size=200)
        found = page.evaluate(
            "(all) => all.map((weights) => m4kitPage.study.at(weights)[0])", weights.tolist()
        )
        expected = accuracy_at(study, weights).nme
        assert np.abs(np.array(found) - expected).max() < 0.05 * np.ptp(study.grid.headline)
        assert np.median(np.abs(np.array(found) - expected)) < 0.005 * np.ptp(study.grid.headline)

    def test_an_action_sets_the_expression(self, model_page):
        model_page.get_by_label("Action").select_option("jawOpen")
        found = model_page.evaluate("() => Array.from(m4kitPage.shown().coefficients)")
        assert np.allclose(found[40:], FACE.model.actions["jawOpen"], atol=1e-3)
        model_page.get_by_label("Action").select_option("")
        assert np.abs(model_page.evaluate("() => Array.from(m4kitPage.shown().coefficients)")).max() == 0


class TestControls:
    def test_dragging_turns_the_face_and_reset_turns_it_back(self, page):
        before = picture(page)
        box = page.locator(".view canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 90, y + 10, steps=4)
        page.mouse.up()
        assert changed(before, picture(page)) > 0.03
        press(page, "Reset")
        assert changed(before, picture(page)) < 0.01

    def test_keys_turn_and_zoom_with_a_visible_focus(self, page):
        before = picture(page)
        canvas = page.locator(".view canvas")
        canvas.focus()
        for key in ("ArrowRight", "ArrowRight", "+"):
            canvas.press(key)
        assert changed(before, picture(page)) > 0.03
        assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
        canvas.press("0")
        assert changed(before, picture(page)) < 0.01

    def test_layers_and_colours_change_the_picture(self, page):
        before = picture(page)
        for name in ("Photo", "Head", "Wireframe"):
            press(page, name)
            assert changed(before, picture(page)) > 0.01, name
            press(page, name)
            assert changed(before, picture(page)) < 0.01, name
        for name in ("texture", "depth", "region"):
            page.get_by_label("Colour", exact=True).select_option(name)
            assert changed(before, picture(page)) > 0.03, name
        page.get_by_label("Colour", exact=True).select_option("clay")
        assert changed(before, picture(page)) < 0.01

    def test_a_head_weight_moves_the_face_and_the_others_make_room(self, page):
        before = picture(page)
        slide(page, "Head 1", 1)
        assert page.get_by_role("slider", name="Head 4").input_value() == "0"
        assert changed(before, picture(page)) > 0.004
        press(page, "Network's own")
        assert changed(before, picture(page)) < 0.004

    def test_a_press_in_a_triangle_sets_the_weights(self, page):
        box = page.locator(".triangles svg").first.bounding_box()
        page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"])
        weights = np.array(page.evaluate("() => Array.from(m4kitPage.weights)"))
        own = np.array(FACE.head_weights)
        assert weights[0] == pytest.approx(own[0])
        assert weights.sum() == pytest.approx(1)
        assert np.abs(weights - own).max() > 0.05
        press(page, "Network's own")

    def test_a_mode_slider_moves_the_face(self, model_page):
        before = picture(model_page)
        slide(model_page, "identity 1", 3)
        assert changed(before, picture(model_page)) > 0.01
        press(model_page, "Mean")
        assert changed(before, picture(model_page)) < 0.01

    def test_a_random_person_keeps_the_expression(self, model_page):
        slide(model_page, "expression 1", 1)
        press(model_page, "Random person")
        found = model_page.evaluate("() => Array.from(m4kitPage.shown().coefficients)")
        assert found[40] == 1
        assert 0.5 < np.std(found[:40]) < 2
        press(model_page, "Mean")

    def test_a_mode_swings_until_it_is_stopped(self, model_page):
        before = picture(model_page)
        button = model_page.locator(".slider button").first
        button.click()
        model_page.wait_for_selector("canvas[data-swing]")
        drawn = int(model_page.locator(".view canvas").get_attribute("data-drawn"))
        model_page.wait_for_function(
            "(drawn) => document.querySelector('.view canvas').dataset.drawn > drawn + 2", arg=drawn
        )
        assert "mm per standard deviation" in model_page.locator(".beside").inner_text()
        button.click()
        assert changed(before, picture(model_page)) < 0.01

    def test_two_faces_side_by_side_turn_together(self, model_page):
        slide(model_page, "identity 1", 4)
        model_page.get_by_label("Beside it").select_option("start")
        before = picture(model_page)
        press(model_page, "Left")
        after = picture(model_page)
        half = before.shape[1] // 2
        assert changed(before[:, :half], after[:, :half]) > 0.05
        assert changed(before[:, half:], after[:, half:]) > 0.05
        press(model_page, "Front")
        model_page.get_by_label("Beside it").select_option("")
        press(model_page, "Mean")

    def test_a_click_reads_a_vertex(self, page):
        press(page, "Photo")
        press(page, "Front")
        before = picture(page)
        box = page.locator(".view canvas").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        reading = page.get_by_text("Vertex ")
        reading.wait_for()
        text = reading.inner_text()
        vertex = int(re.search(r"Vertex (\d+)", text).group(1))
        assert "region: nose" in text
        assert FACE.model.regions["nose"][vertex]
        place = [
            float(value.replace("\u2212", "-"))
            for value in re.search(r"model: (.*) mm", text).group(1).split(",")
        ]
        assert place == pytest.approx(FACE.shape[vertex], abs=OFF)
        red = picture(page) - before
        assert (np.abs(red).max(-1) > 60).sum() > 10
        page.mouse.click(box["x"] + 5, box["y"] + 5)
        page.get_by_text("Click the face").wait_for()
        press(page, "Photo")
        press(page, "Reset")

    def test_all_controls_have_names(self, page):
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll('button, select, input, canvas[role], svg[role]')].filter((one) =>
            !(one.ariaLabel || one.textContent.trim() || one.labels?.length)).length"""
        )
        assert unnamed == 0


class TestPhone:
    def test_nothing_is_wider_than_the_window(self, phone):
        assert phone.evaluate("() => document.documentElement.scrollWidth") <= 390

    def test_a_finger_turns_the_face(self, phone):
        before = picture(phone)
        box = phone.locator(".view canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        client = phone.context.new_cdp_session(phone)
        for kind, points in (
            ("touchStart", [{"x": x, "y": y}]),
            ("touchMove", [{"x": x + 60, "y": y}]),
            ("touchEnd", []),
        ):
            client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert changed(before, picture(phone)) > 0.03

    def test_the_page_is_dark_where_the_system_is(self, phone):
        assert phone.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 22)"


def test_the_page_of_many_photos_has_one_view_that_goes_to_the_chosen_face(opened, tmp_path):
    photos = [str(SAMPLES / name) for name in ("astronaut.jpg", "group.jpg")]
    assert cli.main(["predict", *photos, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    page = opened((tmp_path / "out" / "index.html").read_text(encoding="utf-8"), "photos")
    assert page.locator("section").first.locator(".view").count() == 1
    before = picture(page)
    page.get_by_role("group", name="faces of group.jpg in 3D").get_by_role("button", name="Face 2").click()
    assert page.locator(".view").count() == 1
    assert page.locator("section").nth(1).locator(".view").count() == 1
    assert changed(before, picture(page)) > 0.02
    face = predict(SAMPLES / "group.jpg")[1]
    order = page_order(face.model.triangles, len(face.shape))
    shape = np.array(page.evaluate("() => Array.from(m4kitPage.shown().shape)")).reshape(-1, 3)
    assert np.abs(shape - face.shape[order]).max() < 2 * OFF


def test_without_webgl_the_page_shows_a_still_picture(browser, tmp_path):
    path = PREDICTION.to_html(tmp_path / "face.html")
    page = browser.new_context(offline=True).new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = function () { return null; };")
    page.goto(path.as_uri())
    still = page.locator(".view img")
    still.wait_for()
    page.wait_for_function("() => document.querySelector('.view img').naturalWidth > 100")
    assert "face 1" in still.get_attribute("alt").lower()
    page.context.close()
