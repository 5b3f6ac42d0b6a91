"""The folder of a table that grows: finished parts, a journal of the next one, and a lock.

    part-00000.parquet, part-00001.parquet, ...   finished parts; pandas.read_parquet(folder) reads all
    .part-00002.arrows                            the journal: rows that are not yet in a part
    .lock                                         held by the process that writes

Each batch of rows goes to the journal at once, an Arrow stream that can be read up to its last whole batch wherever
the process stopped. A full journal becomes a part, under its name in one step; a journal whose part exists is done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import pyarrow
from filelock import FileLock, Timeout
from pyarrow import parquet

from m4kit.face_table import ABOUT, SCHEMA, VERSION, TableError, about, about_schema
from m4kit.files import FULL_DISK, append_whole, changed_settings, reason_of, whole_file
from m4kit.spread import batched

_PART_ROWS = 20_000
"""Rows of a part, some 25 MB."""

_GROUP = 250
"""Batches of the journal that become a group of rows of a part."""

_TEXTS = ["photo", "error", "network", "face_model"]
"""Columns of repeated values, which are stored once in a dictionary; for numbers, that would save nothing."""

_PART = re.compile(r"part-(\d{5,})\.parquet")
_OURS = re.compile(r"\.?part-\d{5,}(\.\d+\.part)?\.(parquet|arrows)|\.lock")


class TableFolder:
    """A folder to which rows are added, as a context manager.

    Entering it takes the lock, and turns what an earlier process left in the journal into a part; with `restart` it
    deletes what is there. Then `done` holds the names of the photos that are in it. Raises `TableError` if another
    process writes there, if the table has other settings or another version, and for a folder with other files.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, object], *, restart: bool = False):
        self.path, self._restart = Path(folder), restart
        self._about = {"version": VERSION, "settings": dict(settings)}
        self._schema = SCHEMA.with_metadata({ABOUT: json.dumps(self._about).encode()})
        self._lock = FileLock(self.path / ".lock", timeout=0)
        self._rows, self._number = 0, 0
        self.done: set[str] = set()

    def __enter__(self) -> TableFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            others = [path.name for path in self.path.iterdir() if not _OURS.fullmatch(path.name)]
            if others:
                raise TableError(
                    f"{self.path}: expected an empty folder or one of a table, got one with other files ("
                    f"{min(others)}); give another folder"
                )
            self._lock.acquire()
        except Timeout as error:
            raise TableError(
                f"{self.path}: another process writes this table; wait for it, or give another folder"
            ) from error
        except OSError as error:
            raise TableError(
                f"{self.path}: expected a folder to write into, got {error.strerror or error}; give another"
            ) from error
        try:
            self._recover()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_) -> None:
        try:
            self._finish_part()
        finally:
            self._lock.release()

    def add(self, table: pyarrow.Table) -> None:
        """Write rows to disk. If that fails, the journal is as before."""
        parts = [] if self._journal.exists() else [self._schema.serialize()]
        parts += [batch.serialize() for batch in table.combine_chunks().to_batches()]
        try:
            append_whole(self._journal, b"".join(part.to_pybytes() for part in parts))
        except OSError as error:
            raise self._unwritten(error) from error
        self._rows += len(table)
        if self._rows >= _PART_ROWS:
            self._finish_part()

    @property
    def _journal(self) -> Path:
        return self.path / f".part-{self._number:05}.arrows"

    def _finish_part(self) -> None:
        if not self._journal.exists():
            return
        batches = whole_batches(self._journal)
        first = next(batches, None)
        if first is not None:
            options = {"compression": "zstd", "use_dictionary": _TEXTS}
            try:
                with (
                    whole_file(self.path / f"part-{self._number:05}.parquet") as part,
                    parquet.ParquetWriter(part, self._schema, **options) as writer,
                ):
                    # In groups, because all rows at once take five times their memory.
                    for group in batched(chain([first], batches), _GROUP):
                        writer.write_table(pyarrow.Table.from_batches(group).cast(self._schema))
            except OSError as error:
                raise self._unwritten(error) from error
        self._journal.unlink()
        self._number += first is not None
        self._rows = 0

    def _recover(self) -> None:
        """Remove what was left half written, make a part of the journal, and read which photos are done."""
        for path in self.path.iterdir():
            left = path.name.startswith(".part-") and path.name.endswith(".parquet")
            if left or (self._restart and path.name != ".lock"):
                path.unlink()
        for path in sorted(self.path.glob("part-*.parquet")):
            self._check(about(path))
            try:
                self.done.update(parquet.read_table(path, columns=["photo"])["photo"].to_pylist())
            except (OSError, pyarrow.ArrowException) as error:
                raise TableError(
                    f"{path}: expected a part of a table, got a broken file ({reason_of(error)}); delete it, and its "
                    "photos are predicted again"
                ) from error
            self._number = max(self._number, int(_PART.fullmatch(path.name)[1]) + 1)
        for path in self.path.glob(".part-*.arrows"):
            # The process stopped between the part and its journal's end.
            if path != self._journal:
                path.unlink()
        if self._journal.exists():
            for number, batch in enumerate(whole_batches(self._journal)):
                if number == 0:
                    self._check(about_schema(batch.schema, self._journal))
                self.done.update(batch["photo"].to_pylist())
            self._finish_part()

    def _check(self, found: Mapping[str, object]) -> None:
        now = json.loads(json.dumps(self._about["settings"]))
        if changes := changed_settings(found["settings"], now):
            raise TableError(
                f"{self.path}: expected the settings with which this table was started, got others ({changes}); use "
                "those, or give another folder"
            )

    def _unwritten(self, error: OSError) -> TableError:
        remedy = "make room" if error.errno in FULL_DISK else "check the folder"
        return TableError(
            f"{self.path}: {error.strerror or error}; {remedy}, and start again: what is finished is kept"
        )


def whole_batches(journal: Path) -> Iterator[pyarrow.RecordBatch]:
    """Read the batches of a journal up to the last one that was written whole, one after another."""
    with journal.open("rb") as file:
        try:
            stream = pyarrow.ipc.open_stream(file)
        except (pyarrow.ArrowInvalid, OSError):
            return
        while True:
            try:
                batch = stream.read_next_batch()
            except (pyarrow.ArrowInvalid, OSError, StopIteration):
                return
            yield batch
