"""Turns a video into predictions, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from m4kit.camera import HeadPose
from m4kit.checks import check_flag, check_type, check_whole
from m4kit.confidence import assess
from m4kit.parameters import split
from m4kit.prediction import Face, Origin, Prediction
from m4kit.predictor import Predictor, predictor_with
from m4kit.video.files import VideoError, VideoReader, video_writer
from m4kit.video.tracking import Tracker

if TYPE_CHECKING:
    import pandas

_LIPS = 62, 66
_LIDS = np.array([(37, 41), (38, 40), (43, 47), (44, 46)])
_COLUMNS = (
    *("frame", "seconds", "track", "left", "top", "right", "bottom", "score"),
    *HeadPose._fields,
    *("mouth_opening", "eye_opening", "failure_probability"),
)


class _Known(NamedTuple):
    """What is kept of a frame: its faces, without the picture, and their failure probabilities, where measured."""

    number: int
    seconds: float
    faces: tuple[Face, ...]
    probabilities: tuple[float | None, ...]


class Video:
    """The faces of a video, frame by frame; `predict_video` makes it.

        for frame in video:                  # a Prediction of each frame
            frame.frame, frame.seconds       # its number, and the time at which it is shown
            for face in frame:
                face.track                   # the same number in all frames of a face

    Frames are read and predicted as the loop asks for them, and only their faces are kept, about 2 kB each. A second
    loop reads the file again, and predicts only frames that the first one did not reach. `to_dataframe` and
    `save_overlay` go on to the end of the video.

    `source` is the video's name, `size` its (width, height) in pixels, `fps` its mean number of frames a second.
    """

    def __init__(
        self,
        source: str | PathLike | int,
        predictor: Predictor,
        *,
        every: int,
        smooth: bool,
        progress: bool,
    ):
        self._path, self._every, self._progress = source, every, progress
        # Opened here, so that what is no video raises its error at once.
        self._reader: VideoReader | None = VideoReader(source, every=every)
        self.source, self.size, self.fps = self._reader.name, self._reader.size, self._reader.fps
        self._camera = self._reader.camera
        self._notes = predictor.engine.notes
        self._tracker = Tracker(predictor, smooth=smooth)
        self._known: list[_Known] = []

    def __repr__(self) -> str:
        width, height = self.size
        return f"Video({self.source!r}, {width}x{height} pixels, {self.fps:.4g} frames a second)"

    def __iter__(self) -> Iterator[Prediction]:
        """Give the predicted frames in order. Raises `VideoError` for a camera that was read before."""
        reader, self._reader = self._reader, None
        if reader is None and self._camera:
            raise VideoError(f"{self.source}: a camera's frames are not kept; call predict_video again")
        reader = reader or VideoReader(self._path, every=self._every)
        total = reader.count and -(-reader.count // self._every)
        bar = tqdm(reader, desc=self.source, unit="frame", total=total, disable=not self._progress)
        for place, (number, seconds, image) in enumerate(bar):
            name = f"{self.source}, frame {number}"
            if place >= len(self._known):
                self._known.append(self._predicted(image, number, seconds, name))
            known = self._known[place]
            origin = Origin(image, self._notes["fingerprint"], "", assess)
            faces = tuple(replace(face, origin=origin) for face in known.faces)
            yield Prediction(
                image, faces, source=name, network=self._notes["heads_digest"], frame=number, seconds=seconds
            )

    def _predicted(self, image: np.ndarray, number: int, seconds: float, name: str) -> _Known:
        faces = self._tracker(image, seconds, name=name)
        measured = self._tracker.detected == seconds
        probabilities = tuple(face.failure_probability if measured else None for face in faces)
        return _Known(number, seconds, tuple(replace(face, origin=None) for face in faces), probabilities)

    def _to_end(self) -> list[_Known]:
        """Predict all frames, to the end of a file, or as far as a camera was read."""
        if not self._camera:
            for _ in self:
                pass
        return self._known

    def to_dataframe(self) -> pandas.DataFrame:
        """Make one row per face and frame, after reading to the end; of a camera, those frames that were read.

        - `frame`, `seconds`: the frame's number and time; `track`: the face's number;
        - `left`, `top`, `right`, `bottom`, `score`: the detector's box in pixels. Between its runs, about three times
          a second, the box moves with the landmarks and the score stays;
        - `yaw`, `pitch`, `roll`: head pose in degrees;
        - `mouth_opening`, `eye_opening`: the gap between the inner lips and that between the lids, mean of both eyes,
          in mm of the face model, whatever the pose;
        - `failure_probability`: measured when the detector runs, NaN otherwise.
        """
        import pandas

        frames = self._to_end()
        openings = iter(_openings([face for frame in frames for face in frame.faces]))
        rows = []
        for frame in frames:
            for face, probability in zip(frame.faces, frame.probabilities, strict=True):
                start = frame.number, frame.seconds, face.track
                rows.append((*start, *np.asarray(face.box), *face.pose, *next(openings), probability))
        kinds = dict.fromkeys(_COLUMNS, float) | dict.fromkeys(("frame", "track"), int)
        return pandas.DataFrame(rows, columns=_COLUMNS).astype(kinds)

    def save_overlay(
        self,
        path: str | PathLike,
        *,
        landmarks: bool = True,
        pose: bool = True,
        mesh: bool | float = False,
        boxes: bool = False,
    ) -> Path:
        """Write the video with layers drawn over it, as `Prediction.plot` does; gives the path.

        The ending is .mp4, .webm (which browsers play), .avi or .mkv. The sound is not written. Raises `VideoError`
        for another ending, a folder that does not exist, and for a camera.
        """
        from m4kit.visualize.drawing import check_layers, draw_layers

        layers = {"landmarks": landmarks, "pose": pose, "mesh": mesh, "boxes": boxes}
        check_layers(**layers)
        if self._camera:
            raise VideoError(
                f"{self.source}: a camera's frames are not kept; draw on them in the loop, with m4kit.visualize"
            )
        rate = self.fps / self._every
        with video_writer(path, size=self.size, fps=rate) as write:
            for frame in self:
                write(draw_layers(frame.image, frame.faces, **layers), frame.seconds)
        return Path(path)


def predict_video(
    source: str | PathLike | int,
    *,
    every: int = 1,
    smooth: bool = True,
    progress: bool = True,
    **options,
) -> Video:
    """Predict landmarks, head pose and mesh of every face in a video, and follow each face from frame to frame.

    `source` is a path, or 0 for the first camera. Of `every` frames the first one is predicted. With `smooth`,
    One-Euro filters smooth place, size, turn and expression of each face over time, and its identity is averaged.
    `progress` shows a bar. The other options are those of `Predictor`, except for `try_turns`.

    Raises `VideoError` for a file that is no video, has no frames or no frame rate, or that cannot be decoded.

        >>> for frame in m4kit.predict_video("clip.mp4"):  # doctest: +SKIP
        ...     print(frame.seconds, [(face.track, face.pose.yaw) for face in frame])
    """
    if not isinstance(source, Integral) or isinstance(source, bool):
        words = "the path of a video, or the number of a camera"
        check_type(source, "predict_video", str, PathLike, words=words, remedy="m4kit.predict takes photos")
    check_whole(every, "every", least=1)
    check_flag(smooth, "smooth")
    check_flag(progress, "progress")
    if options.pop("try_turns", False):
        raise ValueError(
            "try_turns: expected False, because a video is read upright, got True; turn the video first"
        )
    return Video(source, predictor_with(options), every=every, smooth=smooth, progress=progress)


def _openings(faces: list[Face]) -> np.ndarray:
    """Measure the opening of the mouth and of the eyes of each face, (n, 2), in mm of the face model."""
    if not faces:
        return np.zeros((0, 2))
    _, identity, expression = split(np.stack([face.parameters for face in faces]))
    points = faces[0].model.landmarks(identity, expression)
    upper, lower = points[:, _LIDS[:, 0]], points[:, _LIDS[:, 1]]
    mouth = np.linalg.norm(points[:, _LIPS[0]] - points[:, _LIPS[1]], axis=-1)
    return np.stack([mouth, np.linalg.norm(upper - lower, axis=-1).mean(axis=1)], axis=1)
