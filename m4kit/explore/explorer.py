"""The base classes of all explorers."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ipywidgets as widgets
import numpy as np

from m4kit.checks import check_whole
from m4kit.explore.canvas import Canvas
from m4kit.explore.controls import ErrorLine, button, toggle
from m4kit.live import CAMERAS, save_page
from m4kit.metrics import rotation_error
from m4kit.visualize.pictures import picture_bundle

AS_IN_PHOTO = "As in photo"

_WIDGET = "application/vnd.jupyter.widget-view+json"
_OUTPUT = ".jp-OutputArea-child"
# For a widget whose kernel is gone, JupyterLab shows an error in place of the output's other formats. So the picture
# is an output of its own, and the style in the note below it hides what is not to be seen: picture and note beside a
# live explorer, and otherwise the error. JupyterLab drops the style from a notebook that it does not trust; there it
# shows neither widgets nor the error.
_NOTE = f"""<style>
{_OUTPUT}:has(+ {_OUTPUT} .m4kit-still):has(+ * + {_OUTPUT} .m4kit-explorer),
{_OUTPUT}:has(.m4kit-still):has(+ {_OUTPUT} .m4kit-explorer),
{_OUTPUT}:has(.m4kit-still) + {_OUTPUT}:has(> .jp-OutputArea-output.jupyter-widgets) {{ display: none }}
</style>
<em class="m4kit-still">A still picture. Run the notebook to make it live.</em>"""

_HARDLY_TURNED = 3.0
"""Degrees: a few clicks can turn a view by less than this without intent."""


class Explorer(widgets.VBox):
    """A widget made of controls and views, with a line below them that shows what went wrong.

    A subclass calls `super().__init__()` first, then makes its controls, connects them with `on`, and sets `content`.
    ipywidgets drops exceptions of callbacks, so a user would see nothing happen and a test would pass. `on` and
    `guard` record them in `errors` and show the last one in `error_line`; the explorer goes on.

    JupyterLab delivers messages in several threads. Callbacks hold `lock`, so that no two run at once.
    """

    def __init__(self):
        self.errors: list[Exception] = []
        self.error_line = ErrorLine()
        self.lock = threading.RLock()
        self._quiet = False
        super().__init__()
        # The note of the still picture and `live/js/keyboard.js` find explorers by this class.
        self.add_class("m4kit-explorer")

    @property
    def content(self) -> tuple[widgets.Widget, ...]:
        """The rows of the explorer, without the line for errors."""
        return self.children[:-1]

    @content.setter
    def content(self, rows) -> None:
        self.children = (*rows, self.error_line)

    def on(self, control: widgets.Widget, call: Callable[[], object], *, trait: str = "value") -> None:
        """Run `call()` when a button is clicked, or when the trait of another control changes.

        Exceptions are shown, and nothing runs within `together`.
        """
        guarded = self.guard(call)

        def changed(_change) -> None:
            # Waits until another thread has left `together`.
            with self.lock:
                if not self._quiet:
                    guarded()

        if isinstance(control, widgets.Button):
            control.on_click(changed)
        else:
            control.observe(changed, trait)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Change several controls as one: within the block, no callback of `on` runs."""
        with self.lock:
            before, self._quiet = self._quiet, True
            try:
                yield
            finally:
                self._quiet = before

    def guard(self, call: Callable) -> Callable:
        """Wrap a function, so that its exceptions are recorded and shown, and not raised."""

        @functools.wraps(call)
        def guarded(*args, **kwargs):
            with self.lock:
                try:
                    result = call(*args, **kwargs)
                # Whatever it is, the user must see it, and the explorer must go on.
                except Exception as error:
                    self.errors.append(error)
                    self.error_line.show(_for_users(error))
                    return None
                self.error_line.show("")
                return result

        return guarded

    def describe(self) -> str:
        """Say in one line what is explored."""
        return type(self).__name__

    def still(self) -> bytes:
        """Draw what is shown as a PNG or JPEG, without a browser; empty if there is none."""
        return b""

    def _repr_mimebundle_(self, **options) -> dict:
        bundle = super()._repr_mimebundle_(**options) | {"text/plain": self.describe()}
        still = self.still()
        return bundle | picture_bundle(still) if still else bundle

    def _ipython_display_(self) -> None:
        # Readers of a saved notebook see the still picture, whatever shows the notebook.
        from IPython.display import display

        bundle = self._repr_mimebundle_()
        widget = bundle.pop(_WIDGET)
        for output in (bundle, {"text/html": _NOTE}, {_WIDGET: widget}):
            display(output, raw=True)


