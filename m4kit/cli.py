"""The command line `m4kit`.

Each sub-command is a module with a function `add_arguments(parser)`. It also sets defaults of the parser: `run`,
which maps the parsed arguments to the exit status, and `when_stopped`, the message after Ctrl-C, if any.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from m4kit import __version__
from m4kit.commands import complain, say, set_up_process
from m4kit.files import FULL_DISK, UnwrittenError


class Command(NamedTuple):
    """The module of a sub-command and its line in `m4kit --help`."""

    module: str
    help: str


COMMANDS = {
    "predict": Command(
        "m4kit.predict_command", "find the faces in photos; write a table, a web page and pictures"
    ),
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
    """Return the message of an error. If the system's error names no file, it is about writing into `out`."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    remedy = "make room" if error.errno in FULL_DISK else "check the path and its permissions"
    return f"{error.filename or out}: {error.strerror}; {remedy}, and run the same command again"
