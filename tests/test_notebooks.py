"""The committed notebooks have outputs, are small, and keep no widget state. nbval runs them."""

import json
import re

import pytest

from helpers.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_it_is_small_enough_to_open_at_once(path):
    assert path.stat().st_size < 300_000


def test_every_code_cell_was_run_and_those_that_print_kept_what_they_printed(path):
    """A notebook stripped of its outputs would pass nbval without comparing anything."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(output["output_type"] == "stream" for cell in cells for output in cell["outputs"])
    for cell in cells:
        if "print(" in "".join(cell["source"]):
            assert any(output["output_type"] == "stream" for output in cell["outputs"])


def test_it_holds_no_error_no_warning_and_no_widget_state(path):
    notebook = json.loads(path.read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert "widgets" not in notebook["metadata"]


def test_it_teaches_in_short_cells(path):
    cells = json.loads(path.read_text())["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert max(len(cell["source"]) for cell in cells if cell["cell_type"] == "code") <= 12


def test_each_exercise_has_a_cell_for_the_answer_and_ours_to_unfold(path):
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text())["cells"]]
    starts = [number for number, (_, text) in enumerate(cells) if text.startswith("**Exercise ")]
    assert [cells[start][1].split(".**")[0] for start in starts] == [
        f"**Exercise {number}" for number in range(1, len(starts) + 1)
    ]
    assert len(starts) >= 2
    for start in starts:
        (kind, room), (_, answer) = cells[start + 1 : start + 3]
        assert (kind, room) == ("code", "# Your answer")
        assert answer.startswith("<details><summary>Answer</summary>\n\n")
        assert answer.endswith("\n\n</details>")
        for code in re.findall(r"```python\n(.*?)```", answer, re.DOTALL):
            compile(code, path.name, "exec")


def test_the_readme_lists_it_with_its_level_and_time(path):
    """The words stand in the notebook, too."""
    row = next(line for line in README.splitlines() if f"(notebooks/{path.name})" in line and line[0] == "|")
    level, minutes = (cell.strip() for cell in row.strip("|").split("|")[-2:])
    first = "".join(json.loads(path.read_text())["cells"][0]["source"]).lower()
    assert level.removesuffix(" here") in first
    assert minutes in first.replace("minutes", "min").replace("about an hour", "60 min")
