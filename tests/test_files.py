"""Atomic file writes, and folders in which nothing of the user's is overwritten."""

import numpy as np
import pytest

from m4kit.files import MANIFEST, OutputError, OutputFolder, outputs_in, reason_of, whole_file, write_whole


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


def test_numpys_advice_to_load_a_file_unsafely_is_not_passed_on(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="unsafely") as caught:
        np.load(tmp_path / "a.npy")
    assert "pickle" in reason_of(caught.value)
    assert "unsafely" not in reason_of(caught.value)


class TestOutputFolder:
    def test_it_replaces_its_own_files_and_no_others(self, tmp_path):
        folder = tmp_path / "deep" / "out"
        with OutputFolder(folder, ["a.txt", "sub", "never.txt"]):
            (folder / "a.txt").write_text("one")
            (folder / "sub").mkdir()
        assert outputs_in(folder) == {"a.txt", "sub"}
        with OutputFolder(folder, ["a.txt", "sub"]):
            (folder / "a.txt").write_text("two")
        (folder / "b.txt").write_text("theirs")
        with pytest.raises(
            OutputError, match=r"out: would overwrite files .*\(b\.txt\), so nothing was done; give"
        ):
            OutputFolder(folder, ["a.txt", "b.txt"])

    def test_a_file_that_was_changed_since_is_no_longer_its_own(self, tmp_path):
        with OutputFolder(tmp_path, ["a.txt"]):
            (tmp_path / "a.txt").write_text("one")
        (tmp_path / "a.txt").write_text("corrected")
        assert outputs_in(tmp_path) == set()
        with pytest.raises(OutputError, match="changed since"):
            OutputFolder(tmp_path, ["a.txt"])

    def test_until_it_is_closed_its_files_may_change(self, tmp_path):
        OutputFolder(tmp_path, ["a.txt"]).__enter__()
        (tmp_path / "a.txt").write_text("half")
        with OutputFolder(tmp_path, ["a.txt"]):
            (tmp_path / "a.txt").write_text("whole")
        assert outputs_in(tmp_path) == {"a.txt"}

    def test_an_input_under_another_name_is_still_an_input(self, tmp_path):
        with OutputFolder(tmp_path, ["a.txt"]):
            (tmp_path / "a.txt").write_text("one")
        (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
        with pytest.raises(OutputError, match=r"a\.txt: is one of the inputs"):
            OutputFolder(tmp_path, ["a.txt"], inputs=[tmp_path / "gone.txt", tmp_path / "link.txt"])

    def test_a_link_to_nowhere_is_a_users_file(self, tmp_path):
        (tmp_path / "a.txt").symlink_to(tmp_path / "gone")
        with pytest.raises(OutputError, match="would overwrite"):
            OutputFolder(tmp_path, ["a.txt"])

    @pytest.mark.parametrize("content", ["", "[]", '{"files": 3}', '{"files": {"a.txt": 3}}'])
    def test_a_broken_list_makes_nothing_its_own(self, tmp_path, content):
        (tmp_path / MANIFEST).write_text(content)
        (tmp_path / "a.txt").write_text("mine")
        assert outputs_in(tmp_path) == set()
        with pytest.raises(OutputError, match="would overwrite"):
            OutputFolder(tmp_path, ["a.txt"])

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="expected a folder to write into, got Not a directory; give"):
            OutputFolder(tmp_path / "file" / "out", ["a.txt"]).__enter__()
