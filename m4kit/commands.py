"""What all commands share: types of arguments, messages, and how a command ends."""

from __future__ import annotations

import argparse
import io
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from m4kit.files import FULL_DISK, MANIFEST, outputs_in

SIGNALS = ("SIGTERM", "SIGHUP")
"""Signals that end a command as Ctrl-C does: it writes what it has, then stops."""

OTHER_PICTURES = {
    *(".jfif", ".jpe", ".jp2", ".j2k", ".jxl", ".heic", ".heif", ".avif", ".tga", ".psd", ".ico", ".svg"),
    *(".pnm", ".pbm", ".dds", ".eps", ".pdf", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".mp4", ".mov"),
}
"""Endings of pictures and films that may be photos, among them all that `images.list_images` passes over."""


class Stopped(KeyboardInterrupt):
    """A signal asks the process to end."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


def path_argument(text: str) -> str:
    """A path of the command line. An empty one, as from an unset variable, would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty one; for the current folder give .")
    return text


def folder_argument(text: str) -> Path:
    """A folder of the command line, which is never the current one by accident (`path_argument`)."""
    return Path(path_argument(text))


def shows_progress(options: argparse.Namespace) -> bool:
    """Whether to show progress bars: on a terminal, without --quiet. A log would keep each of their states."""
    return not options.quiet and sys.stderr is not None and sys.stderr.isatty()


def complain(command: str, message: object, *, out: object = None) -> None:
    """Print a message or an error of a command to stderr.

    An error of the operating system that names no file is one of writing into `out`.
    """
    if isinstance(message, OSError) and message.strerror:
        place, full = message.filename or out, message.errno in FULL_DISK
        remedy = "make room" if full else "check the path and its permissions"
        message = f"{place}: {message.strerror}; {remedy}, and run the same command again"
    print(f"m4kit {command}: {message}", file=sys.stderr)


def passed_over(paths: Iterable[str]) -> list[str]:
    """For each folder among the paths, a sentence on what `images.list_images` does not take of it, if anything."""
    return [sentence for path in map(Path, paths) if path.is_dir() and (sentence := _passed_over(path))]


def _passed_over(folder: Path) -> str:
    from m4kit.images import IMAGE_SUFFIXES

    try:
        results = outputs_in(folder)
        there = [
            path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in results
        ]
    except OSError:
        # `list_images` has told why.
        return ""
    endings = Counter(path.suffix.lower() for path in there if path.is_file())
    others = sorted(OTHER_PICTURES.difference(IMAGE_SUFFIXES) & set(endings))
    links = sum(path.suffix.lower() in IMAGE_SUFFIXES and not path.exists() for path in there)
    folders = sum(path.is_dir() and not (path / MANIFEST).exists() for path in there)
    counts = [f"{endings[one]} {one}" for one in others]
    counts += [
        f"{count} {word}{'s' * (count > 1)}"
        for count, word in ((links, "broken link"), (folders, "folder"))
        if count
    ]
    remedies = ["give files by name to try them, or save them as JPEG"] * bool(others)
    remedies += ["give a folder's path to take its photos"] * bool(folders)
    return f"{folder}: {'; '.join(['passed over ' + ', '.join(counts), *remedies])}" if counts else ""


@contextmanager
def as_process() -> Iterator[list[OSError]]:
    """Run the block as the command line does: signals, closed pipes, names that are no text, and warnings.

    - `SIGNALS` raise `Stopped`.
    - What nobody reads any more, as after `| head`, is dropped, and the work goes on. So is what finds no room: the
      list that the block gets has the errors.
    - Characters that the terminal cannot show become escapes.
    - A warning is one line, without the place in the code.
    """

    def stop(number, _) -> None:
        raise Stopped(number)

    before, streams, lost = {}, (sys.stdout, sys.stderr), []
    for name in SIGNALS:
        # Windows has no SIGHUP. `nohup` has it ignored, and only the main thread may set a handler.
        with suppress(AttributeError, ValueError):
            number = getattr(signal, name)
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        sys.stdout, sys.stderr = (_that_may_close(stream, lost) for stream in streams)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
            yield lost
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        sys.stdout, sys.stderr = streams
        for number, handler in before.items():
            signal.signal(number, handler)


class _MayClose(io.FileIO):
    """A stream that drops what cannot be written, and lists why, unless its reader has gone."""

    def __init__(self, number: int, lost: list[OSError]):
        super().__init__(number, "w", closefd=False)
        self.lost = lost

    def write(self, data) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            self.lost.append(error)
            return len(data)


def _that_may_close(stream, lost: list[OSError]):
    """A stream of the process as `_MayClose`; others as they are."""
    try:
        number = stream.fileno()
    except (AttributeError, OSError):
        # None under pythonw, and a notebook's stream has no file.
        return stream
    stream.flush()
    raw = io.BufferedWriter(_MayClose(number, lost))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors="backslashreplace", line_buffering=True)
