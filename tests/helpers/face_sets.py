"""Pieces of tiny data sets: pictures of one grey, and zips."""

import shutil
from pathlib import Path

from PIL import Image


def picture(path: Path, *, grey: int = 100, size: tuple[int, int] = (160, 150)) -> Path:
    """A picture of one grey and of a size (width, height), with the folders that it needs; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey,) * 3).save(path)
    return path


def zipped(folder: Path) -> Path:
    """The folder as a zip beside it, instead of it."""
    archive = Path(shutil.make_archive(str(folder), "zip", folder))
    shutil.rmtree(folder)
    return archive
