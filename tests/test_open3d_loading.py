"""Open3D loads without a trace, or says what is missing; libraries made in memory stand in for missing ones."""

import ctypes
import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from m4kit import open3d_loading
from m4kit.open3d_loading import (
    Open3DError,
    load_library,
    load_open3d,
    stand_in_for_unused,
    undefined_symbols,
)

needs_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="Open3D needs stand-ins only on Linux, on x86-64 and 64-bit ARM",
)
EXTENSION = Path(find_spec("numpy._core._multiarray_umath").origin)


@needs_linux
@pytest.mark.parametrize("functions", [[], ["first"], ["first", "second", "third"]])
def test_the_functions_of_a_made_library_give_0(functions):
    library = load_library(f"libm4kit-test-{len(functions)}.so", functions)
    assert [getattr(library, name)() for name in functions] == [0] * len(functions)
    with pytest.raises(AttributeError):
        library.fourth  # noqa: B018


@needs_linux
def test_a_made_library_is_found_by_its_name():
    with pytest.raises(OSError, match="cannot open"):
        ctypes.CDLL("libm4kit-test-name.so.1")
    load_library("libm4kit-test-name.so.1", ["answer"])
    assert ctypes.CDLL("libm4kit-test-name.so.1").answer() == 0


@needs_linux
def test_undefined_symbols_are_those_that_others_provide():
    names = undefined_symbols(EXTENSION)
    assert {"PyErr_Format", "PyTuple_New"} <= set(names)
    assert "PyInit__multiarray_umath" not in names


@needs_linux
def test_only_what_the_system_lacks_gets_a_stand_in(monkeypatch):
    libraries = {"libc.so.6": "never_", "libm4kit-test-lacks.so.1": "never_"}
    monkeypatch.setattr(open3d_loading, "UNUSED_LIBRARIES", libraries)
    assert stand_in_for_unused(EXTENSION) == ["libm4kit-test-lacks.so.1"]
    assert stand_in_for_unused(EXTENSION) == []


def test_a_missing_library_says_what_to_do(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named '{name}'")

    load_open3d.cache_clear()
    monkeypatch.setattr(open3d_loading.importlib, "import_module", missing)
    with pytest.raises(Open3DError, match="pip install open3d"):
        load_open3d()


def test_loading_leaves_the_environment_as_it_was():
    before = dict(os.environ)
    load_open3d.cache_clear()
    load_open3d()
    changed = {key for key in before.keys() | os.environ if before.get(key) != os.environ.get(key)}
    assert "OPEN3D_DISABLE_WEB_VISUALIZER" not in changed
