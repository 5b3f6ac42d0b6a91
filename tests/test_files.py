"""Atomic file writes."""

import pytest

from m4kit.files import whole_file, write_whole


def test_a_file_gets_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "record.json"
    with whole_file(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_previous_file(tmp_path):
    path = tmp_path / "record.json"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="no room"), whole_file(path) as part:
        part.write_text("ne")
        raise OSError("no room")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
