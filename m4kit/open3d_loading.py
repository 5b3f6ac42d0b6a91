"""Loads Open3D, also where system libraries are missing that it links to but never calls for ray casting.

Without the libraries of displays, devices and domain names Open3D does not load, and machines without a desktop lack
some of them. A stand-in is an empty shared library in memory with the name of the missing one. One more
library has the functions, which return 0.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import platform
import re
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

UNUSED_LIBRARIES = {
    "libEGL.so.1": "egl[A-Z]",
    "libGL.so.1": "glX?[A-Z]",
    "libX11.so.6": "X[A-Z]",
    "libudev.so.1": "udev_",
    "libidn2.so.0": "idn2_",
}
"""Libraries that Open3D needs to load but not to cast rays, and a pattern for the names of their functions."""

# ELF machine number, and the instructions of `return 0`.
_MACHINES = {
    "x86_64": (62, bytes.fromhex("31c0c3")),
    "aarch64": (183, bytes.fromhex("000080d2c0035fd6")),
}
_PAGE = 1 << 16


class Open3DError(RuntimeError):
    """Open3D cannot be imported."""


@cache
def load_open3d():
    """Import the `open3d` module without output.

    Raises `Open3DError` if it is missing, or a system library that it needs.
    """
    if sys.platform == "linux":
        _load_libusb()
        spec = importlib.util.find_spec("open3d")
        for folder in (spec and spec.submodule_search_locations) or ():
            for library in sorted(Path(folder).glob("libOpen3D.so*")):
                stand_in_for_unused(library)
    try:
        with _no_browser():
            return importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise Open3DError(
            f"this needs Open3D, but importing it failed ({error}). If it is not installed: "
            "pip install open3d (open3d-cpu on Linux). If a system library is missing, on Debian or "
            "Ubuntu: apt install libegl1 libgl1 libx11-6 libudev1 libidn2-0"
        ) from error


@contextmanager
def _no_browser() -> Iterator[None]:
    """Hide the browser from imports within the block.

    Inside Jupyter, importing Open3D would print and start a web server. The dash that it brings along would open a
    channel of its own, which JupyterLab reports as an error.
    """
    switch, comm = "OPEN3D_DISABLE_WEB_VISUALIZER", sys.modules.get("comm")
    before, create = os.environ.get(switch), getattr(comm, "create_comm", None)
    os.environ[switch] = "true"
    if comm:
        comm.create_comm = comm.DummyComm
    try:
        yield
    finally:
        if comm:
            comm.create_comm = create
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


def _load_libusb() -> None:
    """Load the libusb-1.0 of `libusb_package`. Open3D links to it, and many systems have none."""
    try:
        path = importlib.import_module("libusb_package").get_library_path()
    except ImportError:
        return  # The system may have one. If not, importing Open3D names the missing library.
    if path is not None:
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def stand_in_for_unused(library: Path) -> list[str]:
    """Load stand-ins for those of `UNUSED_LIBRARIES` that the system lacks, and return their names.

    `library` is the shared library whose undefined functions the stand-ins provide.
    """
    missing = [name for name in UNUSED_LIBRARIES if not _loads(name)]
    if not missing or platform.machine() not in _MACHINES:
        return []
    starts = "|".join(UNUSED_LIBRARIES[name] for name in missing)
    functions = [name for name in undefined_symbols(library) if re.match(starts, name)]
    # The loader aborts if a library of the expected name lacks the expected symbol versions. It accepts the functions
    # from a library of any other name.
    load_library("libm4kit-stand-in.so", functions)
    for name in missing:
        load_library(name, [])
    return missing


def load_library(name: str, functions: Sequence[str]) -> ctypes.CDLL:
    """Create and load a library `name` with these functions. Libraries that are loaded later find them."""
    # The file stays open, because the loader identifies libraries by path, and a later file must not get the same
    # one.
    file = os.memfd_create(name)
    os.write(file, shared_library(name, functions, *_MACHINES[platform.machine()]))
    return ctypes.CDLL(f"/proc/self/fd/{file}", mode=ctypes.RTLD_GLOBAL)


def shared_library(name: str, functions: Sequence[str], machine: int, code: bytes) -> bytes:
    """Make the bytes of a 64-bit ELF library with this SONAME and these functions, whose body is always `code`."""
    strings, offsets = b"\0", []
    for word in (name, *functions):
        offsets.append(len(strings))
        strings += word.encode() + b"\0"
    code_at = 64 + 4 * 56
    symbols_at = -(-(code_at + len(code)) // 8) * 8
    # Each symbol: name, global function, its section (any but "undefined"), address and size.
    symbols = bytes(24) + b"".join(
        struct.pack("<IBBHQQ", offset, 0x12, 0, 1, code_at, len(code)) for offset in offsets[1:]
    )
    # A hash table with one bucket that chains all symbols.
    count = len(functions) + 1
    table_at = symbols_at + len(symbols)
    chain = [1, 0, *range(2, count), 0][: count + 1] if functions else [0, 0]
    table = struct.pack(f"<{count + 3}I", 1, count, *chain)
    strings_at = table_at + len(table)
    end = strings_at + len(strings)
    dynamic_at = -(-end // _PAGE) * _PAGE
    tags = {14: offsets[0], 4: table_at, 5: strings_at, 6: symbols_at, 10: len(strings), 11: 24, 0: 0}
    dynamic = b"".join(struct.pack("<QQ", tag, value) for tag, value in tags.items())
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = identity + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 4, 64, 0, 0)
    # Code, data, the dynamic table, and a stack that is not executable.
    segments = (
        (1, 5, 0, end, _PAGE),
        (1, 6, dynamic_at, len(dynamic), _PAGE),
        (2, 6, dynamic_at, len(dynamic), 8),
        (0x6474E551, 6, 0, 0, 16),
    )
    header += b"".join(
        struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, align)
        for kind, flags, at, size, align in segments
    )
    content = bytearray(dynamic_at + len(dynamic))
    parts = ((0, header), (code_at, code), (symbols_at, symbols), (table_at, table))
    for at, part in (*parts, (strings_at, strings), (dynamic_at, dynamic)):
        content[at : at + len(part)] = part
    return bytes(content)


def undefined_symbols(library: Path) -> list[str]:
    """List the symbols that a 64-bit ELF library expects from other libraries."""
    with library.open("rb") as file:

        def read(at: int, size: int) -> bytes:
            file.seek(at)
            return file.read(size)

        header = struct.unpack("<HHIQQQIHHHHHH", read(16, 48))
        table_at, size, count = header[5], header[10], header[11]
        sections = [struct.unpack("<IIQQQQIIQQ", read(table_at + i * size, 64)) for i in range(count)]
        dynsym = next(section for section in sections if section[1] == 11)
        symbols = read(dynsym[4], dynsym[5])
        strings = read(*sections[dynsym[6]][4:6])
    names = [
        name for name, _, _, section, _, _ in struct.iter_unpack("<IBBHQQ", symbols) if name and not section
    ]
    return [strings[name : strings.index(b"\0", name)].decode() for name in names]


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
