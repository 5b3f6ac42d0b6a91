"""The explorers in a real JupyterLab in a real browser; skipped without Chromium or playwright."""

import io

import nbformat
import numpy as np
import pytest
from PIL import Image

from m4kit import FaceModel

from helpers.lab_browser import SLOW_MODULES, jupyter_browser
from helpers.paths import ROOT

open_and_run, wait_until = jupyter_browser.open_and_run, jupyter_browser.wait_until

NOTEBOOK = "explorers.ipynb"
CELLS = (
    "from m4kit import predict\n"
    "from m4kit.explore import FaceModelExplorer, HeadWeightExplorer, MeshViewer\n"
    f"prediction = predict({str(ROOT / 'sample_images' / 'astronaut.jpg')!r})",
    "viewer = MeshViewer(prediction, other=prediction)\nviewer",
    "explorer = FaceModelExplorer()\nexplorer",
    "heads = HeadWeightExplorer(prediction)\nheads",
)
ALL_DRAWN = "() => document.querySelectorAll('.jp-OutputArea canvas[data-serial]').length === 3"


@pytest.fixture(scope="module")
def page(lab):
    with lab.open(NOTEBOOK, CELLS) as page:
        wait_until(page, ALL_DRAWN)
        yield page


def picture(page, number: int) -> np.ndarray:
    """The picture (h, w, 3) of canvas `number`, once it is drawn no more."""
    canvas = page.locator(".jp-OutputArea canvas").nth(number)
    drawn = None
    while drawn != (now := canvas.get_attribute("data-drawn")):
        drawn = now
        page.wait_for_timeout(250)
    # Without the ring that shows the keyboard focus.
    return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)[4:-4, 4:-4]


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """The share of pixels that clearly differ."""
    return float((np.abs(before - after).max(-1) > 24).mean())


def press(page, words: str, cell: int) -> None:
    page.locator(".jp-CodeCell").nth(cell).get_by_role("button", name=words, exact=True).first.click()


@pytest.mark.parametrize("number", [0, 1])
def test_a_face_is_seen(page, number):
    seen = picture(page, number)
    background = seen[2, 2]
    share = (np.abs(seen - background).max(-1) > 24).mean()
    assert 0.05 < share < 0.8


def test_dragging_turns_the_face_and_the_kernel_learns_of_it(page):
    before = picture(page, 0)
    box = page.locator(".jp-OutputArea canvas").nth(0).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 10, steps=4)
    page.mouse.up()
    assert changed(before, picture(page, 0)) > 0.03
    press(page, "Front", 1)
    assert changed(before, picture(page, 0)) < 0.01


def test_another_colour_and_the_photo_change_the_picture(page):
    before = picture(page, 0)
    cell = page.locator(".jp-CodeCell").nth(1)
    cell.locator("select").filter(has_text="Texture").first.select_option(label="Depth")
    coloured = picture(page, 0)
    assert changed(before, coloured) > 0.05
    press(page, "As in photo", 1)
    press(page, "Photo", 1)
    assert changed(coloured, picture(page, 0)) > 0.1
    press(page, "Photo", 1)
    press(page, "Front", 1)
    assert changed(coloured, picture(page, 0)) < 0.01


def test_a_click_reads_a_vertex_and_marks_it_on_the_face_and_in_the_photo(page):
    cell = page.locator(".jp-CodeCell").nth(1)
    photo = cell.locator("img >> visible=true").first
    before, address = picture(page, 0), photo.get_attribute("src")
    box = page.locator(".jp-OutputArea canvas").nth(0).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    cell.get_by_text("model:").wait_for(timeout=10_000)
    assert "region: nose" in cell.get_by_text("model:").inner_text()
    assert photo.get_attribute("src") != address
    red = picture(page, 0) - before
    assert (np.abs(red).max(-1) > 60).sum() > 10
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    cell.get_by_text("Click the face").wait_for(timeout=10_000)


