"""Measures the time and the memory for many photos: in bulk, one by one, on Dask, and by 3DDFA-V2's chain.

    python benchmarks/bulk.py [--photos 200] [--rounds 5] [--memory-photos 100000] [--chain DIR] [--only bulk,...]

The photos are those of `sample_images`, on 450x450 pixels. Each row runs both ways in turn and prints the median of
the rounds' ratios, so that other load falls on both. `--chain` is a folder that `prepare` of `tddfa_v2_chain.py`
wrote. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

import m4kit
from m4kit.boxes import pairwise_iou
from m4kit.detector import DEFAULT_PIXELS, DEFAULT_SHARE, NETWORK_MIN_FACE
from m4kit.images import list_images, load_image

SAMPLES = Path(__file__).resolve().parent.parent / "sample_images"
SIDE = 450


def photos_in(folder: Path, count: int) -> list[Path]:
    """So many photos of 450x450 pixels: the sample images, again and again."""
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


def bulk(paths: Sequence[Path], rounds: int) -> str:
    """Cost of a photo in bulk beside a single call after loading, with all that a table needs."""
    predictor = m4kit.Predictor()

    def single() -> None:
        for path in paths:
            for face in predictor(path):
                _ = face.landmarks, face.pose, face.failure_probability

    return compared("photo in bulk, table / single calls", _tabulated(paths), single, len(paths), rounds)


def chain(paths: Sequence[Path], rounds: int, folder: Path) -> str:
    """A table of photos beside 3DDFA-V2's chain in a plain loop that keeps its landmarks."""
    import cv2
    from tddfa_v2_chain import Chain

    peer, kept = Chain(folder), []

    def loop() -> None:
        for path in paths:
            kept.append(peer(cv2.imread(str(path))))

    return compared("table / 3DDFA-V2's chain in a loop", _tabulated(paths), loop, len(paths), rounds)


def dask(paths: Sequence[Path], rounds: int) -> str:
    """Two Dask workers of one thread beside one thread of this process."""
    import distributed

    with ExitStack() as stack:
        cluster = stack.enter_context(
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        )
        client = stack.enter_context(distributed.Client(cluster))
        executor = client.get_executor()
        # Each worker loads the networks once.
        _tabulated(paths[:64], executor=executor, batch_size=4)()
        line = compared(
            "two Dask workers / one process",
            _tabulated(paths, executor=executor),
            _tabulated(paths, workers=1),
            len(paths),
            rounds,
        )
        return f"{line}; a worker takes {max(client.run(_peak).values()):.0f} MB"


def memory(paths: Sequence[Path], count: int) -> str:
    """Memory above that after one prediction, for so many photos of a generator that go to a table."""

    def generated() -> Iterator[str]:
        for number in range(count):
            path = paths[0].parent / f"again{number}.jpg"
            os.link(paths[number % len(paths)], path)
            yield str(path)

    for face in m4kit.predict(paths[0]):
        _ = face.failure_probability
    start, began = _peak(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        m4kit.tabulate(generated(), folder, progress=False)
    each = 1000 * (time.perf_counter() - began) / count
    above = f"{_peak() - start:.0f} MB above {start:.0f} MB after one prediction"
    return f"{count:,} photos: {above}, {each:.1f} ms a photo"


def jpeg(side: int = 4000) -> str:
    """What decoding JPEGs at half their size would save and change, on the sample images, enlarged."""
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


def compared(name: str, ours: Callable[[], None], other: Callable[[], None], count: int, rounds: int) -> str:
    """A line: medians of the rounds' ratios of the times, and of this process's CPU, and milliseconds a photo."""
    times, cpu = np.empty((rounds, 2)), np.empty((rounds, 2))
    for number in range(rounds):
        for column, work in enumerate((ours, other)):
            start = time.perf_counter(), time.process_time()
            work()
            times[number, column] = 1000 * (time.perf_counter() - start[0]) / count
            cpu[number, column] = 1000 * (time.process_time() - start[1]) / count
    ratio, cpu_ratio = (np.median(values[:, 0] / values[:, 1]) for values in (times, cpu))
    (own, theirs), (own_cpu, their_cpu) = np.median(times, axis=0), np.median(cpu, axis=0)
    return (
        f"{name}: {ratio:.2f} ({own:.1f} and {theirs:.1f} ms a photo), CPU {cpu_ratio:.2f} ({own_cpu:.1f} and "
        f"{their_cpu:.1f} ms); {count} photos, {rounds} rounds"
    )


def _tabulated(paths: Sequence[Path], **options) -> Callable[[], None]:
    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            m4kit.tabulate(paths, folder, progress=False, **options)

    return work


def _peak() -> float:
    """The process's largest memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, and print a line for each row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-photos", type=int, default=100_000)
    parser.add_argument("--chain", type=Path, help="folder that tddfa_v2_chain.prepare wrote")
    parser.add_argument("--only", default="memory,bulk,chain,dask,jpeg", help="rows, default: %(default)s")
    options = parser.parse_args()
    only = options.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        paths = photos_in(Path(folder), options.photos)
        # First, because the largest memory so far is measured.
        if "memory" in only:
            print(memory(paths, options.memory_photos), flush=True)
        if "bulk" in only:
            print(bulk(paths, options.rounds), flush=True)
        if "chain" in only:
            missing = "table / 3DDFA-V2's chain: not measured, because --chain is missing"
            print(chain(paths, options.rounds, options.chain) if options.chain else missing, flush=True)
        if "dask" in only:
            print(dask(paths, options.rounds), flush=True)
        if "jpeg" in only:
            print(jpeg(), flush=True)


if __name__ == "__main__":
    main()
