"""Files for other programs: citation, changelog, workflow, issue templates and the image agree with the project."""

import re
import tomllib

import yaml

from helpers.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8").splitlines()
WORKFLOW = ROOT / ".github" / "workflows" / "test.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_citation_and_the_changelog_begin_with_the_projects_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    # What the format asks for.
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == PROJECT["version"]


def test_pages_name_the_wheel_of_this_version():
    for page in ("README.md", "docs/photos.md"):
        wheels = re.findall(r"m4kit-(\S+?)-py3-none-any\.whl", (ROOT / page).read_text(encoding="utf-8"))
        assert set(wheels) == {PROJECT["version"]}


def test_the_workflow_tests_three_systems_and_every_python_that_the_project_allows():
    (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert any(".ci/run" in step.get("run", "") for step in job["steps"])


def test_the_same_torch_stands_in_the_constraints_the_image_and_the_workflow():
    (pinned,) = (line for line in CONSTRAINTS if line.startswith("torch=="))
    for text in (DOCKERFILE, WORKFLOW.read_text(encoding="utf-8")):
        assert set(re.findall(r"torch==[\d.]+", text)) == {pinned}


def test_the_image_copies_what_is_there_and_all_that_the_package_needs():
    sources = [
        word
        for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
        if not word.startswith("--")
    ]
    assert [name for name in sources if not (ROOT / name).exists()] == []
    needed = {"pyproject.toml", "setup.py", PROJECT["readme"], *PROJECT["license-files"][:1], "m4kit"}
    assert needed <= set(sources)
    # Not as root, since students run what they like in it.
    users = re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
    assert users
    assert users[-1] != "root"


def test_issue_templates_ask_for_what_helps():
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(templates) >= 3
    for path in templates:
        template = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= template.keys()
        asked = [item for item in template["body"] if item["type"] != "markdown"]
        assert asked
        assert len({item["id"] for item in asked}) == len(asked)
        assert all(item["attributes"]["label"] for item in asked)