def test_a_face_that_clicks_have_turned_a_little_is_turned_back(page):
    press(page, "Front", 1)
    before = picture(page, 0)
    box = page.locator(".jp-OutputArea canvas").nth(0).bounding_box()
    x, y = box["x"] + 5, box["y"] + 5
    for _ in range(10):
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 3, y)
        page.mouse.up()
    assert changed(before, picture(page, 0)) > 0.03
    press(page, "Front", 1)
    assert changed(before, picture(page, 0)) < 0.01


def test_keys_turn_zoom_and_reset(page):
    canvas = page.locator(".jp-OutputArea canvas").nth(0)
    before = picture(page, 0)
    canvas.focus()
    for key in ("ArrowRight", "ArrowRight", "+"):
        canvas.press(key)
    assert changed(before, picture(page, 0)) > 0.03
    canvas.press("0")
    page.wait_for_timeout(300)
    assert changed(before, picture(page, 0)) < 0.01
    assert "keys turn" in canvas.get_attribute("aria-label")


@pytest.mark.parametrize("control", ["canvas", "select", ".noUi-handle", "button"])
def test_keys_pressed_in_an_explorer_leave_the_notebook_alone(page, control):
    """Without help, "d d" would delete the cell, "b" add one, and an arrow choose another."""
    focused = page.locator(".jp-CodeCell").nth(1).locator(control).first
    chosen = "() => [...document.querySelectorAll('.jp-Cell')].map((cell) => cell.matches('.jp-mod-active'))"
    page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt").click()
    before = page.evaluate(chosen)
    focused.focus()
    for key in ("b", "ArrowDown", "ArrowUp", "ArrowUp", "d", "d"):
        focused.press(key)
    page.wait_for_timeout(100)
    assert page.evaluate(chosen) == before
    press(page, "Reset", 1)


def test_a_shortcut_with_ctrl_still_reaches_jupyterlab(page, lab):
    saved = (lab.folder / NOTEBOOK).stat().st_mtime_ns
    page.locator(".jp-OutputArea canvas").nth(0).press("Control+s")
    wait_until(page, "() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
    assert (lab.folder / NOTEBOOK).stat().st_mtime_ns > saved


def test_two_fingers_zoom(page):
    before = picture(page, 0)
    box = page.locator(".jp-OutputArea canvas").nth(0).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 30), ("touchMove", 40), ("touchMove", 50), ("touchEnd", None)):
        fingers = [{"x": x + side * (apart or 0), "y": y, "id": side + 1} for side in (-1, 1)]
        touch.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [] if apart is None else fingers}
        )
    closer = picture(page, 0)
    assert changed(before, closer) > 0.03
    face = [np.abs(seen - seen[2, 2]).max(-1) > 24 for seen in (before, closer)]
    assert face[1].sum() > 1.5 * face[0].sum()
    press(page, "Reset", 1)
    assert changed(before, picture(page, 0)) < 0.01


def test_the_wheel_scrolls_the_notebook_until_the_view_is_clicked(page):
    box = page.locator(".jp-OutputArea canvas").nth(0).bounding_box()
    page.mouse.move(2, 2)
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    before = picture(page, 0)
    page.mouse.wheel(0, -300)
    assert changed(before, picture(page, 0)) < 0.005
    page.mouse.click(box["x"] + 20, box["y"] + 20)
    page.mouse.wheel(0, -300)
    assert changed(before, picture(page, 0)) > 0.03
    press(page, "Reset", 1)


def test_the_head_comes_and_goes(page):
    """The viewer starts with the face alone, the model's explorer with the head."""
    for number, cell in ((0, 1), (1, 2)):
        before = picture(page, number)
        press(page, "Head", cell)
        other = picture(page, number)
        assert changed(before, other) > 0.03
        press(page, "Head", cell)
        assert changed(before, picture(page, number)) < 0.001


