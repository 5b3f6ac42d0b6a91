"""Pieces of tiny data sets: pictures of one grey, and zips."""

import shutil
from pathlib import Path

from PIL import Image


def picture(path: Path, *, grey: int = 100, size: tuple[int, int] = (160, 150)) -> Path:
    """Write a picture of one grey and a size (width, height), and the folders it needs; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey,) * 3).save(path)
    return path


def zipped(folder: Path) -> Path:
    """Replace the folder by a zip beside it; returns the zip."""
    archive = Path(shutil.make_archive(str(folder), "zip", folder))
    shutil.rmtree(folder)
    return archive
