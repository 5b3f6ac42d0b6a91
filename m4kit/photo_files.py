"""Pictures and meshes of many photos, in folders that mirror those of the photos."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from m4kit.files import OutputError, whole_file
from m4kit.many import Result, UnreadPhoto
from m4kit.visualize.figures import NO_FACE, ROWS, overview_pictures

OVERLAYS, MESHES = "overlays", "meshes"

GAP = 8
"""Pixels between the pictures of an overlay."""

_SIDE, _QUALITY = 640, 88
_NAME_BYTES = 200


@dataclass(frozen=True)
class PhotoFiles:
    """Writes an overlay and the faces' meshes of each result into the folder `out`; a function of a result.

    Photos are mirrored relative to `root`, an absolute path. `mesh` is an ending such as "ply", or None.
    """

    out: Path
    root: str
    overlay: bool = False
    mesh: str | None = None

    def __call__(self, result: Result) -> None:
        """Write the files of a result. Raises `OSError` if they do not fit."""
        prediction = result.prediction
        if isinstance(prediction, UnreadPhoto):
            return
        if self.overlay:
            path = self.overlay_of(prediction.source)
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(_side_by_side(overview_pictures(prediction, max_side=_SIDE)))
            with whole_file(path) as part:
                picture.save(part, format="jpeg", quality=_QUALITY)
        for number, face in enumerate(prediction if self.mesh else (), start=1):
            path = self.out / MESHES / f"{self._mirrored(prediction.source)}_{number}.{self.mesh}"
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part:
                face.save(part)

    def overlay_of(self, source: str) -> Path:
        """Return the path of a photo's overlay."""
        return self.out / OVERLAYS / f"{self._mirrored(source)}_overlay.jpg"

    def _mirrored(self, source: str) -> str:
        folder, name = os.path.split(os.path.relpath(source, self.root))
        encoded = os.fsencode(name)
        # A file's name may take 255 bytes.
        if len(encoded) > _NAME_BYTES:
            stem = encoded[: _NAME_BYTES // 2].decode(errors="ignore")
            name = f"{stem}_{hashlib.sha256(encoded).hexdigest()[:16]}{Path(name).suffix}"
        return os.path.join(folder, name)


def common_root(given: Iterable[str | Path]) -> str:
    """Find the folder, as an absolute path, that holds all given photos and folders; a single folder is its own."""
    folders = [path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path)) for path in given]
    try:
        return os.path.commonpath([os.path.abspath(folder) for folder in folders])
    except ValueError as error:
        raise OutputError(
            f"expected photos on one drive, got several ({error}); give those of each drive alone"
        ) from error


def check_apart(out: Path, photos: Iterable[str | Path]) -> None:
    """Raise `OutputError` if photos lie in folders of `out` that will be written to."""
    written = {os.path.realpath(out / name) for name in (OVERLAYS, MESHES)}
    for folder in {os.path.dirname(os.path.abspath(photo)) for photo in photos}:
        real = Path(os.path.realpath(folder))
        if written & {str(one) for one in (real, *real.parents)}:
            raise OutputError(
                f"{folder}: holds inputs and would be written to, so nothing was done; give another folder with --out"
            )


def _side_by_side(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Put the pictures of an overview in a row, with white gaps; the photo alone if it has no face."""
    if NO_FACE in pictures:
        return pictures[NO_FACE]
    row = [pictures[name] for name in ROWS]
    gap = np.full((row[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in row for part in (gap, picture)][1:], axis=1)
