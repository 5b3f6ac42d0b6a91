"""Reads files of a data set: a folder or a `.zip` behind one interface, label files, arrays, names of pictures."""

from __future__ import annotations

import io
import os
import posixpath
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np

from m4kit.checks import check_type
from m4kit.datasets.sample import DatasetError, picture_of
from m4kit.files import MANIFEST, outputs_in
from m4kit.images import IMAGE_SUFFIXES, ImageError, load_image
from m4kit.reading import read_all, read_file, unpack_arrays


class Files:
    """Files below a folder or in a zip, by their names relative to it, with forward slashes.

    Nothing is unpacked. Skipped are members of a zip whose names lead out of it, names that begin with a dot, and
    `__MACOSX`.
    """

    def __init__(self, path: Path):
        self.path = path
        self._archive = None if path.is_dir() else zipfile.ZipFile(path)
        members = [] if self._archive is None else self._archive.namelist()
        self._members = frozenset(name for name in members if not name.endswith("/") and _is_own(name))

    def __reduce__(self):
        # An open archive cannot be sent to another process, which opens it once.
        return _files, (self.path.absolute(),)

    def names(self) -> list[str]:
        """All names, sorted, without the results that m4kit commands wrote below the folder (`files.outputs_in`)."""
        if self._archive is not None:
            return sorted(self._members)
        folders = [place.parent for place in self.path.rglob(MANIFEST)]
        results = {folder / name for folder in folders for name in outputs_in(folder)}
        names = (
            (file, file.relative_to(self.path).as_posix())
            for file in self.path.rglob("*")
            if not results or results.isdisjoint([file, *file.parents])
        )
        return sorted(name for file, name in names if _is_own(name) and _is_file(file))

    def find(self, name: str) -> str | None:
        """The file that a list calls `name`, or None if there is none or the name leads out of the set."""
        for spelling in (name, name.replace("\\", "/")):
            own = posixpath.normpath(spelling)
            if not _is_own(own):
                continue
            if own in self._members if self._archive is not None else _is_file(self.path / own):
                return own
        return None

    def read(self, name: str, *, most: int | None = None) -> bytes:
        """A file's bytes; `DatasetError` if they cannot be read, or if there are more than `most`."""
        try:
            if self._archive is None:
                return read_file(self.path / name, most=most)
            with self._archive.open(name) as member:
                return read_all(member, most=most)
        # Which error zipfile raises depends on which byte is wrong.
        except Exception as error:
            raise DatasetError(f"cannot be read: {error}") from error

    def text(self, name: str) -> str:
        """A text file, with or without a byte order mark; `DatasetError` if it is not UTF-8."""
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"expected UTF-8 text, got other bytes ({error.reason}); save it as UTF-8"
            ) from error

    def image(self, name: str) -> Callable[[], np.ndarray]:
        """A function that reads the picture when called: (H, W, 3) uint8 RGB, or `ImageError`."""
        return partial(_load_image, self, name)

    def picture(self, *names: str, what: str = "picture") -> Callable[[], np.ndarray]:
        """`image` of the first of these names that a list gives and that exists; `DatasetError` if none does."""
        found = next(filter(None, map(self.find, names)), None)
        if found is None:
            raise DatasetError(f"no {what}")
        return self.image(found)


@lru_cache(maxsize=4)
def _files(path: Path) -> Files:
    return Files(path)


def open_files(path: str | Path, *, expected: str) -> Files:
    """Open a folder or zip. `expected` names the data set in errors."""
    path = _checked_path(path)
    wanted = f"{path}: expected a folder or a .zip of {expected}"
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{wanted}, found nothing; check the path") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{wanted}, got {error}; check the path and its permissions") from error
    is_folder = stat.S_ISDIR(mode)
    # A pipe would block.
    if not is_folder and not (stat.S_ISREG(mode) and zipfile.is_zipfile(path)):
        raise DatasetError(f"{wanted}, got another file or a broken archive")
    try:
        return Files(path)
    # Which error zipfile raises depends on which byte is wrong.
    except Exception as error:
        raise DatasetError(f"{path}: expected a readable .zip of {expected}, got {error}") from error


def open_label_file(path: str | Path, *, ending: str, member: str | None, expected: str) -> tuple[Files, str]:
    """Open a set that one label file describes: its files, and the label file's name among them.

    `path` is the label file itself, or a folder or zip that holds it; `member` selects one of several.
    """
    path = _checked_path(path)
    if _is_file(path) and not zipfile.is_zipfile(path):
        if path.suffix.lower() != ending:
            raise DatasetError(
                f"{path}: expected a {ending} file, or a folder or .zip that holds one, got another file"
            )
        return Files(path.parent), path.name
    files = open_files(path, expected=expected)
    if member is not None:
        check_type(member, "member", str, remedy="give the file's name below the folder or zip")
        name = files.find(member)
        if name is None:
            raise DatasetError(f"{path}: expected {member!r} below it, found no such file; check `member`")
        return files, name
    names = [name for name in files.names() if name.lower().endswith(ending)]
    if not names:
        raise DatasetError(f"{path}: expected {expected}, a {ending} file, found none")
    if len(names) > 1:
        raise DatasetError(
            f"{path}: expected {expected}, one {ending} file, found {len(names)}: {', '.join(names[:5])}; "
            "give that file itself, or name it as `member`"
        )
    return files, names[0]


