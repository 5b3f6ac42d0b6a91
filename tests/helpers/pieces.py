"""Pieces of work for executors: functions of a module, because they go to other processes.

PyTorch is imported by those that need it, which takes a worker seconds.
"""

import os
import time
from pathlib import Path

DEADLY_WIDTH = 130
"""Photos of this width end the process that searches them for faces, unless it is that of the tests."""


def squares(items):
    """The squares of numbers."""
    return [item**2 for item in items]


def squares_unless_deadly(items):
    """The squares of numbers; a 13 ends the process."""
    if 13 in items:
        os._exit(1)
    time.sleep(0.02)
    return squares(items)


def slow_squares(items):
    """The squares of numbers, after a while."""
    time.sleep(0.1)
    return squares(items)


def slow_by_width(image):
    """A detector as `predictors.by_width`, after a while."""
    from helpers.predictors import by_width

    time.sleep(0.2)
    return by_width(image)


class DiesOnce:
    """The squares of numbers; the first process that gets a 13 ends, and leaves a file that says so."""

    def __init__(self, folder):
        self.note = Path(folder) / "died"

    def __call__(self, items):
        if 13 in items and not self.note.exists():
            self.note.touch()
            os._exit(1)
        return squares(items)


def refuses(items):
    """Work that fails for a reason of its own."""
    raise LookupError("no weights here")


def deadly(image):
    """A detector as `predictors.by_width`, which ends a worker process at a photo of `DEADLY_WIDTH`."""
    # Dask's workers have this in their environment.
    if image.shape[1] == DEADLY_WIDTH and "M4KIT_TEST_WORKER" in os.environ:
        os._exit(1)
    from helpers.predictors import by_width

    return by_width(image)
