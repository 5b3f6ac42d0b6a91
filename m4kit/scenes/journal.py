"""Keeps the journal of an analysis: one line per finished photo, so that a stopped analysis can continue."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from m4kit.files import append_whole, changed_settings
from m4kit.scenes.report_data import VERSION, ReportError

FILE = "progress.jsonl"


class Entry(NamedTuple):
    """The row of a photo, and the rows of its faces."""

    photo: dict[str, object]
    faces: list[dict[str, object]]


class Journal:
    """A folder's journal: one line with the settings, then one `Entry` per finished photo.

    Only complete lines count. Raises `ReportError` if the analysis was started by another version or with other
    settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self.entries: dict[str, Entry] = {}
        header = {"version": VERSION, "settings": dict(settings)}
        if not self._read(header):
            self.path.write_text(json.dumps(header) + "\n", encoding="utf-8")

    def add(self, entry: Entry) -> None:
        """Write a finished photo to disk. If that fails, the file is as before."""
        append_whole(self.path, f"{json.dumps(entry)}\n".encode())
        self.entries[str(entry.photo["photo"])] = entry

    def _read(self, header: dict) -> bool:
        """Read the finished photos; False if there is no analysis yet."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            # The process may have stopped within the first line; other files are not replaced.
            if not json.dumps(header).encode().startswith(content):
                raise self._broken("no complete line")
            return False
        if len(whole) < len(content):
            # The process stopped within this line: its photo is analysed again.
            os.truncate(self.path, len(whole))
        first, *lines = whole.decode("utf-8").splitlines()
        try:
            self._check(json.loads(first), header)
            for line in lines:
                entry = Entry(*json.loads(line))
                self.entries[str(entry.photo["photo"])] = entry
        except ReportError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise self._broken(error) from error
        return True

    def _broken(self, reason: object) -> ReportError:
        return ReportError(
            f"{self.path}: expected the journal of an analysis, got a broken one ({reason}); give another folder"
        )

    def _check(self, found: dict, expected: dict) -> None:
        if found["version"] != expected["version"]:
            raise ReportError(
                f"{self.path}: expected an analysis of version {expected['version']}, got {found['version']}; "
                "give another folder"
            )
        if changes := changed_settings(found["settings"], expected["settings"]):
            raise ReportError(
                f"{self.path}: expected the settings with which this analysis was started, got others ({changes}); "
                "use those, or give another folder"
            )
