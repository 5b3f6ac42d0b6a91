"""The command line, `m4kit`.

Each sub-command is a module with a function `add_parser(subparsers)`. It adds a parser and sets `run` to a function
from the parsed arguments to the exit status.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple


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
    """Run the command with `arguments`, by default those of the process, and return the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    about = "Predict 68 landmarks, the head pose and a dense 3D mesh of every face in a photo."
    parser = argparse.ArgumentParser(prog="m4kit", description=about)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    wanted = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        if name == wanted:
            # Only the command that runs is imported, so that --help is fast.
            import_module(command.module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=command.help)
    options = parser.parse_args(words)
    return options.run(options)


def add_parser(subparsers) -> None:
    """Add `m4kit predict`."""
    parser = subparsers.add_parser(
        "predict",
        help=COMMANDS["predict"].help,
        description="Find the faces in photos. Writes to DIR: an overview picture of each photo, faces.csv, "
        "landmarks.json, and index.html, a page that shows all results and works offline.",
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO_OR_FOLDER", help="photos, or folders of photos")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the results, created if missing"
    )
    parser.add_argument(
        "--threshold", type=float, metavar="SCORE", help="lowest score of a detection, 0 to 1 (default: 0.5)"
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
    """Run `m4kit predict`. Returns 0 if all photos were read, 1 if some were not, 2 if it could not start."""
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
    if not photos:
        return _complain(failures) + 1
    names = ("threshold", "passes", "views", "max_faces")
    chosen = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    try:
        predictor = Predictor(**chosen)
    except ValueError as error:
        print(f"m4kit predict: {error}", file=sys.stderr)
        return 2
    try:
        gallery = Gallery(options.out, photos=len(photos))
    except OSError as error:
        print(
            f"m4kit predict: {options.out}: expected a folder to write into, got {error.strerror}; "
            "give another with --out",
            file=sys.stderr,
        )
        return 2
    # disable=None hides the bar if the output is not a terminal.
    for photo in tqdm(photos, desc="photos", unit="photo", disable=True if options.quiet else None):
        start = time.perf_counter()
        try:
            prediction = predictor(photo)
        except ImageError as error:
            failures.append((str(photo), str(error)))
        else:
            gallery.add(prediction, seconds=time.perf_counter() - start)
    for source, message in failures:
        gallery.add_failure(source, message)
    page = gallery.close()
    if not options.quiet:
        print(page)
    return _complain(failures)


def _complain(failures: list[tuple[str, str]]) -> int:
    """Print the photos that were not read to stderr, and return the exit status."""
    if not failures:
        return 0
    print(f"m4kit predict: not read: {len(failures)}", file=sys.stderr)
    for _, message in failures:
        print(f"  {message}", file=sys.stderr)
    return 1
