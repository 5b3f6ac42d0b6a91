"""One place where what goes wrong in a widget's callback is recorded and shown.

ipywidgets swallows exceptions of callbacks: the user would see nothing happen, and a test would pass.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable

import ipywidgets as widgets


class Complaints(widgets.HTML):
    """The line of an explorer that says what went wrong; empty while all is well.

    `errors` keeps every exception that a guarded callback raised.
    """

    def __init__(self):
        super().__init__()
        self.errors: list[Exception] = []
        self.words = ""

    def guard(self, function: Callable) -> Callable:
        """The function, with its exceptions recorded and shown here instead of raised."""

        @functools.wraps(function)
        def guarded(*args, **kwargs):
            try:
                result = function(*args, **kwargs)
            # Whatever it is, the user must see it, and the explorer must go on.
            except Exception as error:
                self.errors.append(error)
                self.say(f"{type(error).__name__}: {error}")
                return None
            self.say("")
            return result

        return guarded

    def say(self, words: str) -> None:
        """Show a sentence; the empty one shows nothing."""
        self.words = words
        style = "color: var(--jp-error-color1, #b00020); line-height: 1.4"
        value = f'<div role="alert" style="{style}">{html.escape(words)}</div>' if words else ""
        if self.value != value:
            self.value = value