def _for_users(error: Exception) -> str:
    """Write an error as a sentence; the name of its class only where the message alone does not explain it."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if str(error) and isinstance(error, ValueError | OSError | RuntimeError):
        return str(error)
    return f"This is a fault in m4kit, please report it: {type(error).__name__}: {error}"


class MeshExplorer(Explorer):
    """An explorer with a 3D view (`canvas`), buttons for camera positions, and toggles for what is visible.

    `toggles` maps the names of `Canvas.show` to (label, whether it is on, tooltip). `start` is the camera position at
    the start, which "Reset" and a double click bring back.
    """

    start = "Front"

    def __init__(
        self, *, height: int, toggles: Mapping[str, tuple[str, bool, str]], photo: bool = False, **canvas
    ):
        height = check_whole(height, f"{type(self).__name__}: height, pixels", least=1)
        super().__init__()
        # The rotation of "As in photo", if that was the last position chosen.
        self._photo_view: np.ndarray | None = None
        self.canvas = Canvas(height=height, **canvas)
        self.canvas.show = {name: on for name, (_, on, _) in toggles.items()}
        self.canvas.on_reset = self.guard(self.reset)
        self.canvas.still = self.still
        self.toggles = {name: toggle(label, on=on, tooltip=tip) for name, (label, on, tip) in toggles.items()}
        for name, control in self.toggles.items():
            self.on(control, functools.partial(self._toggle, name))
        names = (*CAMERAS, AS_IN_PHOTO) if photo else tuple(CAMERAS)
        self.camera_buttons = {name: button(name) for name in names}
        for name, control in self.camera_buttons.items():
            self.on(control, functools.partial(self.look, name))
        tip = "The camera position at the start, as a double click does"
        self.camera_buttons["Reset"] = button("Reset", tooltip=tip)
        self.on(self.camera_buttons["Reset"], self.reset)

    def camera(self, name: str) -> np.ndarray:
        """Return the rotation (3, 3) of a camera position of `CAMERAS`; a subclass adds "As in photo"."""
        return CAMERAS[name]

    def look(self, name: str) -> None:
        """Turn the camera to the position of one of the buttons; zoom and pan go back."""
        known = [known for known in self.camera_buttons if known != "Reset"]
        if name not in known:
            raise ValueError(f"expected a camera position out of {', '.join(known)}, got {name!r}")
        rotation = self.camera(name)
        self._photo_view = rotation if name == AS_IN_PHOTO else None
        self.canvas.look(rotation)

    def follow_photo(self) -> None:
        """Call this when the face has changed: if the last was seen as in the photo, so is this; zoom and pan stay.

        A camera in another position, or turned by hand, stays.
        """
        if self._photo_view is None:
            return
        rotation = np.reshape(self.canvas.camera["rotation"], (3, 3))
        if rotation_error(rotation, self._photo_view) < _HARDLY_TURNED:
            self._photo_view = self.camera(AS_IN_PHOTO)
            self.canvas.camera = self.canvas.camera | {"rotation": self._photo_view.ravel().tolist()}
        else:
            self._photo_view = None

    def reset(self) -> None:
        """Turn the camera to where it was at the start."""
        self.look(self.start)

    def to_html(self, path: str | Path | None = None) -> str | Path:
        """Make a page that works offline and without a kernel, with the same view and the controls that need none.

        Writes it to `path`, which is returned; without a path, returns the page as text.
        """
        return save_page(self.page(), path)

    def page(self) -> str:
        """Make the page of `to_html`."""
        raise NotImplementedError(f"{type(self).__name__} has no page that works without a kernel")

    def _toggle(self, name: str) -> None:
        self.canvas.show = self.canvas.show | {name: self.toggles[name].value}
        self._toggled(name)

    def _toggled(self, name: str) -> None:
        """Send what a toggle that was pressed needs."""
