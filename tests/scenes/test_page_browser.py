"""The page of a scene report in a real browser."""

import pytest

from m4kit.scenes.page import STEP

from helpers.lab_browser import jupyter_browser
from helpers.made_report import made_report

SHOWN = ".cards article:not([hidden])"


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    path = made_report(scenes=4, conditions=("haze", "rain")).to_html(
        tmp_path_factory.mktemp("page") / "a.html"
    )
    page = jupyter_browser.new_page(browser)
    page.goto(path.as_uri())
    yield page
    page.close()


@pytest.fixture(autouse=True)
def _unfiltered(page):
    page.click("#clear")


def test_the_faces_come_in_steps(page):
    assert page.locator(SHOWN).count() == STEP < 32
    page.click("#step")
    assert page.locator(SHOWN).count() == 32
    assert not page.locator("#step").is_visible()


def test_a_click_on_a_cell_shows_its_faces_and_leaves_the_other_filters(page):
    failure = "landmarks drifted"
    page.select_option("[data-filter=failures]", failure)
    page.locator(".heat.shown .cell[data-condition=rain][data-severity='5']").click()
    shown = page.locator(SHOWN)
    assert 0 < shown.count() < 4
    assert {one.get_attribute("data-condition") for one in shown.all()} == {"rain"}
    assert page.input_value("[data-filter=failures]") == failure


def test_a_click_on_a_face_enlarges_it_and_the_arrow_keys_go_through_the_chosen_ones(page):
    page.select_option("[data-filter=condition]", "haze")
    page.locator(f"{SHOWN} .face").nth(1).click()
    large = page.locator("dialog article")
    assert large.locator(".face").bounding_box()["width"] > 400
    assert large.locator("dd").first.is_visible()
    first = large.locator(".name").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#place").inner_text() == "3 of 16"
    assert large.locator(".name").inner_text() != first
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
