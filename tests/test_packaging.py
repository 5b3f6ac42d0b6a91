"""What an installation brings, which versions it accepts, and what an import loads."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import m4kit

from helpers.paths import ROOT, SAMPLES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Packages with another name on conda-forge.
PYPI_NAMES = {
    "matplotlib-base": "matplotlib",
    "py-opencv": "opencv-python-headless",
    "python-build": "build",
    "pytorch": "torch",
}
# The Python of Debian 12, Ubuntu 24.04 and Debian 13.
SYSTEM_PYTHONS = ("3.11.2", "3.12.3", "3.13.5")
LINUX = {"platform_system": "Linux", "platform_machine": "x86_64", "sys_platform": "linux", "extra": ""}


def set_up_extras():
    """The extras that `make` installs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return re.search(r"-e '\.\[(.+?)\]'", makefile)[1].split(",")


def requirements():
    """All requirements in pyproject.toml that `make` installs."""
    texts = [*PROJECT["dependencies"]]
    for extra in set_up_extras():
        texts += PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def needed(item):
    """Whether a requirement applies on Linux."""
    return item.marker is None or item.marker.evaluate(LINUX)


def pinned():
    """The constraints' versions by canonical name."""
    lines = (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in pairs}
    assert len(pins) == len(pairs)
    return pins


