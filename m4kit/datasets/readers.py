"""Lists all readers of data sets by the name of the layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from m4kit.datasets.crops import read_3ddfa_list, read_aflw_crops, read_youtube_faces
from m4kit.datasets.dlib import read_dlib_xml
from m4kit.datasets.matlab import read_300w_lp, read_aflw2000_3d
from m4kit.datasets.points import read_artistic_faces, read_folder, read_pts, read_txt
from m4kit.datasets.sample import DatasetError, Sample
from m4kit.datasets.tables import read_csv

READERS: dict[str, Callable[..., tuple[Sample, ...]]] = {
    "aflw2000-3d": read_aflw2000_3d,
    "300w-lp": read_300w_lp,
    "aflw-crops": read_aflw_crops,
    "youtube-faces": read_youtube_faces,
    "3ddfa-list": read_3ddfa_list,
    "pts": read_pts,
    "artistic-faces": read_artistic_faces,
    "txt": read_txt,
    "dlib-xml": read_dlib_xml,
    "csv": read_csv,
    "folder": read_folder,
}
"""The reader of each layout."""

WITH_LANDMARKS = tuple(name for name in READERS if name not in ("aflw-crops", "folder"))
"""Layouts whose faces have all 68 landmarks."""


def read(path: str | Path, layout: str, **options) -> tuple[Sample, ...]:
    """Read the samples at `path` with the reader of a layout, one of `READERS`, and its options.

    Raises `DatasetError` for an unknown layout, and what the reader raises.
    """
    if not isinstance(layout, str) or layout not in READERS:
        raise DatasetError(f"layout: expected one of {', '.join(READERS)}, got {layout!r}")
    return READERS[layout](path, **options)
