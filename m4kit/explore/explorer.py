"""What all explorers have in common: a line for complaints, and a still picture for readers without a kernel."""

from __future__ import annotations

import base64

import ipywidgets as widgets

from m4kit.explore.callbacks import Complaints


class Explorer(widgets.VBox):
    """A widget of widgets with `complaints`, in which its callbacks are guarded.

    An explorer makes its `complaints` and children, says what it is in `words`, and draws itself without a browser
    in `still`.
    """

    complaints: Complaints

    @property
    def errors(self) -> list[Exception]:
        """What went wrong in callbacks so far."""
        return self.complaints.errors

    @property
    def words(self) -> str:
        """What is explored, in a line."""
        raise NotImplementedError

    def still(self) -> bytes:
        """A JPEG of what is shown."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options) -> dict:
        # A notebook that is only read, with no kernel behind it, shows the still picture.
        return super()._repr_mimebundle_(**options) | {
            "image/jpeg": base64.b64encode(self.still()).decode(),
            "text/plain": self.words,
        }
