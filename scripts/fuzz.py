"""Try mutated photos, odd arrays and mutated data sets: only the documented errors and warnings may come out.

    python scripts/fuzz.py --seconds 600 --seed 1 --keep build/fuzz

Each case has a number, and depends on it and the seed alone: `--first 1234 --cases 1` repeats one. At most four
million pixels are decoded per case, so that memory which grows or leaks is noticed. The exit status is 1 if a case
failed.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import re
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from m4kit.datasets import READERS, DatasetError, read
from m4kit.images import FORMATS, ImageError, load_image

Image.MAX_IMAGE_PIXELS = 2_000_000

SLOWEST = 10.0
"""Seconds after which a case counts as hanging."""

GROWTH_MB, PEAK_MB = 40, 250
"""What memory may grow by from the first quarter of the cases to the end, and what a case may take."""

DOCUMENTED = re.compile(
    r"has several frames, the first one is used$|is (dark|black), because |left out: |^invalid escape sequence",
    re.M,
)
"""Warnings that m4kit gives on purpose, and one of numpy's reader."""

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def photos() -> dict[str, bytes]:
    """Make small files of every format and mode."""
    random = np.random.default_rng(0)
    rgb = Image.fromarray(random.integers(0, 256, (40, 48, 3), np.uint8))
    alpha = Image.fromarray(random.integers(0, 256, (40, 48, 4), np.uint8))
    deep = Image.fromarray(random.integers(0, 65536, (40, 48), np.uint16))
    real = Image.fromarray(random.random((40, 48), np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    tiff = [{"compression": name} for name in ("tiff_lzw", "jpeg", "tiff_deflate", "packbits")]
    variants = [
        *(
            ("JPEG", rgb, options)
            for options in ({}, {"progressive": True}, {"exif": exif}, {"subsampling": 0})
        ),
        *(("JPEG", rgb.convert(mode), {}) for mode in ("L", "CMYK")),
        *(("PNG", rgb.convert(mode), {}) for mode in ("1", "L", "P", "RGB")),
        *(("PNG", alpha, {}), ("PNG", deep, {}), ("PNG", rgb, {"exif": exif}), ("PNG", rgb, frames)),
        *(("PNG", rgb.convert("L"), {"transparency": 9}), ("PNG", deep, {"transparency": 9})),
        *(("WEBP", rgb, options) for options in ({}, {"lossless": True}, {"exif": exif}, frames)),
        *(("WEBP", alpha, {}), ("AVIF", rgb, {}), ("AVIF", alpha, {}), ("AVIF", rgb, {"exif": exif})),
        *(("TIFF", rgb, options) for options in ({}, {"exif": exif}, frames, *tiff)),
        *(("TIFF", picture, {}) for picture in (rgb.convert("CMYK"), rgb.convert("1"), alpha, deep, real)),
        *(("JPEG2000", rgb, options) for options in ({}, {"no_jp2": True}, {"tile_size": (16, 16)})),
        *(("JPEG2000", alpha, {}), ("JPEG2000", deep, {}), ("JPEG2000", rgb.convert("L"), {})),
        *(("BMP", rgb, {}), ("BMP", rgb.convert("P"), {}), ("BMP", rgb.convert("1"), {}), ("BMP", alpha, {})),
        *(("GIF", rgb, {}), ("GIF", rgb, frames), ("GIF", rgb.quantize(4), {"transparency": 1})),
        *(("PPM", picture, {}) for picture in (rgb, rgb.convert("L"), rgb.convert("1"), deep)),
    ]
    files = {}
    for number, (name, picture, options) in enumerate(variants):
        buffer = io.BytesIO()
        picture.save(buffer, name, **options)
        files[f"{name} {picture.mode} {number}"] = buffer.getvalue()
    assert {name.split()[0] for name in files} == set(FORMATS)
    return files


def data_sets() -> dict[str, dict[str, bytes]]:
    """Make the files of a tiny data set of every layout, the labels first."""
    random = np.random.default_rng(0)
    points = random.uniform(10, 40, (2, 68, 2))
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48)).save(buffer, "JPEG")
    pictures = {"a.jpg": buffer.getvalue(), "b.jpg": buffer.getvalue()}

    def arrays(**content: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, names=np.array(list(pictures)), **content)
        return buffer.getvalue()

    def array(content: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, content)
        return buffer.getvalue()

    def mat(number: int, *, compressed: bool) -> bytes:
        buffer = io.BytesIO()
        labels = {
            "pt3d_68": random.normal(size=(3, 68)),
            "pt2d": points[number].T,
            "Pose_Para": np.zeros((1, 7)),
        }
        scipy.io.savemat(buffer, labels, do_compression=compressed)
        return buffer.getvalue()

    lines = ["\n".join(f"{x:.2f} {y:.2f}" for x, y in face) for face in points]
    titles = ",".join(f"{axis}{number}" for number in range(68) for axis in "xy")
    rows = [
        f"{name},{','.join(f'{v:.1f}' for v in face.ravel())}"
        for name, face in zip(pictures, points, strict=True)
    ]
    parts = "".join(f"<part name='{n:02}' x='{x:.0f}' y='{y:.0f}'/>" for n, (x, y) in enumerate(points[0]))
    xml = f"<dataset><images><image file='a.jpg'><box top='1' left='2' width='30' height='40'>{parts}</box></image>"
    boxes = np.array([[1.0, 2, 31, 42], [3, 0, 43, 40]])
    mats = {"a.mat": mat(0, compressed=True), "b.mat": mat(1, compressed=False)}
    crops = {f"x_crop/{name}": content for name, content in pictures.items()}
    pts = {"a.pts": f"version: 1\nn_points: 68\n{{\n{lines[0]}\n}}".encode()}
    return {
        "aflw2000-3d": mats | pictures,
        "300w-lp": mats | pictures,
        "aflw-crops": {"../set.npz": arrays(pts21=points[:, :21].swapaxes(1, 2), roi=boxes)} | pictures,
        "youtube-faces": {
            "../set.npz": arrays(pts68=points.swapaxes(1, 2), identity=np.array(["one", "two"])),
            **pictures,
        },
        "3ddfa-list": {
            "x.pts68.npy": array(points.swapaxes(1, 2)),
            "x_crop.roi_box.npy": array(boxes),
            "x_crop.list": "\n".join(pictures).encode(),
            **crops,
        },
        "pts": pts | pictures,
        "artistic-faces": pts | pictures,
        "txt": {"a.txt": lines[0].encode()} | pictures,
        "dlib-xml": {"x.xml": f"{xml}</images></dataset>".encode()} | pictures,
        "csv": {"x.csv": f"image,{titles}\n{chr(10).join(rows)}".encode()} | pictures,
        "folder": pictures,
    }


