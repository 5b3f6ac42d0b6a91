"""Folders: the project, its sample images, and the data and peers that some tests need."""

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
