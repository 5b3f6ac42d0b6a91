"""The command line `m4kit`, and its command `m4kit predict`.

Each sub-command is a module with a function `add_arguments(parser)`. It also sets defaults of the parser: `run`,
which maps the parsed arguments to the exit status, and `when_stopped`, the message after Ctrl-C, if any.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from m4kit import __version__
from m4kit.commands import (
    add_detection,
    complain,
    folder_argument,
    given_options,
    passed_over,
    path_argument,
    say,
    set_up_process,
    shows_progress,
)
from m4kit.files import FULL_DISK, UnwrittenError, reason_of


class Command(NamedTuple):
    """The module of a sub-command and its line in `m4kit --help`."""

    module: str
    help: str


COMMANDS = {
    "predict": Command("m4kit.cli", "find the faces in photos; write pictures, tables and a web page"),
    "evaluate": Command("m4kit.evaluate.command", "measure a network's errors on a data set"),
    "scenes": Command("m4kit.scenes.command", "analyse on which hard scenes the system fails, and why"),
    "ablate": Command("m4kit.ablation.command", "measure how a choice in the network changes its accuracy"),
    "train": Command("m4kit.training.command", "train M4Net"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments`, by default those of the process, and return the exit status.

    - 0: everything is done.
    - 1: a photo could not be read, or a file did not fit into the folder of results; the rest is done.
    - 2: an error ended the command.
    - 128 and the signal's number: stopped by Ctrl-C, SIGTERM or SIGHUP.
    """
    if arguments is not None:
        return _run(list(arguments))
    set_up_process()
    try:
        return _run(sys.argv[1:])
    finally:
        # What argparse printed.
        say(end="")


def _run(words: list[str]) -> int:
    about = "Predict 68 landmarks, the head pose and a dense 3D mesh of every face in a photo."
    parser = argparse.ArgumentParser(prog="m4kit", description=about)
    parser.add_argument("--version", action="version", version=f"m4kit {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    wanted = next((word for word in words if not word.startswith("-")), None)
    options = argparse.Namespace(out=None, when_stopped="")
    try:
        for name, command in COMMANDS.items():
            own = subparsers.add_parser(name, help=command.help)
            # Only the command that runs is imported, so that --help is fast.
            if name == wanted:
                import_module(command.module).add_arguments(own)
        parser.parse_args(words, options)
        return options.run(options)
    # Nobody reads the help that argparse prints; Python 3.11.2's raises this, later ones do not.
    except BrokenPipeError:
        return 0
    # m4kit's own errors are ValueErrors.
    except (ValueError, OSError) as error:
        complain(wanted, _in_words(error, options.out))
        return 1 if isinstance(error, UnwrittenError) else 2
    except KeyboardInterrupt as stop:
        complain(wanted, "; ".join(filter(None, ("stopped", options.when_stopped))))
        return getattr(stop, "status", 128 + signal.SIGINT)


def _in_words(error: ValueError | OSError, out: Path | None) -> str:
    """The message of an error. One of the operating system that names no file is one of writing into `out`."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    remedy = "make room" if error.errno in FULL_DISK else "check the path and its permissions"
    return f"{error.filename or out}: {error.strerror}; {remedy}, and run the same command again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `m4kit predict`."""
    parser.description = (
        "Find the faces in photos. Writes to DIR: an overview picture of each photo, faces.csv, "
        "landmarks.json, and index.html, a page that shows all results and works offline."
    )
    parser.add_argument(
        "photos",
        nargs="+",
        type=path_argument,
        metavar="PHOTO_OR_FOLDER",
        help="photos, or folders of photos",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=folder_argument,
        metavar="DIR",
        help="folder for the results, created if missing; only results of earlier runs are replaced in it",
    )
    add_detection(parser)
    parser.add_argument("--passes", type=int, metavar="N", help="how often each face is cropped (default: 2)")
    parser.add_argument(
        "--views",
        type=int,
        metavar="N",
        help="average over 2 or 6 views of each crop: lower error, but slower (default: 1)",
    )
    parser.add_argument(
        "--engine", metavar="NAME", help="what runs the networks: onnx (default, twice as fast) or torch"
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress bar and no path")
    parser.set_defaults(run=predict, when_stopped="the results so far are in the folder of --out")


def predict(options: argparse.Namespace) -> int:
    """Run `m4kit predict`; returns 1 if a photo could not be read, else 0."""
    from tqdm import tqdm

    from m4kit.images import ImageError, list_images
    from m4kit.predict_page import Gallery
    from m4kit.predictor import Predictor

    photos, failures, noted = [], [], []
    for given in options.photos:
        try:
            photos += list_images(given)
        except ImageError as error:
            failures.append((given, str(error)))
    for line in () if options.quiet else passed_over(options.photos):
        complain("predict", line)
    if not photos:
        raise ImageError("\n  ".join(message for _, message in failures))
    chosen = given_options(options, "threshold", "min_face", "passes", "views", "max_faces", "engine")
    gallery, predictor = Gallery(options.out, photos), Predictor(**chosen)
    try:
        with warnings.catch_warnings(record=True) as noted, gallery:
            warnings.simplefilter("always")
            for source, message in failures:
                gallery.add_failure(source, message)
            for photo in tqdm(photos, desc="photos", unit="photo", disable=not shows_progress(options)):
                start = time.perf_counter()
                try:
                    gallery.add(predictor(photo), seconds=time.perf_counter() - start)
                # One odd photo must not cost the others: a decoder may raise anything, and the memory may end.
                except Exception as error:
                    reason = reason_of(error)
                    failures.append((str(photo), reason if str(photo) in reason else f"{photo}: {reason}"))
                    gallery.add_failure(*failures[-1])
        if not options.quiet:
            say(gallery.page)
    finally:
        # Nobody sees a warning in the middle of many photos.
        for message in dict.fromkeys(str(warning.message) for warning in noted):
            complain("predict", f"warning: {message}")
        if failures:
            complain("predict", "\n  ".join([f"not read: {len(failures)}", *(text for _, text in failures)]))
    return int(bool(failures))
