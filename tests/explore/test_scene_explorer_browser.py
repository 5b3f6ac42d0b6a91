"""The scene explorer in a real JupyterLab in a real browser. Skipped where there is no Chromium or no playwright."""

import pytest

from helpers.lab_browser import NEEDS_BROWSER, ROOT, SLOW_MODULES, jupyter_browser, write_notebook

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
pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    write_notebook(folder / NOTEBOOK, CELLS)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    with jupyter_browser.jupyter_lab(folder) as address, jupyter_browser.browser_page(height=1500) as page:
        jupyter_browser.open_and_run(page, address, NOTEBOOK)
        page.locator("td[data-cell]").first.wait_for(timeout=60_000)
        page.m4kit_address = address
        yield page


def tab(page, words: str) -> None:
    page.locator(".lm-TabBar-tab").filter(has_text=words).last.click()


def test_a_click_on_a_cell_shows_its_faces(page):
    assert page.locator("td[data-cell]").count() == 28
    page.locator("td[data-cell='haze 3']").click()
    page.wait_for_function(
        "() => document.querySelectorAll('.m4kit-grid button').length === 6", timeout=30_000
    )
    titles = page.locator(".m4kit-grid b").all_inner_texts()
    assert titles == ["haze 3"] * 6
    assert page.locator(".m4kit-grid span").first.inner_text() == "error 6.0 %, p 30 %; blurred"
    assert page.evaluate(
        "() => [...document.querySelectorAll('.m4kit-grid img')].every((i) => i.naturalWidth > 100)"
    )


def test_a_lasso_in_the_scatter_chooses_faces(page):
    page.get_by_role("button", name="Show all", exact=True).click()
    tab(page, "Scatter")
    canvas = page.locator(".m4kit-chart canvas")
    canvas.wait_for(timeout=30_000)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2
    corners = [(middle, box["y"] + 2), (box["x"] + box["width"] - 2, box["y"] + 2)]
    corners += [(box["x"] + box["width"] - 2, box["y"] + 300), (middle, box["y"] + 300)]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=3)
    page.mouse.up()
    # Neither a right click nor a press that began elsewhere lets the faces go.
    page.mouse.click(box["x"] + 70, box["y"] + 20, button="right")
    page.mouse.move(box["x"] + 70, box["y"] - 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 70, box["y"] + 20)
    page.mouse.up()
    page.keyboard.press("Escape")
    tab(page, "Faces")
    page.get_by_text("faces in the lasso, worst first").wait_for(timeout=30_000)
    assert 0 < page.locator(".m4kit-grid button").count() <= 24


def test_a_click_on_a_face_shows_its_photo_and_the_slider_makes_it_worse(page):
    page.locator(".m4kit-grid button").nth(1).click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.jp-OutputArea img')].filter((i) => i.offsetParent && "
        "i.naturalWidth > 300).length === 2",
        timeout=60_000,
    )
    words = page.get_by_text("drift").last
    before = words.inner_text()
    handle = page.locator(".noUi-handle:visible").last
    handle.focus()
    handle.press("PageDown")
    page.wait_for_function(
        "(before) => ![...document.querySelectorAll('.jp-OutputArea *')].some((e) => e.innerText === before)",
        arg=before,
        timeout=60_000,
    )


def test_the_console_has_no_error(page):
    # Open3D brings dash along, which opens a channel that JupyterLab knows nothing of.
    assert [words for words in page.m4kit_errors if words != "Exception opening new comm"] == []


def test_charts_whose_module_loads_too_late_for_anywidget_still_hear_the_kernel(page):
    page.goto("about:blank")
    page.add_init_script(SLOW_MODULES)
    jupyter_browser.open_and_run(page, page.m4kit_address, NOTEBOOK)
    page.locator("td[data-cell='haze 3']").click(timeout=60_000)
    page.wait_for_function(
        "() => document.querySelectorAll('.m4kit-grid button').length === 6", timeout=30_000
    )