def test_a_slider_moved_changes_the_face(page):
    before = picture(page, 1)
    # The first slider exaggerates.
    handle = page.locator(".jp-CodeCell").nth(2).locator(".noUi-handle").nth(1)
    handle.focus()
    assert handle.get_attribute("aria-label") == "1"
    for _ in range(8):
        handle.press("PageUp")
    assert changed(before, picture(page, 1)) > 0.01
    press(page, "Mean", 2)
    assert changed(before, picture(page, 1)) < 0.005


def test_a_mode_that_was_moved_before_follows_the_hand_without_the_kernel(page):
    handle = page.locator(".jp-CodeCell").nth(2).locator(".noUi-handle").nth(2)
    handle.focus()
    handle.press("PageUp")
    before = picture(page, 1)
    page.evaluate(
        "() => { window.m4kitSend = WebSocket.prototype.send; WebSocket.prototype.send = () => {}; }"
    )
    for _ in range(8):
        handle.press("PageUp")
    alone = picture(page, 1)
    assert changed(before, alone) > 0.01
    page.evaluate("() => { WebSocket.prototype.send = window.m4kitSend; }")
    press(page, "Mean", 2)
    page.wait_for_timeout(300)
    assert changed(alone, picture(page, 1)) > 0.01
    assert handle.get_attribute("aria-valuenow") in ("0", "0.0")


def test_a_mode_explained_moves_by_itself_until_it_is_stopped(page):
    cell = page.locator(".jp-CodeCell").nth(2)
    canvas = page.locator(".jp-OutputArea canvas").nth(1)
    choice = cell.locator("select").filter(has_text="identity 2").first
    choice.select_option(label="identity 1")
    page.wait_for_timeout(300)
    swings = set()
    for _ in range(6):
        swings.add(canvas.get_attribute("data-swing"))
        page.wait_for_timeout(120)
    assert len(swings) > 2
    choice.select_option(label="none")
    assert picture(page, 1).any()


def test_a_heads_slider_moved_changes_mesh_photo_and_cuts_and_the_others_follow(page):
    cell = page.locator(".jp-CodeCell").nth(3)
    photo, cut = cell.get_by_alt_text("The photo with the contours"), cell.locator("svg image").first
    addresses = ((photo, "src"), (cut, "href"))
    before, shown = picture(page, 2), [one.get_attribute(name) for one, name in addresses]
    others = cell.locator(".widget-readout").nth(3).inner_text()
    handle = cell.locator(".noUi-handle").first
    handle.focus()
    for _ in range(6):
        handle.press("PageUp")
    cell.get_by_text("interpolated").first.wait_for(timeout=10_000)
    assert changed(before, picture(page, 2)) > 0.002
    assert cell.locator(".widget-readout").nth(3).inner_text() != others
    assert all(one.get_attribute(name) != was for (one, name), was in zip(addresses, shown, strict=True))
    press(page, "Network's own", 3)
    assert changed(before, picture(page, 2)) < 0.001


def test_a_press_in_a_triangle_and_arrow_keys_there_set_the_weights(page):
    cell = page.locator(".jp-CodeCell").nth(3)
    cut, readouts = cell.get_by_role("application", name="Head 2 held"), cell.locator(".widget-readout")

    def weights():
        page.wait_for_timeout(600)
        return [float(readouts.nth(k).inner_text()) for k in range(4)]

    own = weights()
    cut.scroll_into_view_if_needed()
    box = cut.bounding_box()
    # The lower left corner: nothing of what head 2 leaves to heads 3 and 4.
    page.mouse.click(box["x"] + 0.12 * box["width"], box["y"] + 0.89 * box["height"])
    near, held, *rest = weights()
    assert held == own[1]
    assert near > 0.9 * (1 - held) and max(rest) < 0.06
    cut.focus()
    for _ in range(10):
        cut.press("ArrowRight")
    moved = weights()
    assert moved[0] < near - 0.1 and moved[1] == held and moved[2] > 0.1
    press(page, "Network's own", 3)
    assert weights() == own