def installed(name, pins):
    """The installed distribution of that name if it is the pinned version, else None."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found if found.version.split("+")[0] == pins.get(name) else None


def brought_in(items, pins):
    """Names of all packages that requirements bring in on Linux, according to the installed pinned versions."""
    names, done, waiting = set(), set(), list(items)
    while waiting:
        item = waiting.pop()
        key = (canonicalize_name(item.name), frozenset(item.extras))
        if key in done:
            continue
        done.add(key)
        names.add(key[0])
        found = installed(key[0], pins)
        needs = [Requirement(text) for text in (found and found.requires) or ()]
        cases = [{**LINUX, "extra": extra} for extra in ("", *item.extras)]
        waiting += [need for need in needs if not need.marker or any(map(need.marker.evaluate, cases))]
    return names


class TestEnvironment:
    """environment.yml against pyproject.toml."""

    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    by_conda = tuple(item for item in environment if isinstance(item, str) and item != "pip")
    (by_pip,) = (item["pip"] for item in environment if isinstance(item, dict))

    def test_it_has_the_same_packages_in_the_same_ranges(self):
        listed = [Requirement(text) for text in (*self.by_conda, *self.by_pip) if not text.startswith("-e")]
        ranges = {PYPI_NAMES.get(item.name, item.name): item.specifier for item in listed}
        wanted = {"python": SpecifierSet(PROJECT["requires-python"])}
        # Conda has one Open3D for all systems.
        wanted |= {item.name.replace("open3d-cpu", "open3d"): item.specifier for item in requirements()}
        assert ranges == wanted

    def test_it_installs_m4kit_itself_with_the_extras_of_make(self):
        assert [text for text in self.by_pip if text.startswith("-e")] == [
            f"-e .[{','.join(set_up_extras())}]"
        ]

    def test_pip_is_there_to_do_so(self):
        assert "pip" in self.environment

    def test_both_names_of_open3d_have_one_range_and_each_system_takes_one(self):
        small, large = (item for item in requirements() if item.name.startswith("open3d"))
        assert small.specifier == large.specifier
        systems = [
            (name, cpu) for name in ("Linux", "Darwin", "Windows") for cpu in ("x86_64", "aarch64", "arm64")
        ]
        for name, cpu in systems:
            case = {"platform_system": name, "platform_machine": cpu}
            assert small.marker.evaluate(case) is ((name, cpu) == ("Linux", "x86_64"))
            assert large.marker.evaluate(case) is not small.marker.evaluate(case)


class TestConstraints:
    def test_every_direct_requirement_is_pinned_within_its_range(self):
        pins = pinned()
        items = [item for item in requirements() if needed(item)]
        assert [item.name for item in items if canonicalize_name(item.name) not in pins] == []
        assert [str(item) for item in items if pins[canonicalize_name(item.name)] not in item.specifier] == []

    def test_what_builds_the_site_is_pinned_within_its_range(self):
        pins = pinned()
        items = [Requirement(text) for text in PROJECT["optional-dependencies"]["docs"]]
        for item in items:
            assert pins[canonicalize_name(item.name)] in item.specifier
        assert brought_in(items, pins) - pins.keys() == set()

    def test_every_indirect_requirement_is_pinned(self):
        pins = pinned()
        assert brought_in(filter(needed, requirements()), pins) - pins.keys() == set()

    def test_the_pinned_versions_accept_the_pythons_of_debian_and_ubuntu(self):
        pins, refused = pinned(), []
        for name, version in pins.items():
            if found := installed(name, pins):
                allowed = SpecifierSet(found.metadata["Requires-Python"] or "")
                refused += [(name, version, python) for python in SYSTEM_PYTHONS if python not in allowed]
        assert refused == []


class TestImport:
    def test_the_public_surface_did_not_change_by_accident(self):
        assert m4kit.__all__ == [
            "Detector",
            "Face",
            "FaceBox",
            "FaceModel",
            "HeadPose",
            "M4Net",
            "Prediction",
            "Predictor",
            "UnreadPhoto",
            "Video",
            "__version__",
            "faces_from",
            "load",
            "load_image",
            "predict",
            "predict_many",
            "predict_video",
            "tabulate",
            "visualize",
        ]

    def test_modules_load_at_their_first_use_and_completion_shows_them(self):
        modules = [
            "conditions",
            "confidence",
            "datasets",
            "evaluate",
            "explore",
            "export",
            "scenes",
            "visualize",
        ]
        assert dir(m4kit) == sorted({*m4kit.__all__, *modules})
        code = f"import m4kit; print([getattr(m4kit, name).__name__ for name in {modules}], end='')"
        assert self.run(code) == (str([f"m4kit.{name}" for name in modules]), "")

    def test_the_version_is_the_projects(self):
        assert m4kit.__version__ == PROJECT["version"]

    def test_an_unknown_name_is_an_error_that_lists_the_known_ones(self):
        with pytest.raises(AttributeError, match=r"no attribute 'detect'; it has Detector, Face,"):
            m4kit.detect  # noqa: B018

    def test_importing_is_silent_and_loads_only_the_standard_library(self):
        code = (
            "import sys; before = set(sys.modules); import m4kit\n"
            "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
            "print(sorted(new - {'m4kit', *sys.stdlib_module_names}), end='')"
        )
        assert self.run(code) == ("[]", "")

    def test_the_public_surface_is_silent_and_loads_no_plotting_library(self):
        code = (
            "import sys, m4kit.predict_page, m4kit.cli, m4kit.render; from m4kit import *\n"
            "heavy = {'matplotlib', 'plotly', 'open3d', 'IPython', 'ipywidgets', 'anywidget', 'pandas', 'onnx'}\n"
            "print(sorted(heavy & set(sys.modules)), end='')"
        )
        assert self.run(code) == ("[]", "")

    def test_predictions_pictures_tables_and_commands_do_not_load_pytorch(self, tmp_path):
        photo = SAMPLES / "astronaut.jpg"
        code = (
            f"import sys, m4kit; from m4kit.cli import main; photo, folder = {str(photo)!r}, {str(tmp_path)!r}\n"
            "prediction = m4kit.predict(photo, views=6)\n"
            "face = prediction[0]; face.plot(), face.failure_probability, face.head.vertices\n"
            "prediction.plot(mesh=True), prediction.to_dataframe()\n"
            "face.save(folder + '/face.ply', colour='texture')\n"
            "m4kit.load(prediction.save(folder + '/one.npz'))\n"
            "m4kit.faces_from(m4kit.tabulate([photo], folder + '/table', progress=False))\n"
            "main(['predict', photo, '--out', folder + '/page', '--overlay', '--quiet'])\n"
            "print(sorted({'torch', 'safetensors'} & set(sys.modules)), end='')"
        )
        assert self.run(code)[0].endswith("[]")

    def test_predicting_does_not_wait_for_scipy(self):
        code = "import sys, m4kit; m4kit.predict; print(sorted({'scipy'} & set(sys.modules)), end='')"
        assert self.run(code) == ("[]", "")

    @staticmethod
    def run(code):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout, done.stderr
