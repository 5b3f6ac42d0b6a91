"""The wheel, installed into an empty environment outside the repository, as a user installs it."""

import csv
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pandas
import pytest
from jupyter_server.services.config import ConfigManager

import m4kit
from m4kit.weights import registry

from helpers.paths import ROOT

ASSETS = ROOT / "m4kit" / "assets"
SAMPLE = ROOT / "sample_images" / "grace_hopper.jpg"


def run(*command, cwd):
    """The output of a command that runs without variables of another Python environment; its messages if it fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "M4KIT"))}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the sources: a build leaves folders beside them, and packs what it finds there."""
    source = tmp_path_factory.mktemp("build") / "source"
    for name in ("m4kit", "jupyter-config"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return source


@pytest.fixture(scope="module")
def wheel(source):
    folder = source.parent
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The folder of an environment with the wheel, which borrows m4kit's requirements from the running one."""
    folder = tmp_path_factory.mktemp("elsewhere") / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    options = ("--quiet", "--no-index", "--no-deps", "--disable-pip-version-check")
    pip = (sys.executable, "-m", "pip", "--python", python_of(folder))
    run(*pip, "install", *options, wheel, cwd=folder.parent)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(python_of(folder), "-c", code, cwd=folder).strip())
    # A folder in a .pth file is searched last, and .pth files in it, such as an editable m4kit's, are not read.
    borrowed = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    return folder


def python_of(folder):
    return script_of(folder, "python")


def script_of(folder, name):
    return folder / ("Scripts" if os.name == "nt" else "bin") / name


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("m4kit/")}
    paths = (
        path for path in (ROOT / "m4kit").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    assert names == {path.relative_to(ROOT).as_posix() for path in paths}


def test_the_wheel_holds_the_assets_and_their_licences(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = ["face_model.npz", "weights.json", "LICENSES.md"]
    files += [source.file for source in registry().values() if source.url is None]
    assert len(files) >= 5
    assert {f"m4kit/assets/{file}" for file in files} <= names
    licences = f"m4kit-{m4kit.__version__}.dist-info/licenses"
    assert {f"{licences}/LICENSE", f"{licences}/m4kit/assets/LICENSES.md"} <= names


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_an_installation_keeps_jupyterlab_from_recommending_a_build(request, source, tmp_path, editable):
    """Open3D brings dash, for whose old extension JupyterLab would recommend one in a dialog at each start."""
    what = ("--no-build-isolation", "--editable", source) if editable else (request.getfixturevalue("wheel"),)
    options = ("--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", "--prefix", tmp_path)
    run(sys.executable, "-m", "pip", "install", "--ignore-installed", *options, *what, cwd=tmp_path)
    config = tmp_path / "etc" / "jupyter" / "labconfig"
    manager = ConfigManager(read_config_path=[str(config)], write_config_dir=str(config))
    assert manager.get("page_config") == {"buildCheck": False}


def test_every_asset_has_its_licence():
    headings = re.findall(r"^## (.+)$", (ASSETS / "LICENSES.md").read_text(encoding="utf-8"), re.MULTILINE)
    files = {path.name for path in ASSETS.iterdir() if path.is_file()} - {"LICENSES.md", "__init__.py"}
    assert files == {name for heading in headings for name in heading.split(", ")}


def test_all_assets_together_are_under_forty_megabytes(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = [item.file_size for item in archive.infolist() if item.filename.startswith("m4kit/assets/")]
    assert sum(sizes) < 40e6


def test_the_wheel_is_under_thirty_megabytes(wheel):
    assert wheel.stat().st_size < 30e6


def test_the_installed_package_is_the_wheels(environment):
    code = "from importlib.util import find_spec; print(*(find_spec(name).origin for name in ('m4kit', 'torch')))"
    ours, borrowed = run(python_of(environment), "-c", code, cwd=environment).split()
    assert Path(ours).is_relative_to(environment)
    assert not Path(borrowed).is_relative_to(environment)


def test_the_installed_command_predicts_a_sample(environment, tmp_path):
    out = tmp_path / "out"
    said = run(script_of(environment, "m4kit"), "predict", SAMPLE, "--out", out, cwd=tmp_path)
    assert said.strip() == str(out / "index.html")
    assert {path.name for path in out.iterdir()} == {"faces", "faces.csv", "index.html", ".m4kit.json"}
    with (out / "faces.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    landmarks = np.reshape(pandas.read_parquet(out / "faces")["landmarks"][0], (68, 3))[:, :2]
    left, top, right, bottom = (float(row[side]) for side in ("left", "top", "right", "bottom"))
    assert left < np.median(landmarks[:, 0]) < right
    assert top < np.median(landmarks[:, 1]) < bottom
