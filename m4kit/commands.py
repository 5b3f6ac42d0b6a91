"""What all commands share: types of arguments, messages, and the set-up of the process."""

from __future__ import annotations

import argparse
import io
import mimetypes
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from pathlib import Path

from m4kit.files import has_results, outputs_in

CONTINUES = "run the same command again to continue"
"""The default `when_stopped` of parsers whose command continues where it was stopped."""

_PICTURES = (".heic", ".heif", ".tga", ".dng", ".cr2", ".nef", ".arw")
"""Endings of pictures that `mimetypes` may not know."""


class Stopped(KeyboardInterrupt):
    """A signal asks the process to end."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


def path_argument(text: str) -> str:
    """Check a path of the command line. An empty one, as from an unset variable, would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty one; for the current folder give .")
    return text


def folder_argument(text: str) -> Path:
    """Return a folder of the command line, which is not empty (`path_argument`)."""
    return Path(path_argument(text))


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add `--weights`, those of M4Net."""
    parser.add_argument(
        "--weights",
        default="m4net-base",
        metavar="NAME_OR_FILE",
        help="weights of M4Net (default: %(default)s)",
    )


def add_detection(parser: argparse.ArgumentParser) -> None:
    """Add the options of `Predictor` that decide which faces are found. They are None if not given."""
    parser.add_argument(
        "--threshold", type=float, metavar="SCORE", help="lowest score of a detection, 0 to 1 (default: 0.5)"
    )
    parser.add_argument(
        "--min-face",
        type=float,
        metavar="PIXELS",
        help="side of the smallest face, in pixels of the photo, or below 1 as a share of its longer side",
    )
    parser.add_argument("--max-faces", type=int, metavar="N", help="keep only the N largest faces of a photo")


def given_options(options: argparse.Namespace, *names: str) -> dict[str, object]:
    """Return the options of these names that the user gave, as keyword arguments."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add `--quiet`, which `shows_progress` reads."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_dask(parser: argparse.ArgumentParser) -> None:
    """Add `--dask`, which `dask_executor` reads."""
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="let the workers of the Dask scheduler at this address do the work; they need the same paths",
    )


@contextmanager
def dask_executor(options: argparse.Namespace) -> Iterator[Executor | None]:
    """Give an executor of the scheduler of `--dask`, or None without that option."""
    if options.dask is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(f"--dask: needs Dask ({error}); pip install m4kit[dask]") from error
    try:
        client = Client(options.dask, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--dask: expected the address of a scheduler, such as tcp://host:8786, got {options.dask} ({error}); "
            "`dask scheduler` starts one and shows its address"
        ) from error
    with client:
        yield client.get_executor()


def shows_progress(options: argparse.Namespace) -> bool:
    """Decide whether to show progress bars: on a terminal, without --quiet. A log would keep each of their states."""
    return not options.quiet and sys.stderr is not None and sys.stderr.isatty()


def say(*lines: object, end: str = "\n") -> None:
    """Print results to stdout, at once. Once nobody reads them, as after `| head`, they are dropped."""
    try:
        print(*lines, sep="\n", end=end, flush=True)
    except OSError as error:
        # So that Python's exit does not try again: the note on SIGPIPE in the documentation of `signal`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            error.filename = "standard output"
            raise


def complain(command: str, message: object) -> None:
    """Print a message of a command to stderr."""
    with suppress(OSError):
        print(f"m4kit {command}: {message}", file=sys.stderr)


def passed_over(paths: Iterable[str], *, recursive: bool = False) -> list[str]:
    """Name the pictures, films and folders that `images.list_images` does not take, in a sentence for each folder."""
    folders = [path for path in map(Path, paths) if path.is_dir()]
    return [sentence for path in folders if (sentence := _passed_over(path, recursive))]


def _passed_over(folder: Path, recursive: bool) -> str:
    from m4kit.images import IMAGE_SUFFIXES

    counts = Counter()
    # `list_images` reports a folder that cannot be read.
    with suppress(OSError):
        results = outputs_in(folder)
        for path in folder.iterdir():
            suffix, kind = path.suffix.lower(), mimetypes.guess_type(path.name, strict=False)[0] or ""
            if path.name.startswith(".") or path.name in results or has_results(path):
                continue
            if path.is_dir():
                counts["folders"] += not recursive
            elif suffix in IMAGE_SUFFIXES:
                counts["broken links"] += not path.exists()
            elif kind.startswith(("image/", "video/")) or suffix in _PICTURES:
                counts[suffix] += 1
    found = ", ".join(f"{word} ({count})" for word, count in sorted(counts.items()) if count)
    remedies = ["give folders by their paths"] if counts.pop("folders", 0) else []
    if set(counts) - {"broken links"}:
        remedies.append("save pictures as JPEG or PNG")
    return f"{folder}: {'; '.join([f'passed over {found}', *remedies])}" if found else ""


def set_up_process() -> None:
    """Prepare the process for the command line.

    - SIGTERM and SIGHUP raise `Stopped`, so that a command writes what it has, as after Ctrl-C.
    - Characters that the terminal cannot show become escapes.
    - A warning is one line, without its place in the code.
    """

    def stop(number, _) -> None:
        raise Stopped(number)

    for name in ("SIGTERM", "SIGHUP"):
        # Windows has no SIGHUP, and `nohup` ignores it.
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
