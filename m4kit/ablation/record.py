"""Files of study records: parquet tables with JSON metadata."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m4kit.files import whole_file
from m4kit.reading import read_file

if TYPE_CHECKING:
    import pandas as pd


class RecordError(ValueError):
    """A study record is missing, broken, or of another version."""


@dataclass(frozen=True)
class RecordFormat:
    """The file format of one kind of record.

    `name` and `version` are written into each file and checked when it is read; a change in what the record holds or
    means raises the version. `columns` and `about` are the names that a file must have: columns of its table, and
    keys of its metadata. `command` writes such a record; errors point to it.
    """

    name: str
    version: int
    columns: tuple[str, ...]
    about: tuple[str, ...]
    command: str

    def write(self, path: str | Path, columns: Mapping[str, Sequence], about: Mapping[str, object]) -> Path:
        """Write a record atomically; returns the path.

        `columns` hold one value per row: numbers, strings or 1-D arrays. `about` must be JSON.
        """
        import pandas as pd

        table = pd.DataFrame(columns)
        table.attrs = {"format": self.name, "version": self.version, **about}
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            table.to_parquet(part, compression="zstd", compression_level=12)
        return path

    def read(self, path: str | Path) -> tuple[pd.DataFrame, dict]:
        """Read a record: its table and its metadata.

        Raises `RecordError` if the file is missing, damaged, lacks columns or metadata, or is of another version.
        """
        import pandas as pd
        import pyarrow as pa

        expected = f"{path}: expected a record of the {self.name} (version {self.version})"
        again = f"write it again with `{self.command}`"
        try:
            table = pd.read_parquet(io.BytesIO(read_file(Path(path))))
        except FileNotFoundError as error:
            raise RecordError(f"{path}: no such record; write one with `{self.command}`") from error
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RecordError(f"{expected}, got a file that cannot be read ({error}); {again}") from error
        if table.attrs.get("format") != self.name:
            raise RecordError(f"{expected}, got another parquet file; {again}")
        if table.attrs["version"] != self.version:
            raise RecordError(f"{expected}, got version {table.attrs['version']}; {again}")
        missing = [name for name in self.columns if name not in table]
        missing += [name for name in self.about if name not in table.attrs]
        if missing:
            raise RecordError(f"{expected}, but {', '.join(missing)} are missing; {again}")
        return table[[*self.columns]], {name: table.attrs[name] for name in self.about}


def reshaped(path: str | Path, name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Reshape the numbers of a column as the rest of the record requires; raise `RecordError` for another number."""
    if np.size(values) != np.prod(shape, dtype=int):
        raise RecordError(
            f"{path}: expected {name} of shape {shape}, got {np.size(values)} numbers; write the record again"
        )
    return np.reshape(values, shape)
