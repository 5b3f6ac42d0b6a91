"""Measures the rows of `run.py` on many photos: in bulk, one by one, on Dask, and by 3DDFA-V2's chain.

The photos are those of `sample_images`, on 450x450 pixels.
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from comparisons import CHAIN, OURS, SAMPLES, Comparison, Setting
from PIL import Image

import m4kit
from m4kit.boxes import pairwise_iou
from m4kit.detector import DEFAULT_PIXELS, DEFAULT_SHARE, NETWORK_MIN_FACE
from m4kit.images import list_images, load_image

SIDE = 450

ORDINARY = 500
"""Photos of a memory test that are not small: more than are in memory at once."""

TOGETHER = 8
"""Photos of one size in a batch."""

MOST_ROUNDS = 5
ALONE, ONE = "m4kit, single calls", "m4kit, one process of one thread"


@contextmanager
def many_photos(count: int) -> Iterator[list[Path]]:
    """Make a folder of so many photos; it is gone after the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield photos_in(Path(folder), count)


def photos_in(folder: Path, count: int) -> list[Path]:
    """Write so many photos of 450x450 pixels: the sample images, again and again."""
    pictures = []
    for path in list_images(SAMPLES):
        picture = Image.fromarray(load_image(path))
        picture.thumbnail((SIDE, SIDE))
        square = Image.new("RGB", (SIDE, SIDE), (90, 90, 90))
        square.paste(picture)
        pictures.append(folder / f"{path.stem}.jpg")
        square.save(pictures[-1], quality=90)
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        os.link(pictures[number % len(pictures)], path)
    return paths


def bulk(setting: Setting) -> list[Comparison]:
    """(i) Measure a photo in a table beside a single call after loading, with all that a table needs."""
    with many_photos(setting.photos) as paths:
        predictor = m4kit.Predictor()

        def single() -> None:
            for path in paths:
                for face in predictor(path):
                    _ = face.landmarks, face.pose, face.failure_probability

        return [_compared(setting, "i", "a photo in a table", {OURS: _tabulated(paths), ALONE: single})]


def beside_chain(setting: Setting) -> list[Comparison]:
    """(j) Measure a table of photos beside 3DDFA-V2's chain in a plain loop that keeps its landmarks."""
    import cv2

    peer, kept = setting.peer(detects=True), []
    with many_photos(setting.photos) as paths:

        def loop() -> None:
            for path in paths:
                kept.append(peer(cv2.imread(str(path))))

        work = f"{setting.photos:,} photos to a table, each"
        return [_compared(setting, "j", work, {OURS: _tabulated(paths), CHAIN: peer and loop})]


def dask(setting: Setting) -> list[Comparison]:
    """(k) Measure two Dask workers of one thread beside one thread of this process."""
    import distributed

    with (
        many_photos(setting.photos) as paths,
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        # Each worker loads the networks once.
        _tabulated(paths[:64], executor=executor, batch_size=4)()
        spread = {OURS: _tabulated(paths, executor=executor), ONE: _tabulated(paths, workers=1)}
        row = _compared(setting, "k", "a photo in a table, two Dask workers", spread)
        return [row._replace(notes={OURS: f"{max(client.run(peak).values()):.0f} MB a worker"})]


def memory(setting: Setting) -> list[Comparison]:
    """(m) Measure memory above that after one prediction, for photos of a generator to a table, in a new process."""
    with many_photos(min(setting.memory_photos, ORDINARY)) as paths:
        script = Path(__file__).with_name("table_memory.py")
        command = [sys.executable, str(script), str(paths[0].parent), str(setting.memory_photos)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    above, start, each = map(float, answer.stdout.split())
    note = f"above {start:.0f} MB; {each:.1f} ms a photo"
    work = f"{setting.memory_photos:,} photos to a table, {len(paths)} of them of {SIDE}x{SIDE}: memory"
    return [Comparison("m", work, {OURS: np.array([above])}, "MB", {OURS: note})]


def detector(setting: Setting) -> list[Comparison]:
    """(n) Measure the CPU for photos of one size that the detector's network takes one after another, or together."""
    with many_photos(TOGETHER) as paths:
        photos = np.stack([load_image(path) for path in paths])
    engine = m4kit.Detector(threads=setting.threads).engine
    functions = {
        OURS: lambda: [engine(photo[None]) for photo in photos],
        f"{OURS}, {TOGETHER} at once": lambda: engine(photos),
    }
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(setting.rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(1000 * (time.process_time() - start) / TOGETHER)
    work = f"the detector's network, a photo of {SIDE}x{SIDE}: CPU"
    return [Comparison("n", work, {name: np.array(values[1:]) for name, values in times.items()})]


def jpeg_table(_: Setting, side: int = 4000) -> str:
    """Measure what decoding JPEGs at half their size would save and change, on the sample images, enlarged."""
    detector, times, shifts, scores = m4kit.Detector(), [], [], []
    for path in list_images(SAMPLES):
        picture = Image.fromarray(load_image(path))
        scale = side / max(picture.size)
        buffer = io.BytesIO()
        picture.resize((round(picture.width * scale), round(picture.height * scale))).save(buffer, "jpeg")
        start = time.process_time()
        whole = load_image(buffer.getvalue())
        middle = time.process_time()
        with Image.open(buffer) as reduced:
            reduced.draft("RGB", (reduced.width // 2, reduced.height // 2))
            half = np.asarray(reduced)
        times.append((middle - start, time.process_time() - middle))
        # As by default, but given, so that the network sees pictures of one size.
        reduction = (DEFAULT_PIXELS / whole[..., 0].size) ** 0.5
        least = min(DEFAULT_SHARE, NETWORK_MIN_FACE / (reduction * max(whole.shape)))
        first, second = (detector(one, min_face=least) for one in (whole, half))
        second[:, :4] = (second[:, :4] + 0.5) * whole.shape[1] / half.shape[1] - 0.5
        for one, other in zip(*np.nonzero(pairwise_iou(first, second) > 0.5), strict=True):
            change = np.abs(first[one, :4] - second[other, :4]).max()
            shifts.append(change / (first[one, 2] - first[one, 0]))
            scores.append(abs(first[one, 4] - second[other, 4]))
    decoding = 1000 * np.median(times, axis=0)
    return (
        f"JPEGs of {side} pixels: {decoding[0]:.0f} ms of CPU to decode, {decoding[1]:.0f} ms at half the size; "
        f"boxes of {len(shifts)} faces change by up to {100 * max(shifts):.1f} % of their width, scores by up to "
        f"{max(scores):.3f}"
    )


def _compared(setting: Setting, row: str, work: str, functions: dict[str, Callable | None]) -> Comparison:
    """Measure functions that each predict all photos: a row of milliseconds a photo, and of this process's CPU."""
    cpu: dict[str, list[float]] = {name: [] for name in functions}

    def counted(name: str, function: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            start = time.process_time()
            function()
            cpu[name].append(1000 * (time.process_time() - start) / setting.photos)

        return run

    there = {name: function and counted(name, function) for name, function in functions.items()}
    times = setting.measure(there, rounds=MOST_ROUNDS)
    each = {name: None if values is None else values / setting.photos for name, values in times.items()}
    notes = {name: f"{np.median(values):.1f} ms of CPU" for name, values in cpu.items() if values}
    return Comparison(row, work, each, notes=notes)


def _tabulated(paths: Sequence[Path], **options) -> Callable[[], None]:
    """Return a function that writes a table of photos."""

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            m4kit.tabulate(paths, folder, progress=False, **options)

    return work


def peak() -> float:
    """Return the process's largest memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
