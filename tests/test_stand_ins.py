"""Libraries made in memory, on the machines that have such libraries."""

import ctypes
import platform
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from m4kit import stand_ins
from m4kit.stand_ins import load_library, stand_in_for_unused, undefined_symbols

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="Open3D needs stand-ins only on Linux, on x86-64 and 64-bit ARM",
)
EXTENSION = Path(find_spec("numpy._core._multiarray_umath").origin)


@pytest.mark.parametrize("functions", [[], ["first"], ["first", "second", "third"]])
def test_the_functions_of_a_made_library_give_0(functions):
    library = load_library(f"libm4kit-test-{len(functions)}.so", functions)
    assert [getattr(library, name)() for name in functions] == [0] * len(functions)
    with pytest.raises(AttributeError):
        library.fourth  # noqa: B018


def test_a_made_library_is_found_by_its_name():
    with pytest.raises(OSError, match="cannot open"):
        ctypes.CDLL("libm4kit-test-name.so.1")
    load_library("libm4kit-test-name.so.1", ["answer"])
    assert ctypes.CDLL("libm4kit-test-name.so.1").answer() == 0


def test_undefined_symbols_are_those_that_others_provide():
    names = undefined_symbols(EXTENSION)
    assert {"PyErr_Format", "PyTuple_New"} <= set(names)
    assert "PyInit__multiarray_umath" not in names


def test_only_what_the_system_lacks_gets_a_stand_in(monkeypatch):
    libraries = {"libc.so.6": "never_", "libm4kit-test-lacks.so.1": "never_"}
    monkeypatch.setattr(stand_ins, "UNUSED_LIBRARIES", libraries)
    assert stand_in_for_unused(EXTENSION) == ["libm4kit-test-lacks.so.1"]
    assert stand_in_for_unused(EXTENSION) == []
