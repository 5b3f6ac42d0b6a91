"""The command `m4kit`.

Each of its sub-commands is a module with a function `add_parser(subparsers)`, which adds a parser that sets
`run` to a function of the parsed arguments that gives the exit status.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple


class Command(NamedTuple):
    """Where a sub-command lives, and what `m4kit --help` says of it."""

    module: str
    help: str


COMMANDS = {
    "predict": Command("m4kit.cli", "find the faces in photos and draw them, into a folder with a web page"),
    "evaluate": Command("m4kit.evaluate.command", "measure a network's errors on a data set"),
    "scenes": Command("m4kit.scenes.command", "find out where the system fails on hard scenes"),
    "ablate": Command("m4kit.ablation.command", "measure what a choice in the network does to its accuracy"),
    "train": Command("m4kit.training.command", "train M4Net"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (those of the process by default) and give its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    about = "Every face in a photo as 68 landmarks, a head pose and a dense 3D mesh."
    parser = argparse.ArgumentParser(prog="m4kit", description=about)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    wanted = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        if name == wanted:
            # Only the command that runs is loaded, so that help comes at once.
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
        description="Find the faces in photos. Writes into DIR an overview picture of each photo, faces.csv, "
        "landmarks.json and index.html, which shows everything and opens offline.",
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO_OR_FOLDER", help="photos, or folders of photos")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results, made if missing")
    parser.add_argument(
        "--threshold", type=float, metavar="SCORE", help="least score of the detector for a face, 0 to 1"
    )
    parser.add_argument("--passes", type=int, metavar="N", help="times each face is cropped anew")
    parser.add_argument(
        "--views",
        type=int,
        metavar="N",
        help="average over 2 or 6 views of each crop, for a lower error in more time (default: 1)",
    )
    parser.add_argument("--max-faces", type=int, metavar="N", help="keep only the N largest faces of a photo")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no closing line")
    parser.set_defaults(run=predict)


def predict(options: argparse.Namespace) -> int:
    """Run `m4kit predict`: 0 if every photo was read, 1 if some were not, 2 if it could not start."""
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
    # Without a terminal (`disable=None`) a bar would only fill a log.
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
    """Say on stderr what was not read; the exit status, 1 if anything."""
    if not failures:
        return 0
    print(f"m4kit predict: not read: {len(failures)}", file=sys.stderr)
    for _, message in failures:
        print(f"  {message}", file=sys.stderr)
    return 1
