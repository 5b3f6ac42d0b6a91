"""Pages, README and docstrings: links lead somewhere, pictures have a text, examples run, and nothing is left out.

`make docs` also checks the links to headings.
"""

import doctest
import importlib
import importlib.util
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import m4kit

from helpers.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "sample_images" / "README.md"])
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PACKAGE = Path(m4kit.__file__).parent


def text_of(path):
    """A page's text, or that of a notebook's cells in Markdown, without what stands in code."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return re.sub(r"^( *)```.*?^\1```|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))
class TestPages:
    def test_its_links_lead_to_files(self, path):
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(path))
        files = [link for link in links if not re.match(r"\w+:", link)]
        assert [link for link in files if not (path.parent / link).exists()] == []

    def test_its_pictures_have_a_text_for_those_who_do_not_see_them(self, path):
        texts = re.findall(r"!\[(.*?)\]\(", text_of(path), re.DOTALL)
        assert [text for text in texts if len(text.split()) < 3] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_reference_has_a_page_for_every_package():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    described = set(re.findall(r"^\.\. modules:: m4kit\.(\w+)$", pages, re.MULTILINE))
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"assets"}
    assert described == packages
    assert ".. modules:: m4kit\n" in pages
    assert ".. automodule:: m4kit\n" in pages


def test_the_site_finds_the_cells_of_notebooks_that_can_be_live():
    spec = importlib.util.spec_from_file_location("live_pages", ROOT / "docs" / "live_pages.py")
    live_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(live_pages)
    shown = {}
    for path in NOTEBOOKS:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [notebook["cells"][number] for number in live_pages.live_cells(notebook)]
        shown[path.stem[:2]] = ["".join(cell["source"]).strip().splitlines()[-1] for cell in cells]
    assert shown["02"] == ["viewer", "pair", "heads"]
    assert shown["03"] == shown["04"] == shown["05"] == ["explorer"]
    assert shown["10"] == ["pose_timeline(video)"]
    assert shown["00"] == []


EXAMPLES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if re.search(r">>> (?!.*doctest: \+SKIP)", path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_examples_in_docstrings_run(path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def solutions():
    """The solutions of the course in Python that check themselves or print what they found."""
    page = (ROOT / "docs" / "course.md").read_text(encoding="utf-8")
    exercises = re.split(r"^\*\*Exercise (\d+)", page, flags=re.MULTILINE)[1:]
    pairs = zip(exercises[::2], exercises[1::2], strict=True)
    return {
        number: code for number, text in pairs for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    }


@pytest.mark.parametrize("number", solutions())
def test_the_solutions_of_the_course_run(number, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(solutions()[number], {})
    plt.close("all")


def test_each_exercise_of_the_course_has_points_and_a_folded_solution():
    page = (ROOT / "docs" / "course.md").read_text(encoding="utf-8")
    parts = re.split(r"^\*\*Exercise ", page, flags=re.MULTILINE)[1:]
    assert [int(part.split(" ")[0]) for part in parts] == list(range(1, len(parts) + 1))
    for part in parts:
        assert re.match(r"\d+ \(\d+ points\)\.\*\*", part)
        assert "<details><summary>Solution</summary>\n\n" in part
        assert "\n\n</details>" in part
