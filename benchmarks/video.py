"""Measures `predict_video` for `run.py`: its speed, and jitter, lag and error with and without smoothing.

The faces are drawn from m4kit's own face model at 640x480 pixels and 25 frames a second, so that their true landmarks
are known:

- jitter: the standard deviation over time of each landmark of a still face, mean of all, in percent of the face's
  size. The pictures differ in sensor noise. "each frame as a photo" runs `predict` on each, whose boxes differ, too;
- lag: how many frames the head's pitch, and the opening of the mouth, are behind the truth, while the head nods by 15
  degrees once a second and the jaw opens twice a second. It follows from the phases of sine waves fitted to both;
- error: NME of the nodding face against the true landmarks, in percent.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from comparisons import OURS, Comparison, Setting

import m4kit
from m4kit import metrics
from m4kit.face_model import FaceModel
from m4kit.light import Light
from m4kit.prediction import Face
from m4kit.training.synthetic_head import Head
from m4kit.video.files import VideoReader, video_writer
from m4kit.video.smoothing import FaceSmoother
from m4kit.video.tracking import Tracker

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from build_sample_clip import Person

SIZE, FPS, FRAMES = (640, 480), 25, 75
SETTLED = 25
"""Jitter is measured from this frame on, when the filters have settled."""
NOD, JAW = 1.0, 2.0
"""Cycles a second of the nodding head and the opening jaw."""
DEGREES = 15.0
PLACE, SCALE = (320, 250), 1.3
PEOPLE, NOISE = 3, 6.0
"""Drawn people, and the sensor's noise in grey levels."""

AS_PHOTOS = "m4kit, each frame as a photo"
POSES = ((0, 0, 0), (25, -5, 5), (-40, 5, -5))
TIMES = np.arange(FRAMES) / FPS


def people(count: int) -> list[Person]:
    """Draw random people in m4kit's usual light; the filters were tuned on others."""
    model = FaceModel.load()
    head = Head(model)
    gaze = np.array([0.0, 0.0, 1.0])
    return [Person.random(head, model, seed=seed, gaze=gaze, light=Light()) for seed in range(10, 10 + count)]


def wall(seed: int) -> np.ndarray:
    """Draw a soft random background."""
    coarse = np.random.default_rng(seed).integers(40, 220, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC)


