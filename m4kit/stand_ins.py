"""Stand-ins for system libraries that Open3D links to but never calls for ray casting.

Open3D does not load without the libraries of displays, devices and domain names, and machines without a desktop
lack some of them. A stand-in is an empty shared library in memory with the name of the missing one. One more
library has the functions, which return 0.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import struct
from collections.abc import Sequence
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
    """The bytes of a 64-bit ELF library with this SONAME and these functions, whose body is always `code`."""
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
    """The symbols that a 64-bit ELF library expects from other libraries."""
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
