"""The journal of an analysis, however it ended."""

import json

import pytest

from m4kit.scenes.journal import FILE, Entry, Journal
from m4kit.scenes.report_data import ReportError


def test_wherever_a_journal_is_cut_the_complete_lines_count(tmp_path):
    path = tmp_path / "whole" / FILE
    journal = Journal(path.parent, {"passes": 2})
    for name in ("a", "b"):
        journal.add(Entry({"photo": name, "read": True}, [{"photo": name, "yaw": 1.5}]))
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for length in range(len(content) + 1):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / FILE).write_bytes(content[:length])
        again = Journal(folder, {"passes": 2})
        assert list(again.entries) == ["a", "b"][: max(0, sum(end <= length for end in ends) - 1)]
    again.add(Entry({"photo": "c", "read": True}, []))
    assert list(Journal(folder, {"passes": 2}).entries) == ["a", "b", "c"]


def test_a_journal_of_another_version_or_that_is_none_is_an_error(tmp_path):
    (tmp_path / FILE).write_text(json.dumps({"version": 99, "settings": {}}) + "\n")
    with pytest.raises(ReportError, match="expected an analysis of version 4, got 99"):
        Journal(tmp_path, {})
    (tmp_path / FILE).write_text("something\n")
    with pytest.raises(ReportError, match="got a broken one"):
        Journal(tmp_path, {})