def noisy(picture: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """Add normal noise of that standard deviation, in grey levels."""
    return np.clip(picture + random.normal(scale=noise, size=picture.shape), 0, 255).astype(np.uint8)


def still(person: Person, pose, seed: int, noise: float) -> list[np.ndarray]:
    """Draw a still face: pictures that differ in noise alone."""
    picture = person.draw(wall(seed), pose, PLACE, SCALE, person.expression())
    random = np.random.default_rng(seed)
    return [noisy(picture, noise, random) for _ in TIMES]


def nodding(person: Person, seed: int, noise: float) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Draw a face that nods and speaks: pictures, true landmarks (n, 68, 2) and true pitch (n,) in degrees."""
    pictures, landmarks = [], []
    random = np.random.default_rng(seed)
    pitch = DEGREES * np.sin(2 * np.pi * NOD * TIMES)
    for angle, jaw in zip(pitch, 0.5 - 0.5 * np.cos(2 * np.pi * JAW * TIMES), strict=True):
        where = (0.0, float(angle), 0.0), PLACE, SCALE, person.expression(jawOpen=0.7 * float(jaw))
        pictures.append(noisy(person.draw(wall(seed), *where), noise, random))
        landmarks.append(person.landmarks(*where))
    return pictures, np.array(landmarks), pitch


def followed(pictures: Sequence[np.ndarray], predictor: m4kit.Predictor) -> list[Face]:
    """Follow the face of the pictures as `predict_video` does, without smoothing."""
    tracker = Tracker(predictor, smooth=False)
    faces = []
    for picture, seconds in zip(pictures, TIMES, strict=True):
        (face,) = tracker(picture, float(seconds), name="drawn")
        faces.append(face)
    return faces


def smoothed(faces: Sequence[Face]) -> list[Face]:
    """Smooth the faces of a track."""
    smoother = FaceSmoother()
    return [smoother(face, float(seconds)) for face, seconds in zip(faces, TIMES, strict=True)]


def jitter(faces: Sequence[Face]) -> float:
    """Compute the standard deviation of the landmarks over time, in percent of the face's size."""
    points = np.array([face.landmarks[:, :2] for face in faces[SETTLED:]])
    spread = np.sqrt(points.var(axis=0).sum(axis=-1)).mean()
    return 100 * float(spread / m4kit.landmarks.face_size(points.mean(axis=0)))


def behind(found: np.ndarray, true: np.ndarray, frequency: float) -> float:
    """Measure how many frames a signal (n,) is behind the true one, from their phases at a frequency in Hz."""
    angle = 2 * np.pi * frequency * TIMES
    # The mean and a drift are fitted besides.
    basis = np.stack([np.cos(angle), np.sin(angle), np.ones(FRAMES), TIMES], axis=1)
    phases = []
    for signal in (true, found):
        cosine, sine = np.linalg.lstsq(basis[SETTLED:], signal[SETTLED:], rcond=None)[0][:2]
        phases.append(np.arctan2(sine, cosine))
    turn = (phases[1] - phases[0] + np.pi) % (2 * np.pi) - np.pi
    return float(turn / (2 * np.pi * frequency) * FPS)


def mouth(landmarks: np.ndarray) -> np.ndarray:
    """Measure the opening of the mouth (n,) in landmarks (n, 68, 2)."""
    return np.linalg.norm(landmarks[:, 62, :2] - landmarks[:, 66, :2], axis=-1)


def figures(faces: Sequence[Face], truth: np.ndarray, pitch: np.ndarray) -> tuple[float, float, float]:
    """Compute the lag of the pitch and of the mouth in frames, and NME in percent, of a nodding face."""
    points = np.array([face.landmarks for face in faces])
    return (
        behind(np.array([face.pose.pitch for face in faces]), pitch, NOD),
        behind(mouth(points), mouth(truth), JAW),
        float(metrics.nme(points[SETTLED:, :, :2], truth[SETTLED:]).mean()),
    )


def frames(setting: Setting) -> list[Comparison]:
    """(l) Measure a frame of a file to smoothed faces, beside each frame as a photo."""
    predictor = m4kit.Predictor(threads=setting.threads)
    (person,) = people(1)
    pictures, _, _ = nodding(person, 0, NOISE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speed.mp4"
        with video_writer(path, size=SIZE, fps=FPS) as write:
            for picture, seconds in zip(pictures, TIMES, strict=True):
                write(picture, float(seconds))
        # The networks are loaded by the first round, which does not count.
        functions = {
            OURS: lambda: [frame[0].landmarks for frame in m4kit.predict_video(path, progress=False)],
            AS_PHOTOS: lambda: [predictor(frame.image)[0].landmarks for frame in VideoReader(path)],
        }
        times = {name: values / FRAMES for name, values in setting.measure(functions, rounds=5).items()}
    note = f"{1000 / np.median(times[OURS]):.0f} frames a second"
    return [Comparison("l", "a frame of a video, 640x480, one face", times, notes={OURS: note})]


def video_table(_: Setting) -> str:
    """Measure jitter, lag and error, means over drawn people: a table in Markdown."""
    predictor = m4kit.Predictor()
    names = (AS_PHOTOS, "followed, not smoothed", "followed and smoothed")
    still_jitter: dict[str, list[float]] = {name: [] for name in names}
    nod: dict[str, list[tuple]] = {name: [] for name in names}
    for seed, person in enumerate(people(PEOPLE)):
        pictures = still(person, POSES[seed % len(POSES)], seed, NOISE)
        for name, faces in zip(names, _three_ways(pictures, predictor), strict=True):
            still_jitter[name].append(jitter(faces))
        moving, truth, pitch = nodding(person, seed, NOISE)
        for name, faces in zip(names, _three_ways(moving, predictor), strict=True):
            nod[name].append(figures(faces, truth, pitch))
    lines = [
        f"| {PEOPLE} people, {FRAMES} frames each | jitter of a still face, % | lag of the nod, frames | lag of the "
        "mouth, frames | NME, % |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in names:
        lags = np.mean(nod[name], axis=0)
        lines.append(
            f"| {name} | {np.mean(still_jitter[name]):.3f} | {lags[0]:.2f} | {lags[1]:.2f} | {lags[2]:.2f} |"
        )
    return "\n".join(lines)


def _three_ways(pictures: Sequence[np.ndarray], predictor: m4kit.Predictor) -> tuple[list[Face], ...]:
    """Predict the faces of pictures in three ways: each as a photo; followed; followed and smoothed."""
    faces = followed(pictures, predictor)
    return [predictor(picture)[0] for picture in pictures], faces, smoothed(faces)
