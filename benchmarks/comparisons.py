"""Measures the rows of `run.py`: m4kit and its peers do the same work in turn."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from machine import busy_processes, shared_between

import m4kit
from m4kit import conditions
from m4kit.camera import crop_from_box, cut_crop
from m4kit.evaluate.peers import measure_times
from m4kit.images import load_image
from m4kit.views import of_side
from m4kit.visualize.figures import row_pictures

PROJECT = Path(__file__).resolve().parent.parent
SAMPLES = PROJECT / "sample_images"

OURS = "m4kit"
CHAIN = "3DDFA-V2's chain"
MESH = "MediaPipe's face mesh"
NETWORKS = {"base": "mb1", "small": "mb05"}
"""m4kit's networks and the peer's of the same size."""

BATCH = 64
BUSY = 8
"""Busy processes of row (g)."""

_START = """
import sys, time
start = time.perf_counter()
{code}
print(1000 * (time.perf_counter() - start))
status = open("/proc/self/status").read() if sys.platform == "linux" else "VmHWM: nan"
print(float(status.split("VmHWM:")[1].split()[0]) / 1024)
"""
_CODE = {
    OURS: "import m4kit; m4kit.predict(sys.argv[1])[0].landmarks",
    CHAIN: """
import cv2
sys.path.insert(0, sys.argv[2])
from tddfa_v2_chain import Chain
Chain(sys.argv[3])(cv2.imread(sys.argv[1]))
""",
}
"""What a new process does until the first landmarks, for rows (f) and (h)."""


class Comparison(NamedTuple):
    """One row: the work, and how long each took, round by round. The first is m4kit; a missing peer has no times.

    `unit` is "ms" or "MB". `notes` say what each found, by name.
    """

    row: str
    work: str
    times: dict[str, np.ndarray | None]
    unit: str = "ms"
    notes: Mapping[str, str] = {}


@dataclass
class Setting:
    """What all rows need. `chain` is the folder of the chain's files, None if the peer's files are not given.

    `photos` and `memory_photos` are the numbers of photos of the rows on many of them.
    """

    threads: int
    rounds: int
    chain: Path | None
    photos: int = 1000
    memory_photos: int = 100_000

    @cached_property
    def photo(self) -> np.ndarray:
        """640x480 with one face."""
        return cv2.resize(load_image(SAMPLES / "grace_hopper.jpg"), (640, 480), interpolation=cv2.INTER_AREA)

    @cached_property
    def ten_faces(self) -> np.ndarray:
        """1920x1080 with ten faces."""
        photo = load_image(SAMPLES / "large_group.jpg")
        width = round(1080 * photo.shape[1] / photo.shape[0])
        photo = cv2.resize(photo, (width, 1080), interpolation=cv2.INTER_AREA)
        left = (1920 - width) // 2
        return cv2.copyMakeBorder(photo, 0, 0, left, 1920 - width - left, cv2.BORDER_REPLICATE)

    def predictor(self, network: str = "base", **options) -> m4kit.Predictor:
        """Load m4kit with the network of this size."""
        return m4kit.Predictor(network=f"m4net-{network}", threads=self.threads, **options)

    def peer(self, network: str = "mb1", *, detects: bool = False):
        """Load the chain with this network; None without its files, or without a detector if it `detects`."""
        if self.chain is None or (detects and not (self.chain / "faceboxes.onnx").is_file()):
            return None
        from tddfa_v2_chain import Chain

        return Chain(self.chain, network, threads=self.threads)

    def measure(self, functions: Mapping[str, Callable[[], object] | None], *, rounds: int | None = None):
        """Measure the milliseconds of each function in alternating rounds; None for a peer that is missing."""
        there = {name: function for name, function in functions.items() if function is not None}
        times = measure_times(there, rounds=self.rounds if rounds is None else min(rounds, self.rounds))
        return {name: times.get(name) for name in functions}


def crops(setting: Setting, count: int = 1) -> list[Comparison]:
    """(a), (b) Measure one crop or a batch: the network alone, and from the photo and known boxes to 68 landmarks."""
    row, work = ("a", "one crop") if count == 1 else ("b", f"{count} crops")
    shifts = np.random.default_rng(0).uniform(-4, 4, (count, 4))
    boxes = np.asarray(setting.predictor()(setting.photo)[0].box)[:4] + shifts
    pictures = np.stack([cut_crop(setting.photo, crop_from_box(box)) for box in boxes])
    bgr, bgr_pictures = _bgr(setting.photo), _bgr(pictures)
    rows = []
    for network, other in NETWORKS.items():
        predictor, peer, name = setting.predictor(network, passes=1), setting.peer(other), f"3DDFA-V2 {other}"
        seen = of_side(pictures, int(predictor.engine.notes["crop_size"]))
        alone = {
            OURS: lambda engine=predictor.engine, seen=seen: _in_batches(engine, seen),
            name: peer and (lambda peer=peer: peer.answers(bgr_pictures)),
        }
        rows.append(Comparison(row, f"{network}, {work}: network", setting.measure(alone)))
        whole = {
            OURS: lambda predictor=predictor: _landmarks(predictor(setting.photo, boxes=boxes)),
            name: peer and (lambda peer=peer: peer.landmarks(bgr, boxes)),
        }
        rows.append(Comparison(row, f"{network}, {work}: box to landmarks", setting.measure(whole)))
    return rows


def photos(setting: Setting) -> list[Comparison]:
    """(c) Measure a photo to the landmarks of its faces."""
    predictor, chain = setting.predictor(), setting.peer(detects=True)
    rows = []
    for words, photo, faces in (
        ("640x480, one face", setting.photo, 1),
        ("1920x1080, ten faces", setting.ten_faces, 10),
    ):
        bgr, mesh = _bgr(photo), _media_pipe(faces)
        functions = {
            OURS: lambda photo=photo: _landmarks(predictor(photo)),
            CHAIN: chain and (lambda bgr=bgr: chain(bgr)),
            MESH: mesh and (lambda photo=photo, mesh=mesh: mesh(photo)),
        }
        found = {name: f"found {len(function())}" for name, function in functions.items() if function}
        rows.append(
            Comparison("c", f"photo of {words}, to landmarks", setting.measure(functions), notes=found)
        )
    return rows


def overlays(setting: Setting) -> list[Comparison]:
    """(d) Measure an overview's pictures at the photo's size: landmarks, pose, translucent and solid mesh."""
    rows = []
    for words, name, faces in (("one face", "grace_hopper.jpg", 1), ("six faces", "group.jpg", 6)):
        photo = load_image(SAMPLES / name)
        scale = (1e6 / (photo.shape[0] * photo.shape[1])) ** 0.5
        size = round(scale * photo.shape[1]), round(scale * photo.shape[0])
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        found = setting.predictor(max_faces=faces)(photo)
        # Copies of the faces, which keep no mesh from the last round.
        functions = {OURS: lambda found=found: row_pictures(found.image, [replace(face) for face in found])}
        rows.append(Comparison("d", f"four overlays of a megapixel, {words}", setting.measure(functions)))
    return rows


def degraded(setting: Setting) -> list[Comparison]:
    """(e) Measure a photo degraded and predicted, the mean over all conditions at severity 3."""
    predictor = setting.predictor()

    def both():
        for condition in conditions.CONDITIONS:
            _landmarks(predictor(conditions.degrade(setting.photo, condition, 3, seed=0)))

    count = len(conditions.CONDITIONS)
    alone = "m4kit, without degrading"
    times = setting.measure(
        {OURS: both, alone: lambda: [predictor(setting.photo) for _ in range(count)]}, rounds=5
    )
    times = {name: values / count for name, values in times.items()}
    return [Comparison("e", f"degrade 640x480 and predict, mean of {count} conditions", times)]


def starts(setting: Setting) -> list[Comparison]:
    """(f), (h) Measure a new process from its first import to the first landmarks: time, and the most memory."""
    photo = str(SAMPLES / "grace_hopper.jpg")
    chain = setting.peer(detects=True)
    figures = {OURS: [], CHAIN: []}
    for _ in range(min(5, setting.rounds) + 1):
        for name, values in figures.items():
            if name == OURS or chain:
                command = [sys.executable, "-c", _START.format(code=_CODE[name]), photo]
                command += [str(Path(__file__).parent), str(setting.chain)]
                answer = subprocess.run(command, capture_output=True, text=True, check=True)
                values.append([float(line) for line in answer.stdout.split()])
    # The first round reads the files from the disk.
    figures = {name: np.array(values[1:]).T if values else (None, None) for name, values in figures.items()}
    words = "new process, import to the first landmarks"
    return [
        Comparison("f", words, {name: value[0] for name, value in figures.items()}),
        Comparison("h", f"{words}: most memory", {name: value[1] for name, value in figures.items()}, "MB"),
    ]


def under_load(setting: Setting) -> list[Comparison]:
    """(g) Measure a photo beside busy processes, compared with the same without them."""
    predictor = setting.predictor()
    alone = "m4kit, without them"
    times = {OURS: [], alone: []}
    with busy_processes(BUSY) as busy:
        for number in range(setting.rounds + 1):
            for name, values in times.items():
                (busy.work if name == OURS else busy.rest)()
                start = time.perf_counter()
                predictor(setting.photo)
                if number:
                    values.append(1000 * (time.perf_counter() - start))
    work = f"photo of 640x480, one face, beside {BUSY} busy processes"
    times = {name: np.array(values) for name, values in times.items()}
    return [Comparison("g", work, times, notes={OURS: f"processors shared between {shared_between()}"})]


ROWS: dict[str, Callable[[Setting], list[Comparison]]] = {
    "a": crops,
    "b": lambda setting: crops(setting, BATCH),
    "c": photos,
    "d": overlays,
    "e": degraded,
    "fh": starts,
    "g": under_load,
}
"""The functions that measure, by the rows that they give."""


def _landmarks(prediction: m4kit.Prediction) -> list[np.ndarray]:
    return [face.landmarks for face in prediction]


def _in_batches(engine, pictures: np.ndarray) -> None:
    """Run an engine on pictures, as many at once as suits it."""
    for start in range(0, len(pictures), engine.batch):
        engine(pictures[start : start + engine.batch])


def _bgr(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[..., ::-1])


def _media_pipe(faces: int) -> Callable[[np.ndarray], list] | None:
    """Load MediaPipe's face mesh for a photo with up to so many faces; None where it is not installed.

    Versions without `mediapipe.solutions` need a file that they do not contain.
    """
    try:
        import mediapipe
    except ImportError:
        return None
    if not hasattr(mediapipe, "solutions"):
        return None
    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=faces)
    return lambda photo: mesh.process(photo).multi_face_landmarks or []
