"""The command line, `m4kit`.

Each sub-command is a module with a function `add_parser(subparsers)`. It adds a parser and sets `run` to a function
from the parsed arguments to the exit status.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from m4kit import __version__
from m4kit.commands import as_process, complain, folder_argument, passed_over, path_argument, shows_progress
from m4kit.files import reason_of


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

    Ctrl-C, SIGTERM and SIGHUP let the command write what it has, and give 128 and the signal's number.
    """
    if arguments is not None:
        return _run(list(arguments))
    with as_process() as lost:
        status = _run(sys.argv[1:])
    if lost:
        print(f"m4kit: not everything was printed: {lost[0].strerror}", file=sys.stderr)
    return status or int(bool(lost))


def _run(words: list[str]) -> int:
    about = "Predict 68 landmarks, the head pose and a dense 3D mesh of every face in a photo."
    parser = argparse.ArgumentParser(prog="m4kit", description=about)
    parser.add_argument("--version", action="version", version=f"m4kit {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    wanted = next((word for word in words if not word.startswith("-")), None)
    try:
        for name, command in COMMANDS.items():
            if name == wanted:
                # Only the command that runs is imported, so that --help is fast.
                import_module(command.module).add_parser(subparsers)
            else:
                subparsers.add_parser(name, help=command.help)
        options = parser.parse_args(words)
        return options.run(options)
    except KeyboardInterrupt as stop:
        print(f"m4kit {wanted}: stopped", file=sys.stderr)
        return getattr(stop, "status", 128 + signal.SIGINT)


def add_parser(subparsers) -> None:
    """Add `m4kit predict`."""
    parser = subparsers.add_parser(
        "predict",
        help=COMMANDS["predict"].help,
        description="Find the faces in photos. Writes to DIR: an overview picture of each photo, faces.csv, "
        "landmarks.json, and index.html, a page that shows all results and works offline.",
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
    parser.add_argument(
        "--threshold", type=float, metavar="SCORE", help="lowest score of a detection, 0 to 1 (default: 0.5)"
    )
    parser.add_argument(
        "--min-face",
        type=float,
        metavar="PIXELS",
        help="side of the smallest face, in pixels of the photo, or below 1 as a share of its longer side",
    )
    parser.add_argument("--passes", type=int, metavar="N", help="how often each face is cropped (default: 2)")
    parser.add_argument(
        "--views",
        type=int,
        metavar="N",
        help="average over 2 or 6 views of each crop: lower error, but slower (default: 1)",
    )
    parser.add_argument("--max-faces", type=int, metavar="N", help="keep only the N largest faces of a photo")
    parser.add_argument("--quiet", action="store_true", help="print no progress bar and no path")
    parser.set_defaults(run=predict)


def predict(options: argparse.Namespace) -> int:
    """Run `m4kit predict`.

    Returns 0 if all photos were read and everything was written, 1 if not, 2 if it could not start.
    """
    from tqdm import tqdm

    from m4kit.images import ImageError, list_images
    from m4kit.predict_page import Gallery
    from m4kit.predictor import Predictor

    photos, failures = [], []
    for given in options.photos:
        try:
            photos += list_images(given)
        except ImageError as error:
            failures.append((given, str(error)))
    left_out = [] if options.quiet else passed_over(options.photos)
    if not photos:
        return _sum_up(failures, left_out=left_out) + 1
    names = ("threshold", "min_face", "passes", "views", "max_faces")
    chosen = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    try:
        gallery = Gallery(options.out, photos)
        predictor = Predictor(**chosen)
        # A warning in the middle of many photos is not seen.
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
    # Options out of range, broken weights, and a folder that cannot be written to or holds other files.
    except ValueError as error:
        complain("predict", error)
        return 2
    except KeyboardInterrupt:
        complain("predict", f"the photos until there are in {options.out}")
        raise
    if not options.quiet:
        print(gallery.page)
    for message in dict.fromkeys(str(warning.message) for warning in noted):
        complain("predict", f"warning: {message}")
    return _sum_up(failures, gallery.unwritten, left_out)


def _sum_up(
    unread: Sequence[tuple[str, str]],
    unwritten: Sequence[str] = (),
    left_out: Sequence[str] = (),
) -> int:
    """Print what was not read, not written or left out to stderr, and return the exit status."""
    for word, messages in (("read", [message for _, message in unread]), ("written", unwritten)):
        if messages:
            complain("predict", "\n  ".join([f"not {word}: {len(messages)}", *messages]))
    for line in left_out:
        complain("predict", line)
    return 1 if unread or unwritten else 0