def mutated(content: bytes, random: np.random.Generator, others: list[bytes]) -> bytes:
    """Change the content in one to four ways: bytes, numbers, and pieces cut, doubled, moved or taken from others."""
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        at, length = int(random.integers(len(data) + 1)), int(random.integers(1, 65))
        # Headers are short and matter most.
        at = min(at, int(random.integers(1, 200))) if random.random() < 0.5 else at
        match random.integers(8):
            case 0:
                data[at : at + 1] = bytes([random.integers(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ 1 << random.integers(8)]) if at < len(data) else b""
            case 2:
                layout = str(random.choice(["<I", ">I", "<H", ">H"]))
                number = int(random.choice(NUMBERS)) % (1 << 8 * struct.calcsize(layout))
                data[at : at + struct.calcsize(layout)] = struct.pack(layout, number)
            case 3:
                del data[at:]
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + length]
            case 6:
                data[at:at] = random.bytes(length)
            case 7:
                other = others[random.integers(len(others))]
                start = int(random.integers(len(other) + 1))
                data[at : at + length] = other[start : start + length]
    return bytes(data)


def with_checksums(content: bytes) -> bytes:
    """Give a PNG right checksums, so that the decoder gets beyond them."""
    data, at = bytearray(content), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


def odd_array(random: np.random.Generator) -> np.ndarray:
    """Make an array of any type, shape, order of memory and values."""
    kinds = (
        "u1",
        "<u2",
        ">u2",
        "u4",
        "i1",
        "i2",
        "i8",
        "?",
        "f2",
        "<f4",
        ">f8",
        "g",
        "c8",
        "O",
        "U3",
        "M8[s]",
        "V4",
    )
    rank = random.choice([0, 1, 2, 3, 3, 3, 3, 4])
    shape = [int(random.choice([0, 1, 2, 3, 7, 33])) for _ in range(rank)]
    if rank == 3:
        shape[2] = int(random.integers(0, 6))
    array = np.zeros(shape, str(random.choice(kinds)))
    if array.dtype.kind in "uibf" and array.size:
        scale = random.choice([0, 1e-8, 1, 1, 255, 256, 4095, 65535, 1e30])
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            array[...] = (random.random(shape) * scale).astype(array.dtype)
            if random.random() < 0.2:
                array[tuple(int(random.integers(side)) for side in shape)] = random.choice(
                    np.array([np.nan, np.inf, -np.inf, -1, 1e9])
                ).astype(array.dtype)
    match random.integers(6):
        case 0:
            array = array[::-1] if rank else array
        case 1:
            array = array.T
        case 2:
            array = np.asfortranarray(array)
        case 3:
            array = np.ma.array(array, mask=random.random(shape) < random.choice([0, 0.1]))
        case 4:
            array = np.broadcast_to(array, (int(random.choice([1, 3, 1000])), *array.shape))
    return array


