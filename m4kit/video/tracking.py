"""Follows faces from frame to frame.

A face's next crop follows the landmarks just found, so the detector need not run on every frame. It runs a few times
a second, where nothing is tracked, and where a track is in doubt; its boxes and the tracks are joined by overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np

from m4kit.boxes import HIT_IOU, match, pairwise_iou
from m4kit.camera import box_from_crop, next_crop
from m4kit.confidence.reasons import BOX_MISFIT, SPREAD
from m4kit.confidence.signs import box_misfit
from m4kit.landmarks import face_box, face_size
from m4kit.parameters import head_spread
from m4kit.prediction import Face, FaceBox
from m4kit.predictor import Predictor
from m4kit.video.smoothing import FaceSmoother

DETECT_SECONDS = 1 / 3
"""The detector runs after this time at the latest."""

DOUBTFUL = 0.5
"""A face that the detector does not find loses its track if its failure probability is above this."""

MOST_MISSED = 9
"""A face that the detector does not find so many times in a row loses its track in any case."""

REMEMBERED_SECONDS = 1.0
"""A face that is found again at the same place within this time keeps its number."""

_LEAST_INSIDE = 0.5
"""A face with a smaller share of its landmarks in the picture is in doubt."""

_SAME_IOU = 0.6
"""Two tracks whose landmarks' boxes overlap by this much follow the same face."""


@dataclass
class _Track:
    """`face` is the network's last answer, not smoothed, and `lost` the time of its loss."""

    number: int
    face: Face
    smoother: FaceSmoother = field(default_factory=FaceSmoother)
    missed: int = 0
    lost: float | None = None


class Tracker:
    """Finds and follows the faces of a video's frames, which come in the order of their times.

    `predictor` predicts the faces that the detector finds; for those that are tracked, one pass is enough. With
    `smooth`, faces are smoothed (`smoothing.FaceSmoother`). `detected` is the time of the frame on which the detector
    ran last.
    """

    def __init__(self, predictor: Predictor, *, smooth: bool):
        self._predictor, self._smooth = predictor, smooth
        # It shares network and detector, and has no limit of its own.
        self._follow = copy(predictor)
        self._follow.passes, self._follow.max_faces = 1, None
        self._tracks: list[_Track] = []
        self._count = 0
        self.detected: float | None = None

    def __call__(self, image: np.ndarray, seconds: float, *, name: str) -> tuple[Face, ...]:
        """The faces of a frame (H, W, 3) uint8 RGB, the largest first, each with its `track`."""
        self._tracks = [
            track
            for track in self._tracks
            if track.lost is None or seconds - track.lost <= REMEMBERED_SECONDS
        ]
        active = self._active()
        doubtful = self._move(image, active)
        if not active or doubtful or self.detected is None or seconds - self.detected >= DETECT_SECONDS:
            self._detect(image, seconds, name=name, doubtful=doubtful)
        self._end_doubles(seconds)
        faces = [
            replace(
                track.smoother(track.face, seconds) if self._smooth else track.face,
                track=track.number,
            )
            for track in self._active()
        ]
        return tuple(sorted(faces, key=lambda face: -face.box.width * face.box.height))

    def _active(self) -> list[_Track]:
        return [track for track in self._tracks if track.lost is None]

    def _move(self, image: np.ndarray, tracks: Sequence[_Track]) -> list[_Track]:
        """Predict the tracks' faces in the next frame, and return those tracks that may have lost theirs."""
        height, width = image.shape[:2]
        doubtful, followed = [], []
        for track in tracks:
            crop = next_crop(track.face.crop, track.face.landmarks)
            x, y = crop.centre
            if 0 <= x < width and 0 <= y < height:
                followed.append((track, crop))
            else:
                doubtful.append(track)
        if not followed:
            return doubtful
        # Predictions come in this order.
        followed.sort(key=lambda pair: -pair[1].size)
        boxes = np.array([box_from_crop(crop) for _, crop in followed])
        for (track, _), face in zip(followed, self._follow(image, boxes=boxes), strict=True):
            track.face = replace(face, box=_moved_box(track.face, face))
            inside = ((face.landmarks[:, :2] > 0) & (face.landmarks[:, :2] < [width, height])).all(axis=1)
            spread = head_spread(face.model, face.heads[None], face.head_weights[None])[0]
            if spread > SPREAD or inside.mean() < _LEAST_INSIDE:
                doubtful.append(track)
        return doubtful

    def _detect(self, image: np.ndarray, seconds: float, *, name: str, doubtful: Sequence[_Track]) -> None:
        """Join the detector's boxes with the tracks: begin new tracks, and end those that lost their face."""
        self.detected = seconds
        found = self._predictor.detect(image, name=name)
        found = found[np.argsort(-found[:, 4], kind="stable")]
        # Active tracks first: a lost one takes only a box that no other has.
        tracks = sorted(self._tracks, key=lambda track: track.lost is not None)
        seen, again, new = set(), [], []
        boxes = np.array([np.asarray(track.face.box)[:4] for track in tracks]).reshape(-1, 4)
        for box, (_, hit) in zip(found, match(found, boxes, iou=HIT_IOU), strict=True):
            if hit is None:
                new.append((None, box))
                continue
            track = tracks[hit]
            seen.add(track.number)
            track.missed = 0
            track.face = replace(track.face, box=FaceBox(*box.tolist()))
            if track.lost is not None or track in doubtful or box_misfit(track.face) > BOX_MISFIT:
                again.append((track, box))
        for track in self._active():
            if track.number not in seen:
                track.missed += 1
                probability = track.face.failure_probability
                failed = probability is not None and probability > DOUBTFUL
                if track in doubtful or failed or track.missed >= MOST_MISSED:
                    track.lost = seconds
        self._begin(image, again + new)

    def _begin(self, image: np.ndarray, found: Sequence[tuple[_Track | None, np.ndarray]]) -> None:
        """Predict the faces in the detector's boxes, for tracks that go on and, where there is none, for new ones."""
        if not found:
            return
        most = self._predictor.max_faces
        found = sorted(found, key=lambda pair: -(pair[1][2] - pair[1][0]) * (pair[1][3] - pair[1][1]))
        predicted = self._predictor(image, boxes=np.array([box for _, box in found]))
        for (track, _), face in zip(found, predicted, strict=False):
            if track is not None:
                track.face = face
                if track.lost is not None:
                    # What was smoothed before the loss is out of date.
                    track.lost, track.smoother = None, FaceSmoother()
            elif most is None or len(self._active()) < most:
                self._tracks.append(_Track(self._count, face))
                self._count += 1

    def _end_doubles(self, seconds: float) -> None:
        """End the younger one of two tracks that follow the same face."""
        active = sorted(self._active(), key=lambda track: track.number)
        if len(active) < 2:
            return
        boxes = np.array([face_box(track.face.landmarks) for track in active])
        overlap = pairwise_iou(boxes, boxes)
        for number, track in enumerate(active):
            if any(overlap[number, before] > _SAME_IOU for before in range(number)):
                self._tracks.remove(track)


def _moved_box(before: Face, face: Face) -> FaceBox:
    """Move and scale the detector's box of the face before as the landmarks moved; it keeps the score."""
    old, new = (face_box(one.landmarks).reshape(2, 2) for one in (before, face))
    growth = float(face_size(face.landmarks) / face_size(before.landmarks))
    corners = np.asarray(before.box)[:4].reshape(2, 2)
    moved = (corners - old.mean(axis=0)) * growth + new.mean(axis=0)
    return FaceBox(*moved.ravel().tolist(), score=before.box.score)
