"""Atomic file writes, result folders that never overwrite a user's file, and names and errors as text."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

MANIFEST = ".m4kit.json"
"""In a folder of results: the files that m4kit wrote there, with the SHA-256 of each."""

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the operating system's errors for a disk, or a user's share of it, that is full."""

_ABOUT = "Files that m4kit wrote here, with their SHA-256. m4kit replaces these, and no others."
_NAMED = 3


class OutputError(ValueError):
    """A folder of results holds files that would be overwritten, or cannot be written to."""


class UnwrittenError(OutputError):
    """Files did not fit into a folder of results. The others were written."""


class OutputFolder:
    """A folder for `names`, the files and folders that a command is about to write.

    Raises `OutputError` if one of them is already there, unless m4kit wrote it and nobody changed it since, and if
    one of them is an input. So a command that runs again replaces its own results and nothing else. As a context
    manager it creates the folder, keeps the list of its files up to date, and at the end raises `UnwrittenError` for
    files that `write` could not put there.

    The list is a hidden file of the folder (`MANIFEST`). Until the context ends, and after a crash, the files that
    the command is about to write have no SHA-256 in it.
    """

    def __init__(self, folder: str | Path, names: Iterable[str], *, inputs: Iterable[str | Path] = ()):
        self.path, self.names = Path(folder), list(names)
        self._unwritten: list[str] = []
        self._elsewhere: Path | None = None
        present = [name for name in self.names if os.path.lexists(self.path / name)]
        read = {os.path.realpath(one) for one in (inputs if present else ())}
        for name in present:
            if os.path.realpath(self.path / name) in read:
                raise OutputError(
                    f"{self.path / name}: is one of the inputs and would be overwritten, so nothing was done; give "
                    "another folder with --out"
                )
        ours = outputs_in(self.path) if present else ()
        foreign = [name for name in present if name not in ours]
        if foreign:
            shown = ", ".join(foreign[:_NAMED]) + (", ..." if len(foreign) > _NAMED else "")
            raise OutputError(
                f"{self.path}: would overwrite files that m4kit did not write there, or that were changed since "
                f"({shown}), so nothing was done; give another folder with --out, or move them away"
            )

    def __enter__(self) -> OutputFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._list(dict.fromkeys(self.names))
        except OSError as error:
            raise OutputError(
                f"{self.path}: expected a folder to write into, got {error.strerror or error}; give another with "
                "--out"
            ) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        # On a full disk the list stays without the hashes, which is enough to write here again.
        with suppress(OSError):
            self._list({name: _sha256(self.path / name) for name in self.names})
        if self._unwritten and kind is None:
            raise UnwrittenError("\n  ".join([f"not written: {len(self._unwritten)}", *self._unwritten]))

    def write(self, name: str, write: Callable[[Path], object]) -> Path:
        """Let `write` write a file to the path that it gets, and return the file's path.

        A file that does not fit into the folder goes to the system's folder for temporary files. If it does not fit
        there either, it is left out.
        """
        path = self.path / name
        try:
            with whole_file(path) as part:
                write(part)
        except OSError as error:
            message = f"{path}: {error.strerror or error}"
            try:
                self._elsewhere = self._elsewhere or Path(tempfile.mkdtemp(prefix="m4kit_"))
                path = self._elsewhere / name
                with whole_file(path) as part:
                    write(part)
                message += f"; it is in {path} instead"
            except OSError:
                message += "; make room, and run the same command again"
            self._unwritten.append(message)
        return path

    def _list(self, files: dict[str, str | None]) -> None:
        files = {name: digest for name, digest in (_listed(self.path) | files).items() if digest != ""}
        content = json.dumps({"about": _ABOUT, "files": files}, indent=1)
        write_whole(self.path / MANIFEST, content.encode())


def outputs_in(folder: str | Path) -> frozenset[str]:
    """Return the names of what m4kit wrote into a folder as results and nobody changed since, files and folders."""
    folder = Path(folder)
    return frozenset(
        name for name, digest in _listed(folder).items() if digest is None or digest == _sha256(folder / name)
    )


def has_results(folder: Path) -> bool:
    """Tell whether m4kit wrote results into a folder."""
    return (folder / MANIFEST).exists()


def changed_settings(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """List the settings that differ, each with both values, as text; empty if none does."""
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return ", ".join(f"{name} {before.get(name)!r}, now {now.get(name)!r}" for name in names)


def text_of(name: str) -> str:
    """Turn a file's name into text that can be written anywhere: bytes that are not valid UTF-8 become escapes.

    >>> text_of("caf\\udce9.jpg")
    'caf\\\\udce9.jpg'
    """
    return name.encode(errors="backslashreplace").decode()


def reason_of(error: BaseException) -> str:
    """Return an error's message, with its type in front unless it is a `ValueError`, as m4kit's own errors are."""
    # numpy goes on to advise how to load the file unsafely.
    text = str(error).partition(" If you trust the file")[0]
    kind = "" if isinstance(error, ValueError) and text else type(error).__name__
    return ": ".join(filter(None, (kind, text)))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path with the same ending to write to, and rename it to `path` when the block ends.

    If the block raises, the temporary file is deleted. Each process has its own.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: no partial file is left if the process ends early."""
    with whole_file(path) as part:
        part.write_bytes(content)


def append_whole(path: Path, content: bytes) -> None:
    """Append to a file, which is made if it is missing. If that fails, the file is as before."""
    before = path.stat().st_size if path.exists() else None
    try:
        # In one piece, so that two processes that write here do not mix theirs.
        with path.open("ab", buffering=0) as file:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    except BaseException:
        # Ctrl-C or a full disk. What comes next must not follow half a piece.
        if before is None:
            path.unlink(missing_ok=True)
        else:
            os.truncate(path, before)
        raise


def _listed(folder: Path) -> dict[str, str | None]:
    """Read a folder's list: its files with their SHA-256, or None for folders and files that were not finished."""
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(path: Path) -> str | None:
    """Compute the SHA-256 of a file; None for a folder, "" if there is nothing to read."""
    try:
        return None if path.is_dir() else sha256_of(path)
    except OSError:
        return ""
