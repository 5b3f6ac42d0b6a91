"""Matrices of `.mat` files: what scipy writes is read, and what is broken raises `ValueError`."""

import contextlib
import io
import struct

import numpy as np
import pytest
import scipy.io

from m4kit.datasets.mat_file import read_matrices

VALUES = {
    "double": np.linspace(-1, 1, 12).reshape(3, 4),
    "single": np.eye(2, 3, dtype=np.float32),
    "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "one": np.array([[7]], dtype=np.uint8),
    "words": np.array([[-5, 300]], dtype=np.int16),
    "long": np.array([[2**40]], dtype=np.int64),
    "three": np.arange(24.0).reshape(2, 3, 4),
    "none": np.zeros((0, 3)),
}


def saved(values: dict, *, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, values, do_compression=compressed)
    return buffer.getvalue()


def swapped(kind: int, numbers: str, values: tuple) -> bytes:
    """A file of the other order of bytes with one row of numbers, of MATLAB's type `kind`."""

    def element(number: int, data: bytes) -> bytes:
        return struct.pack(">II", number, len(data)) + data + bytes(-len(data) % 8)

    data = struct.pack(f">{len(values)}{numbers}", *values)
    parts = (6, struct.pack(">II", 6, 0)), (5, struct.pack(">ii", 1, len(values))), (1, b"v"), (kind, data)
    return b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + element(14, b"".join(element(*part) for part in parts))


class TestReading:
    @pytest.mark.parametrize("compressed", [False, True])
    def test_what_scipy_writes_is_read(self, compressed):
        found = read_matrices(saved(VALUES, compressed=compressed), VALUES)
        assert found.keys() == VALUES.keys()
        for name, value in VALUES.items():
            np.testing.assert_array_equal(found[name], value)

    @pytest.mark.parametrize(("kind", "numbers"), [(9, "d"), (7, "f"), (3, "h"), (5, "i")])
    def test_the_other_order_of_bytes_is_read(self, kind, numbers):
        np.testing.assert_array_equal(
            read_matrices(swapped(kind, numbers, (1, -2, 3)), ("v",))["v"], [[1, -2, 3]]
        )

    @pytest.mark.parametrize("compressed", [False, True])
    def test_other_names_and_other_kinds_are_skipped(self, compressed):
        others = {
            "text": "abc",
            "cell": np.array([[1, "a"]], object),
            "record": {"a": 1},
            "complex": np.eye(2) * 1j,
        }
        content = saved(others | {"large": np.zeros(50_000)} | VALUES, compressed=compressed)
        assert read_matrices(content, (*others, "one")).keys() == {"one"}


class TestBrokenFiles:
    @pytest.mark.parametrize(
        "content", [b"", b"MATLAB 5.0", b"\x89HDF\r\n\x1a\n" + bytes(600), saved(VALUES)[:127]]
    )
    def test_another_file_is_an_error(self, content):
        with pytest.raises(ValueError, match="expected a file that MATLAB saved with -v7"):
            read_matrices(content, VALUES)

    def test_a_type_that_does_not_exist_is_an_error(self):
        # The number for which scipy 1.17 reads outside its memory.
        content = saved({"double": VALUES["double"]})
        at = content.index(struct.pack("<II", 9, 96))
        broken = content[:at] + struct.pack("<I", 0xFF09) + content[at + 4 :]
        with pytest.raises(ValueError, match="double: expected numbers, got type 65289"):
            read_matrices(broken, VALUES)

    @pytest.mark.parametrize("compressed", [False, True])
    def test_of_a_truncated_file_no_part_of_a_matrix_is_read(self, compressed):
        content = saved({"double": VALUES["double"]}, compressed=compressed)
        for length in range(128, len(content) - 8, 7):
            with contextlib.suppress(ValueError):
                assert read_matrices(content[:length], VALUES) == {}
        with pytest.raises(ValueError, match=r"double: expected \[3, 4\] numbers, got \d+ bytes"):
            read_matrices(content[: len(content) - 16], VALUES)

    def test_a_matrix_that_expands_without_measure_is_an_error(self):
        content = saved({"double": np.zeros(5_000_000)}, compressed=True)
        assert len(content) < 50_000
        with pytest.raises(ValueError, match=r"double: expected \[1, 5000000\] numbers, got \d{5} bytes"):
            read_matrices(content, VALUES)

    def test_broken_compression_is_an_error(self):
        content = bytearray(saved({"double": VALUES["double"]}, compressed=True))
        content[128 + 8] ^= 255
        with pytest.raises(ValueError, match="incorrect header check"):
            read_matrices(bytes(content), VALUES)
