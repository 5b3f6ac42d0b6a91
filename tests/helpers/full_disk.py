"""A disk that is full from a moment on."""

from pathlib import Path


class _Half:
    """A file that takes only half of what is written."""

    def __init__(self, file):
        self._file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, content):
        """Write the first half."""
        return self._file.write(content[: len(content) // 2])


def appends_fit_until(monkeypatch, last):
    """Files take what is appended to them `last` times, and then half of it."""
    opened, calls = Path.open, []

    def open_it(self, mode="r", *arguments, **options):
        file = opened(self, mode, *arguments, **options)
        if mode != "ab":
            return file
        calls.append(self)
        return file if len(calls) <= last else _Half(file)

    monkeypatch.setattr(Path, "open", open_it)
