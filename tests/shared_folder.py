"""The folder of data and peers that some tests need and the project does without."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("M4KIT_SHARED", Path(__file__).parent.parent.parent / "shared"))


def shared_file(name: str) -> Path:
    """A file below the shared folder; skips the test, saying so, where it is absent."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"needs {path} (M4KIT_SHARED)")
    return path
