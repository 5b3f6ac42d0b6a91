"""A player for a video and a timeline of its signals: the part in the kernel. The browser's part is in `live/js/`.

Pictures travel as JPEGs in messages that the browser asks for, because Jupyter drops messages of a kernel that sends
more than a megabyte a second. Playing and going to a moment happen in the browser alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import traitlets

from m4kit.explore.javascript import MessageView
from m4kit.landmarks import CONTOURS
from m4kit.live.scripts import module

PICTURES_BYTES = 150_000
"""About the size of a message with pictures."""

_SUBPIXELS = 8


class VideoPlayer(MessageView):
    """Shows the frames of a clip with their landmarks, plays them, and moves the mesh of a `Canvas`.

    - `position`: the place of the shown frame among the clip's frames. The browser moves it while it plays, and tells
      the kernel when it stops; setting it here goes to that frame.
    - `playing`: whether it plays.
    - `turn`: whether the canvas's camera follows the head's rotation.
    - `outline`: whether landmarks are drawn.
    - `mesh_id`: the model id of the canvas.
    """

    _esm = module("geometry", "video_player")

    position = traitlets.Int(0).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    turn = traitlets.Bool(True).tag(sync=True)
    outline = traitlets.Bool(True).tag(sync=True)
    mesh_id = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        pictures: Sequence[bytes],
        *,
        size: tuple[int, int],
        frames: Sequence[int],
        seconds: Sequence[float],
        landmarks: Sequence[np.ndarray],
        tracks: Sequence[Sequence[int]],
        **traits,
    ):
        """Take a clip of n frames: JPEGs of `size` (width, height), numbers, times, landmarks (faces, 68, 2), tracks.

        Landmarks are in pixels of the JPEGs, and `tracks` has the number of each face.
        """
        super().__init__(**traits)
        self.pictures = list(pictures)
        points = np.concatenate([np.zeros((0, 68, 2)), *landmarks]) * _SUBPIXELS
        firsts = np.cumsum([0, *(len(some) for some in landmarks)])
        numbers = [number for some in tracks for number in some]
        self._clip = (
            {
                "kind": "clip",
                "width": size[0],
                "height": size[1],
                "frames": list(frames),
                "seconds": list(seconds),
                "contours": [[indices, f"rgb{colour}"] for indices, colour in CONTOURS],
            },
            [
                np.clip(np.rint(points), -32768, 32767).astype("<i2").tobytes(),
                firsts.astype("<i4").tobytes(),
                np.array(numbers, dtype="<i4").tobytes(),
            ],
        )
        self._track: tuple[dict, list[bytes]] | None = None

    def follow(self, track: int, expressions: np.ndarray, rotations: np.ndarray) -> None:
        """Move the mesh as a track does: expression (n, k) and rotation (n, 3, 3), NaN where it is absent."""
        modes = list(range(expressions.shape[1]))
        buffers = [np.ascontiguousarray(some, dtype="<f4").tobytes() for some in (expressions, rotations)]
        self._track = {"kind": "track", "track": track, "modes": modes}, buffers
        self.send(*self._track)

    def on_ready(self) -> None:
        """Send the clip without its pictures."""
        self.send_state(("position", "playing", "turn", "outline", "mesh_id"))
        self.send(*self._clip)
        if self._track is not None:
            self.send(*self._track)

    def on_message(self, content: dict) -> None:
        """Send the pictures from a frame on, as many as a message holds."""
        first = int(content["first"])
        last, size = first, 0
        while last < len(self.pictures) and (
            last == first or size + len(self.pictures[last]) <= PICTURES_BYTES
        ):
            size += len(self.pictures[last])
            last += 1
        self.send({"kind": "pictures", "first": first}, self.pictures[first:last])


class VideoTimeline(MessageView):
    """Signals over time, a row each, with a line at a player's position; a click goes to its moment.

    `player_id` is the model id of the `VideoPlayer`.
    """

    _esm = module("geometry", "video_timeline")

    player_id = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        values: np.ndarray,
        *,
        seconds: Sequence[float],
        titles: Sequence[str],
        colours: Sequence[str],
        **traits,
    ):
        """Take values (tracks, signals, n), NaN where a track is absent; titles of signals and colours of tracks."""
        super().__init__(**traits)
        content = {"seconds": list(seconds), "titles": list(titles), "colours": list(colours)}
        self._content = content, [np.ascontiguousarray(values, dtype="<f4").tobytes()]

    def on_ready(self) -> None:
        """Send all."""
        self.send(*self._content)