def label_text(files: Files, name: str) -> str:
    """A label file's text; `DatasetError`, with the file's path, if it cannot be read or is not UTF-8."""
    try:
        return files.text(name)
    except DatasetError as error:
        raise DatasetError(f"{files.path}/{name}: {error}") from error


def is_image(name: str) -> bool:
    """Whether a file's name has the ending of a picture."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def stem(name: str) -> str:
    """A file's name with its folders and without its ending.

    >>> stem("AFW/AFW_1.jpg")
    'AFW/AFW_1'
    """
    return posixpath.splitext(name)[0]


def picture_names(files: Iterable[str]) -> dict[str, str]:
    """Sample name of each picture: its stem, or its whole name where the stem is ambiguous.

    A stem is ambiguous if two pictures share it, if it ends like a picture, or if it ends like a face's number, `#1`.

    >>> picture_names(["AFW/a.jpg", "b.jpg", "b.png", "c#1.jpg"])
    {'AFW/a.jpg': 'AFW/a', 'b.jpg': 'b.jpg', 'b.png': 'b.png', 'c#1.jpg': 'c#1.jpg'}
    """
    stems = {file: stem(file) for file in files}
    often = Counter(stems.values())
    return {
        file: file if often[name] > 1 or is_image(name) or picture_of(name) != name else name
        for file, name in stems.items()
    }


def array_file(path: str | Path) -> Path:
    """The `.npz` of the same name beside a folder or zip."""
    path = Path(path)
    path = path if path.name not in ("", "..") else path.resolve()
    return path.with_suffix(".npz") if path.suffix.lower() == ".zip" else path.with_name(f"{path.name}.npz")


def load_arrays(file: Path | bytes, name: object) -> dict[str, np.ndarray] | np.ndarray:
    """Load a `.npz` or `.npy`, or its content; `DatasetError`, with its name, if it is broken or needs pickles."""
    try:
        return unpack_arrays(read_file(file) if isinstance(file, Path) else file)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{name}: expected a file of arrays, found nothing; check the path"
        ) from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{name}: expected numpy arrays without pickles, got {error}") from error


Rows = Mapping[str, list[tuple[int, ...]]]
"""The allowed shapes of one row of each array."""


def read_arrays(file: Path, rows: Rows, optional: Rows | None = None) -> dict[str, np.ndarray]:
    """Load a `.npz` and check its arrays as `check_arrays` does."""
    arrays = load_arrays(file, file)
    check_arrays(arrays, rows, optional or {}, file)
    return arrays


def check_arrays(arrays: object, rows: Rows, optional: Rows, source: object) -> None:
    """Raise `DatasetError` unless all arrays are there, with one row per name and rows of an allowed shape."""
    if not isinstance(arrays, dict) or rows.keys() - arrays.keys():
        got = ", ".join(sorted(arrays)) if isinstance(arrays, dict) else "one array"
        raise DatasetError(f"{source}: expected {', '.join(sorted(rows))}, got {got}")
    n = len(np.atleast_1d(arrays["names"]))
    allowed = {**rows, **optional}
    for key in sorted(allowed.keys() & arrays.keys()):
        array = np.asarray(arrays[key])
        shapes = [(n, *shape) for shape in allowed[key]]
        kinds, content = ("U", "text") if key in ("names", "identity") else ("fiu", "numbers")
        if array.shape not in shapes or array.dtype.kind not in kinds:
            raise DatasetError(
                f"{source}: expected {key} {' or '.join(map(str, shapes))} of {content}, got {array.dtype} "
                f"{array.shape}"
            )


def _checked_path(path: str | PathLike) -> Path:
    check_type(path, "path", str, PathLike, words="a path", remedy="give the path of the data set")
    # The path of nothing is the current folder.
    if not os.fspath(path):
        raise DatasetError(
            "path: expected the path of a data set, got an empty text; check where it comes from"
        )
    return Path(path)


def _is_file(path: Path) -> bool:
    """Whether it is a regular file; not so if its name is too long or its folder is closed."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_own(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and not path.is_absolute()
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    )


def _load_image(files: Files, name: str) -> np.ndarray:
    place = f"{files.path}/{name}"
    try:
        file = io.BytesIO(files.read(name))
    except DatasetError as error:
        raise ImageError(
            f"{place}: expected a readable image, got {error.__cause__}; copy or download it again"
        ) from error
    file.name = place
    return load_image(file)
