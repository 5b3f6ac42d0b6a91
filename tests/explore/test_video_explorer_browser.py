"""The video explorer in a real JupyterLab in a real browser; skipped without Chromium or playwright."""

import pytest

from helpers.lab_browser import jupyter_browser
from helpers.paths import SAMPLES

wait_until = jupyter_browser.wait_until

CELLS = (
    "import m4kit\n"
    f"video = m4kit.predict_video({str(SAMPLES / 'two_people.mp4')!r}, every=2, progress=False)",
    "from m4kit.explore import VideoExplorer\nexplorer = VideoExplorer(video)\nexplorer",
)
PLAYER = "document.querySelector('.m4kit-player canvas').dataset"
MESH = "document.querySelector('.jp-OutputArea canvas[data-serial]')"


@pytest.fixture(scope="module")
def page(lab):
    with lab.open("video.ipynb", CELLS) as page:
        wait_until(page, f"() => {PLAYER}.frame === '0'")
        yield page


def shown(page) -> int:
    return int(page.evaluate(f"() => {PLAYER}.frame"))


def test_all_pictures_arrive(page):
    wait_until(page, f"() => {PLAYER}.loaded === '60'", patience=60)


def test_the_slider_goes_to_a_frame_and_the_mesh_follows(page):
    wait_until(page, f"() => {MESH} !== null")
    drawn = page.evaluate(f"() => Number({MESH}.dataset.drawn)")
    slider = page.locator(".m4kit-player input")
    slider.evaluate("(e) => { e.value = 15; e.dispatchEvent(new Event('input')); }")
    wait_until(page, f"() => {PLAYER}.frame === '15'")
    assert page.locator(".m4kit-player span").inner_text() == "1.50 s, frame 30"
    wait_until(page, f"(drawn) => Number({MESH}.dataset.drawn) > drawn", drawn)


def test_a_click_on_the_timeline_goes_to_its_moment(page):
    timeline = page.locator("canvas[data-position]")
    box = timeline.bounding_box()
    timeline.click(position={"x": 76 + (box["width"] - 84) / 2, "y": 30})
    wait_until(page, f"() => Math.abs(Number({PLAYER}.frame) - 30) <= 1")
    assert timeline.get_attribute("data-position") == str(shown(page))


def test_it_plays_to_the_end_in_the_clips_own_time(page):
    page.locator(".m4kit-player input").evaluate(
        "(e) => { e.value = 40; e.dispatchEvent(new Event('input')); }"
    )
    wait_until(page, f"() => {PLAYER}.frame === '40'")
    page.get_by_role("button", name="Play", exact=True).click()
    wait_until(page, f"() => {PLAYER}.frame === '59'", patience=30)
    wait_until(page, "() => document.querySelector('.m4kit-player button').textContent === 'Play'")


def test_no_error_is_shown(page):
    assert page.m4kit_errors == []
    assert page.locator(".m4kit-explorer [role=alert]").count() == 0
