"""Measures m4kit beside its peers, in the same process and in turn, and prints the tables of `docs/performance.md`.

    python benchmarks/run.py [--threads 1] [--rounds 15] [--photos 1000] [--memory-photos 100000]
                             [--peer-files DIR] [--faceboxes FILE] [--only a,c]

`--peer-files` is the folder of 3DDFA-V2's files, `--faceboxes` the published `FaceBoxesProd.pth`, the weights of its
detector: with the package onnx they become the chain of `tddfa_v2_chain.py`. MediaPipe takes part where it is
installed. What is missing is said to be missing. Ratios are medians of the rounds' ratios: below 1, m4kit is faster.
Nothing else should run meanwhile; the output says whether the machine was quiet.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import comparisons
import cv2
import machine
import numpy as np
from comparisons import MESH, OURS, Comparison, Setting


def later(module: str, name: str) -> Callable[[Setting], object]:
    """Return a function of a module that is imported when it runs: widgets, pandas and training are not light."""

    def measure(setting: Setting) -> object:
        return getattr(import_module(module), name)(setting)

    return measure


ROWS = comparisons.ROWS | {
    "i": later("bulk", "bulk"),
    "j": later("bulk", "beside_chain"),
    "k": later("bulk", "dask"),
    "l": later("video", "frames"),
    "m": later("bulk", "memory"),
    "n": later("bulk", "detector"),
}
TABLES = {
    "parts": later("photo_parts", "parts_table"),
    "roofline": later("photo_parts", "roofline_table"),
    "video": later("video", "video_table"),
    "jpeg": later("bulk", "jpeg_table"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="of m4kit and its peers (default: 1)")
    parser.add_argument("--rounds", type=int, default=15, help="default: 15")
    parser.add_argument("--photos", type=int, default=1000, help="of rows i, j, k (default: 1000)")
    parser.add_argument("--memory-photos", type=int, default=100_000, help="of row m (default: 100000)")
    parser.add_argument("--peer-files", type=Path, help="folder with 3DDFA-V2's files")
    parser.add_argument("--faceboxes", type=Path, help="the published FaceBoxesProd.pth")
    parser.add_argument("--only", help=f"rows and tables: {','.join([*ROWS, *TABLES])} (default: all)")
    options = parser.parse_args(arguments)
    only = options.only.split(",") if options.only else [*ROWS, *TABLES]
    if unknown := set(only) - {*ROWS, *TABLES}:
        parser.error(f"--only: expected some of {','.join([*ROWS, *TABLES])}, got {','.join(unknown)}")
    cv2.setNumThreads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        chain = None
        if options.peer_files is not None and find_spec("onnx"):
            from tddfa_v2_chain import prepare

            with warnings.catch_warnings():
                # Of the exporter's age.
                warnings.simplefilter("ignore")
                prepare(options.peer_files, options.faceboxes, Path(folder))
            chain = Path(folder)
        setting = Setting(
            options.threads, options.rounds, chain, photos=options.photos, memory_photos=options.memory_photos
        )
        others = machine.Others()
        rows = [row for name in ROWS if name in only for row in ROWS[name](setting)]
        tables = [comparison_table(rows)] if rows else []
        tables += [TABLES[name](setting) for name in TABLES if name in only]
    # Without the names of folders, so that it can be shown to others.
    words = f"--threads {options.threads} --rounds {options.rounds} --photos {options.photos}"
    words += f" --memory-photos {options.memory_photos}"
    words += " --peer-files DIR" if options.peer_files else ""
    words += " --faceboxes FILE" if options.faceboxes else ""
    words += f" --only {options.only}" if options.only else ""
    date = datetime.now(UTC).date()
    print(f"`python benchmarks/run.py {words}`, {date}, on {machine.name()}. {others.in_words()}")
    engine = setting.predictor().engine.name
    print(f"{options.threads} thread(s), m4kit's engine {engine!r}; medians of {options.rounds} rounds.")
    for table in tables:
        print(f"\n{table}")


def comparison_table(rows: Sequence[Comparison]) -> str:
    """Write the rows in Markdown, a line for each peer."""
    lines = ["| | work | m4kit | beside | its figure | ratio |", "|---|---|--:|---|--:|--:|"]
    for row in rows:
        ours = row.times[OURS]
        own = f"{figure(ours, row.unit)}{note(row, OURS)}"
        peers = {name: times for name, times in row.times.items() if name != OURS}
        for name, times in peers.items() or [("", None)]:
            cells = ["missing" if name else "", ""]
            if times is not None:
                cells = [f"{figure(times, row.unit)}{note(row, name)}", f"{ratio(ours, times):.2f}"]
            lines.append(f"| {row.row} | {row.work} | {own} | {name} | {' | '.join(cells)} |")
    missing = {name for row in rows for name, times in row.times.items() if times is None}
    remedies = {
        name: "mediapipe==0.10.21" if name == MESH else "--peer-files, --faceboxes, onnx" for name in missing
    }
    lines += ["", *(f"Missing: {name} ({remedies[name]})." for name in sorted(missing))] if missing else []
    return "\n".join(lines)


def ratio(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Compute the median of the rounds' ratios: load that comes and goes falls on both."""
    return float(np.median(ours / theirs))


def figure(values: np.ndarray, unit: str) -> str:
    """Write the median with its unit, to three digits."""
    median = float(np.median(values))
    return f"{median:.{max(0, 2 - int(np.floor(np.log10(max(median, 1e-9)))))}f} {unit}"


def note(row: Comparison, name: str) -> str:
    """Write what was found, in brackets."""
    return f" ({row.notes[name]})" if name in row.notes else ""


if __name__ == "__main__":
    main()
