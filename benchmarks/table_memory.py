"""Measures how much memory a table of many photos takes: row m of `run.py`.

    python benchmarks/table_memory.py FOLDER COUNT

The photos of the folder come first. Then one small picture with a face comes again and again, under new names. Prints
MB above those after one prediction, these MB, and milliseconds a photo. Linux only.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

import m4kit
from m4kit.images import list_images, load_image

FACE = Path(__file__).resolve().parent.parent / "sample_images" / "grace_hopper.jpg"
SMALL = 96
"""The longer side of the small picture."""


def generated(folder: Path, count: int) -> Iterator[Path]:
    """Yield the photos of a folder, and then the small picture under new names, until there are so many."""
    paths, small = list_images(folder), folder / "small.png"
    picture = Image.fromarray(load_image(FACE))
    picture.thumbnail((SMALL, SMALL))
    picture.save(small)
    for number in range(count):
        path = folder / f"again{number}.png"
        os.link(paths[number] if number < len(paths) else small, path)
        yield path
        if number >= len(paths) + 1000:
            (folder / f"again{number - 1000}.png").unlink()


def memory(kind: str) -> float:
    """Read this process's memory in MB: "VmRSS" now, "VmHWM" the most since it was last reset."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(status.split(f"{kind}:")[1].split()[0]) / 1024


def main() -> None:
    """Measure and print."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    for face in m4kit.predict(FACE):
        _ = face.failure_probability
    start, began = memory("VmRSS"), time.perf_counter()
    # Forgets the most so far, that of the imports.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    with tempfile.TemporaryDirectory() as table:
        m4kit.tabulate(generated(folder, count), table, progress=False)
    print(memory("VmHWM") - start, start, 1000 * (time.perf_counter() - began) / count)


if __name__ == "__main__":
    main()
