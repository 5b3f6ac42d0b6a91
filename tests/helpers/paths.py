"""Where things are: the project and its scripts, the sample images, and the data and peers that some tests need."""

import importlib
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""

SAMPLES = ROOT / "sample_images"

SHARED = Path(os.environ.get("M4KIT_SHARED", ROOT.parent / "shared"))


def shared_file(name: str) -> Path:
    """A file below the shared folder; skips the test, saying so, where it is absent."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"needs {path} (M4KIT_SHARED)")
    return path


def script_fixture(name: str, *, folder: str = "scripts"):
    """A fixture of a module: that script of a folder of the project."""

    @pytest.fixture(scope="module")
    def script():
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(ROOT / folder)
            yield importlib.import_module(name)

    return script
