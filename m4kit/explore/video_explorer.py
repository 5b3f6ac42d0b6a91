"""`VideoExplorer`: a video to play and to look into, with its faces as a mesh and over time."""

from __future__ import annotations

from dataclasses import replace

import cv2
import ipywidgets as widgets
import numpy as np

from m4kit.checks import check_number, check_type
from m4kit.explore.controls import choice, faded, row, show_if, toggle
from m4kit.explore.explorer import MeshExplorer
from m4kit.explore.video_player import VideoPlayer, VideoTimeline
from m4kit.images import jpeg
from m4kit.prediction import Face
from m4kit.vertex_colours import clay
from m4kit.video import Video
from m4kit.visualize.drawing import draw_landmarks, pose_text
from m4kit.visualize.mesh_picture import framing, mesh_still
from m4kit.visualize.timeline import SIGNALS, TRACK_COLOURS

MOST_FRAMES = 600
"""A longer video is shown with every second frame, every fourth and so on."""

_SIDE, _QUALITY = 480, 70
_STILL_SIDE, _STILL_QUALITY = 300, 70
_TOGGLES = {
    "mesh": ("Mesh", True, "The face's surface"),
    "wireframe": ("Wireframe", False, "The edges of all triangles"),
}


class VideoExplorer(MeshExplorer):
    """A video with its landmarks, one of its faces as a mesh beside it, and signals over time below.

        VideoExplorer(m4kit.predict_video("clip.mp4"))

    The video is read to its end first. Play it, drag its slider, or click a moment in the timeline. The mesh follows
    the face of the chosen track; it has the mean identity of the track, and its camera turns with the head unless one
    turns it by hand. Long videos are shown with fewer frames (`MOST_FRAMES`).
    """

    def __init__(self, video: Video, *, height: int = 380):
        check_type(video, "VideoExplorer", Video, remedy="m4kit.predict_video makes one")
        super().__init__(height=height, toggles=_TOGGLES)
        self.video = video
        self._read()
        if not self.tracks:
            raise ValueError(
                f"{video.source}: expected a video with at least one face, got none; try a smaller min_face"
            )
        self.track = choice("Track", [(f"track {number}", number) for number in self.tracks])
        show_if(len(self.tracks) > 1, self.track)
        self.turn = toggle("Turn with the head", on=True, tooltip="The camera follows the head's rotation")
        self.outline = toggle("Landmarks", on=True, tooltip="The landmarks over the video")
        self.readout = widgets.HTML()
        self.player = VideoPlayer(
            self._pictures,
            size=self._size,
            frames=self.frames,
            seconds=self.seconds,
            landmarks=self._landmarks,
            tracks=[[face.track for face in faces] for faces in self.faces],
            mesh_id=self.canvas.model_id,
        )
        self.timeline = self._timeline()
        self.canvas.set_panels([""])
        self.canvas.follow([], lambda mode: self._model.expression_modes[mode])
        middle, self.canvas.extent = framing(self._model)
        self.canvas.centre = middle.tolist()
        self.canvas.label = "3D view of the chosen track's face"
        self.on(self.track, self._choose)
        self.on(self.turn, lambda: setattr(self.player, "turn", self.turn.value))
        self.on(self.outline, lambda: setattr(self.player, "outline", self.outline.value))
        self.on(self.player, self._tell, trait="position")
        wide = {"flex": "3 1 360px", "min_width": "280px"}
        left = widgets.VBox([self.player], layout=wide)
        right = widgets.VBox([self.canvas], layout=wide | {"flex": "2 1 280px"})
        self.content = (
            widgets.HBox([left, right], layout={"flex_flow": "row wrap", "grid_gap": "0 12px"}),
            row(self.track, self.outline, self.turn, *self.toggles.values(), label="Show"),
            row(*self.camera_buttons.values(), label="View"),
            self.timeline,
            self.readout,
        )
        self._choose()
        self._tell()

    def _read(self) -> None:
        """Read the video: what the player needs of each frame."""
        self.frames: list[int] = []
        self.seconds: list[float] = []
        self.faces: list[tuple[Face, ...]] = []
        self._pictures, self._landmarks, step = [], [], 1
        scale = min(1.0, _SIDE / max(self.video.size))
        self._size = tuple(max(1, round(side * scale)) for side in self.video.size)
        for number, frame in enumerate(self.video):
            if number % step:
                continue
            if len(self.frames) == MOST_FRAMES:
                for some in (self.frames, self.seconds, self.faces, self._pictures, self._landmarks):
                    del some[1::2]
                step *= 2
                if number % step:
                    continue
            picture = cv2.resize(frame.image, self._size, interpolation=cv2.INTER_AREA)
            self._pictures.append(jpeg(picture, quality=_QUALITY))
            self.frames.append(frame.frame)
            self.seconds.append(frame.seconds)
            points = [(face.landmarks[:, :2] + 0.5) * scale - 0.5 for face in frame]
            self._landmarks.append(np.array(points).reshape(-1, 68, 2))
            # Without the picture and what was computed of the face.
            self.faces.append(tuple(replace(face, origin=None) for face in frame))
        self.tracks = sorted({face.track for faces in self.faces for face in faces})
        self._model = next((face.model for faces in self.faces for face in faces), None)

    def _timeline(self) -> VideoTimeline:
        table = self.video.to_dataframe().set_index(["track", "frame"])[list(SIGNALS)]
        values = np.stack([table.loc[number].reindex(self.frames).to_numpy().T for number in self.tracks])
        return VideoTimeline(
            values,
            seconds=self.seconds,
            titles=list(SIGNALS.values()),
            colours=[TRACK_COLOURS[number % len(TRACK_COLOURS)] for number in self.tracks],
            player_id=self.player.model_id,
        )

    def go_to(self, seconds: float) -> None:
        """Show the frame that is nearest to a time in seconds."""
        check_number(seconds, "seconds")
        self.player.playing = False
        self.player.position = int(np.abs(np.array(self.seconds) - seconds).argmin())

    def look(self, name: str) -> None:
        """Turn the camera to the position of one of the buttons; it no longer turns with the head."""
        if hasattr(self, "turn"):
            self.turn.value = False
        super().look(name)

    def still(self) -> bytes:
        """Draw the frame with its landmarks, and the mesh of the chosen track, as a JPEG, without a browser."""
        position = self.player.position
        picture = cv2.imdecode(np.frombuffer(self._pictures[position], np.uint8), cv2.IMREAD_COLOR_RGB)
        picture = draw_landmarks(picture, self._landmarks[position])
        side = picture.shape[0]
        rotation = self._rotations[position]
        mesh = mesh_still(
            self._model,
            self._vertices(self._expressions[position]),
            clay(self._model),
            rotation=rotation if np.isfinite(rotation).all() else np.eye(3),
            side=side,
        )
        both = np.hstack([picture, mesh])
        scale = min(1.0, _STILL_SIDE / side)
        both = cv2.resize(both, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return jpeg(both, quality=_STILL_QUALITY)

    def describe(self) -> str:
        count = len(self.tracks)
        return f"VideoExplorer of {self.video.source}, {len(self.frames)} frames, {count} track{'s' * (count > 1)}"

    def _choose(self) -> None:
        """Show the mesh of the chosen track."""
        chosen = [
            next((face for face in faces if face.track == self.track.value), None) for faces in self.faces
        ]
        seen = [face for face in chosen if face is not None]
        self._identity = np.mean([face.identity for face in seen], axis=0)
        absent = np.full(len(seen[0].expression), np.nan), np.full((3, 3), np.nan)
        both = [absent if face is None else (face.expression, face.rotation) for face in chosen]
        self._expressions, self._rotations = (np.array(some, dtype=float) for some in zip(*both, strict=True))
        self.canvas.set_mesh(self._vertices(None), self._model.triangles)
        self.canvas.set_vertices(
            self._vertices(None), at={mode: 0.0 for mode in range(self._expressions.shape[1])}
        )
        self.canvas.set_colours(clay(self._model).colours)
        self.player.follow(self.track.value, self._expressions, self._rotations)

    def _vertices(self, expression: np.ndarray | None) -> np.ndarray:
        """The mesh (V, 3) in mm of the chosen track with an expression (10,); neutral for None or NaN."""
        if expression is not None and not np.isfinite(expression).all():
            expression = None
        return self._model.vertices(self._identity, expression)

    def _tell(self) -> None:
        """Say what is seen at the present frame."""
        faces = sorted(self.faces[self.player.position], key=lambda face: face.track)
        lines = [f"Track {face.track}: {pose_text(face.pose)}" for face in faces]
        self.readout.value = faded(". ".join(lines) or "No face in this frame.")