def test_in_a_difference_the_other_face_covers_nothing_of_the_first(page):
    """Two equal faces cross everywhere: with or without the other one, the picture is the same."""
    press(page, "Difference", 1)
    both = picture(page, 0)
    press(page, "Other face", 1)
    alone = picture(page, 0)
    assert changed(both, alone) < 0.002
    press(page, "Mesh", 1)
    assert changed(alone, picture(page, 0)) > 0.05
    press(page, "Mesh", 1)
    press(page, "Other face", 1)
    press(page, "One face", 1)


def test_an_action_moves_the_ten_sliders_and_fast_clicks_leave_sliders_and_face_alike(page, lab):
    cell = page.locator(".jp-CodeCell").nth(2)
    cell.get_by_role("tab").nth(1).click()
    action = cell.locator("select").filter(has_text="jawOpen").first
    action.select_option(label="jawOpen")
    page.wait_for_timeout(800)
    readouts = cell.locator(".widget-readout:visible")
    assert float(readouts.nth(1).inner_text().replace("\u2212", "-")) < -4
    assert action.locator("option:checked").inner_text() == "jawOpen"
    press(page, "Mean", 2)
    cell.get_by_role("tab").first.click()
    cell.get_by_role("button", name="Random person").first.evaluate(
        """(button) => {
          let clicks = 0;
          const again = setInterval(() => { button.click(); if (++clicks === 6) clearInterval(again); }, 60);
        }"""
    )
    page.wait_for_timeout(2500)
    exaggeration, *shown = [float(text.replace("\u2212", "-")) for text in readouts.all_inner_texts()]
    assert exaggeration == 1
    drawn = FaceModel.load().sample(1, seed=5)[0][0, : len(shown)]
    np.testing.assert_allclose(shown, drawn, atol=0.03)
    press(page, "Mean", 2)


def test_the_console_has_no_error(page):
    assert page.m4kit_errors == []


def test_the_notebook_saved_with_its_viewers_is_small(page, lab):
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_timeout(1500)
    assert (lab.folder / NOTEBOOK).stat().st_size < 300_000
    outputs = [output for cell in nbformat.read(lab.folder / NOTEBOOK, 4).cells for output in cell.outputs]
    assert (
        sum({"image/jpeg", "image/png"} & output.get("data", {}).keys() != set() for output in outputs) == 3
    )


def outputs_seen(page) -> list:
    """For each output that takes room: whether it is a still picture, or its text."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.jp-OutputArea-output')].filter((one) => one.offsetHeight).map(
          (one) => one.querySelector(':scope > img')?.complete ?? one.innerText)"""
    )


def test_a_notebook_opened_again_shows_still_pictures_until_it_is_run(page, lab):
    note = "A still picture. Run the notebook to make it live."
    seen = outputs_seen(page)
    assert len(seen) == 3 and True not in seen and note not in seen
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    page.goto("about:blank")
    page.goto(f"{lab.address}/lab/tree/{NOTEBOOK}?reset")
    missing = "() => document.body.textContent.split('model not found').length === 4"
    page.wait_for_function(missing, timeout=60_000)
    assert outputs_seen(page) == 3 * [True, note]


def test_a_view_whose_module_loads_too_late_for_anywidget_still_gets_messages(page, lab):
    page.goto("about:blank")
    page.add_init_script(SLOW_MODULES)
    open_and_run(page, lab.address, NOTEBOOK)
    wait_until(page, ALL_DRAWN)


def test_a_browser_without_webgl_says_so_and_shows_a_still_picture(page, lab):
    page.goto("about:blank")
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    open_and_run(page, lab.address, NOTEBOOK)
    wait_until(
        page,
        "() => [...document.querySelectorAll('.jp-OutputArea img')].some((i) => i.alt && i.naturalWidth > 100)",
    )
    assert page.get_by_text("This browser offers no WebGL 2").count() > 0
