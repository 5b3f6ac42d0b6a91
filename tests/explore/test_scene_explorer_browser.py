"""The scene explorer in a real JupyterLab in a real browser; skipped without Chromium or playwright."""

import pytest

from helpers.lab_browser import SLOW_MODULES, jupyter_browser
from helpers.paths import ROOT

wait_until = jupyter_browser.wait_until

NOTEBOOK = "scenes.ipynb"
CELLS = (
    "import sys\n"
    f"sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
    "from functools import partial\n"
    "from helpers.made_report import made_report\n"
    "from m4kit import load_image\n"
    "from m4kit.datasets import Sample\n"
    "from m4kit.explore import SceneExplorer\n"
    "from m4kit.scenes import benchmark\n"
    f"photo = partial(load_image, {str(ROOT / 'sample_images' / 'astronaut.jpg')!r})\n"
    "samples = benchmark([Sample(f'scene{k}', photo) for k in range(6)])",
    "explorer = SceneExplorer(made_report(), source=samples)\nexplorer",
)
CELLS_DRAWN = "document.querySelectorAll('.m4kit-heat button').length"
SIX_FACES = "() => document.querySelectorAll('.m4kit-grid button').length === 6"
CAPTIONS = (
    "[...document.querySelectorAll('.m4kit-caption')].filter((e) => e.offsetParent).map((e) => e.innerText)"
)
LARGE_PICTURES = "[...document.images].filter((image) => image.offsetParent && image.naturalWidth > 300)"


@pytest.fixture(scope="module")
def page(lab):
    with lab.open(NOTEBOOK, CELLS) as page:
        wait_until(page, f"() => {CELLS_DRAWN} === 28")
        yield page


def tab(page, words: str) -> None:
    page.locator(".lm-TabBar-tab").filter(has_text=words).last.click()


def click_cell(page, number: int) -> None:
    """Click a cell of the heat map, counted row by row."""
    page.locator(".m4kit-heat button").nth(number).click()


def test_a_click_on_a_cell_shows_its_faces(page):
    # Haze 3.
    click_cell(page, 6)
    wait_until(page, SIX_FACES)
    titles = page.locator(".m4kit-grid b").all_inner_texts()
    assert titles == ["haze 3"] * 6
    assert page.locator(".m4kit-grid span").first.inner_text() == "error 6.0 %, p 30 %; blurred"
    assert page.evaluate(
        "() => [...document.querySelectorAll('.m4kit-grid img')].every((i) => i.naturalWidth > 100)"
    )


def test_the_cells_are_reached_and_pressed_with_the_keyboard_alone(page):
    page.get_by_role("button", name="Show all", exact=True).click()
    tab(page, "Heat map")
    page.get_by_role("button", name="Show all", exact=True).focus()
    titles = []
    for _ in range(4):
        page.keyboard.press("Tab")
        titles.append(page.evaluate("() => document.activeElement.title"))
    assert titles[-1].startswith("focus ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    where = page.evaluate("() => document.activeElement.title")
    assert where.startswith("illumination ")
    page.keyboard.press("Enter")
    wait_until(page, "() => document.querySelector('.m4kit-grid b')?.innerText.startsWith('illumination')")


def test_a_lasso_in_the_scatter_chooses_faces_and_a_click_beside_them_lets_them_go(page):
    page.get_by_role("button", name="Show all", exact=True).click()
    tab(page, "Scatter")
    wait_until(page, "() => document.querySelectorAll('.scatterlayer .point').length > 100")
    plot = page.locator(".js-plotly-plot:visible .draglayer .nsewdrag")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    middle, right, top = box["x"] + box["width"] / 2, box["x"] + box["width"] - 2, box["y"] + 2
    page.mouse.move(middle, top)
    page.mouse.down()
    for corner in ((right, top), (right, top + 300), (middle, top + 300)):
        page.mouse.move(*corner, steps=3)
    page.mouse.up()
    # A right click keeps the faces.
    page.mouse.click(box["x"] + 30, box["y"] + 20, button="right")
    page.keyboard.press("Escape")
    tab(page, "Faces")
    wait_until(page, "() => document.body.innerText.includes('faces in the lasso, worst first')")
    assert 0 < page.locator(".m4kit-grid button").count() <= 24
    tab(page, "Scatter")
    page.mouse.click(box["x"] + 30, box["y"] + 20)
    tab(page, "Faces")
    wait_until(page, "() => document.body.innerText.includes('168 faces, worst first')")


def test_a_click_on_a_face_shows_its_photo_and_the_slider_makes_it_worse(page):
    page.locator(".m4kit-grid button").nth(1).click()
    wait_until(page, f"() => {CAPTIONS}.length === 2 && {LARGE_PICTURES}.length === 2")
    before = page.evaluate(f"() => {CAPTIONS}")
    assert before[0].startswith("clean: ")
    assert "drift" in before[1]
    handle = page.locator(".noUi-handle:visible").last
    handle.focus()
    handle.press("PageDown")
    wait_until(page, f"(before) => {CAPTIONS}[1] !== before", before[1])
    clean, worse = page.evaluate(f"() => {CAPTIONS}")
    assert clean == before[0]
    assert "drift" in worse


def test_the_console_has_no_error(page):
    assert page.m4kit_errors == []


def test_charts_whose_module_loads_too_late_for_anywidget_still_get_messages(page, lab):
    page.goto("about:blank")
    page.add_init_script(SLOW_MODULES)
    jupyter_browser.open_and_run(page, lab.address, NOTEBOOK)
    wait_until(page, f"() => {CELLS_DRAWN} === 28")
    click_cell(page, 6)
    wait_until(page, SIX_FACES)