class Cases:
    """The cases of a seed, by their number."""

    def __init__(self, seed: int, folder: Path):
        self.seed, self.folder = seed, folder
        self.photos, self.sets = photos(), data_sets()

    def __call__(self, number: int) -> tuple[str, dict[str, bytes], Callable[[], object]]:
        """Make a case: its name, its files, and a function that reads it."""
        random = np.random.default_rng([self.seed, number])
        kind = random.random()
        if kind < 0.7:
            name = str(random.choice(list(self.photos)))
            content = mutated(self.photos[name], random, list(self.photos.values()))
            if name.startswith("PNG") and random.random() < 0.8:
                content = with_checksums(content)
            return name, {"photo": content}, lambda: check_picture(load_image(content))
        if kind < 0.85:
            array = odd_array(random)
            name = f"array {array.dtype} {array.shape}"
            return name, {}, lambda: check_picture(load_image(array))
        layout = str(random.choice(list(READERS)))
        files = dict(self.sets[layout])
        # Labels come first, and matter most.
        victim = list(files)[min(random.integers(len(files)), random.integers(len(files)))]
        others = [content for one in self.sets.values() for content in one.values()]
        files[victim] = mutated(files[victim], random, others)
        return f"data set {layout}, {victim}", files, lambda: self._read(layout, files)

    def _read(self, layout: str, files: dict[str, bytes]) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            for name, content in files.items():
                path = Path(folder) / "set" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            for sample in read(Path(folder) / "set", layout):
                check_picture(sample.image())


def check_picture(picture: np.ndarray) -> None:
    """Raise `AssertionError` unless it is what `load_image` promises."""
    assert picture.ndim == 3, picture.shape
    assert picture.shape[2] == 3, picture.shape
    assert picture.size, picture.shape
    assert picture.dtype == np.uint8, picture.dtype
    assert picture.flags.c_contiguous
    assert picture.flags.writeable


def tried(read_it: Callable[[], object]) -> str:
    """Try a case: returns "read" or "refused"; whatever is not documented is raised."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            read_it()
            outcome = "read"
        except (ImageError, DatasetError) as error:
            assert re.match(r"(<array>|<bytes>|/\S+): .+", str(error), re.S), f"no file and remedy: {error}"
            outcome = "refused"
    for warning in caught:
        assert DOCUMENTED.search(str(warning.message)), f"a warning came out: {warning}"
    return outcome


def memory_mb(key: str) -> float:
    """Read VmRSS (now) or VmHWM (the peak) of this process in MB; 0 where the system does not tell."""
    try:
        return int(re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1000
    except OSError:
        return 0.0


def main() -> int:
    """Run the cases, and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long to try (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of all cases (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case (default: 0)")
    parser.add_argument(
        "--cases", type=int, default=sys.maxsize, help="how many to try at most (default: all)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder for the files of failed cases")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        failed = run(Cases(options.seed, Path(folder)), options)
    return 1 if failed else 0


def run(cases: Cases, options: argparse.Namespace) -> list[str]:
    """Run cases until the time is over or all are done; returns what failed."""
    outcomes, failed, slowest, settled, done = Counter(), [], (0.0, ""), None, 0
    before, started = memory_mb("VmHWM"), time.perf_counter()
    while done < options.cases and (now := time.perf_counter()) - started < options.seconds:
        number = options.first + done
        name, files, read_it = cases(number)
        if options.keep:
            # A crash of the process tells no more than this.
            (options.keep / "last_case").write_text(str(number))
        faulthandler.dump_traceback_later(3 * SLOWEST, exit=True)
        try:
            outcomes[tried(read_it)] += 1
        except Exception:
            failed.append(f"case {number}, {name}: {traceback.format_exc()}")
            for file, content in files.items() if options.keep else ():
                path = options.keep / f"{number}" / Path(file).name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, (time.perf_counter() - now, f"case {number}, {name}"))
        done += 1
        if settled is None and max((now - started) / options.seconds, done / options.cases) > 0.25:
            settled = memory_mb("VmRSS")
    growth, peak = memory_mb("VmRSS") - (settled or memory_mb("VmRSS")), memory_mb("VmHWM") - before
    if slowest[0] > SLOWEST:
        failed.append(f"hangs for {slowest[0]:.0f} s: {slowest[1]}")
    if growth > GROWTH_MB or peak > PEAK_MB:
        failed.append(f"memory grows by {growth:.0f} MB, at its peak {peak:.0f} MB above the start")
    for failure in failed[:20]:
        print(failure, file=sys.stderr)
    print(
        f"{done} cases: {outcomes['read']} read, {outcomes['refused']} refused, {len(failed)} failed; "
        f"memory +{growth:.0f} MB, peak +{peak:.0f} MB; slowest {slowest[0]:.2f} s, {slowest[1]}"
    )
    return failed


if __name__ == "__main__":
    sys.exit(main())
