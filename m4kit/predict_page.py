"""The folder that `m4kit predict` writes: a page, an overview of each photo, and tables of the faces."""

from __future__ import annotations

import errno
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m4kit.pages import picture_url, render_page
from m4kit.prediction import Face, Prediction
from m4kit.visualize.drawing import angle_text
from m4kit.visualize.figures import NO_FACE, ROWS, figure_of, overview_pictures

if TYPE_CHECKING:
    import pandas

_PAGE_BYTES = 10_000_000
"""What a page's pictures may take before base64 makes them a third larger."""

_NAME_BYTES = 200

_SIDES = (1200, 960, 720, 560, 420, 320, 240)

_ANGLES = {name: f"{name}_degrees" for name in ("yaw", "pitch", "roll")}


@dataclass(frozen=True)
class _Photo:
    """One photo of the page; `count` is None for a photo that could not be read, which `failure` explains."""

    source: str
    count: int | None
    failure: str = ""
    pictures: dict[str, str] = field(default_factory=dict)
    faces: tuple[tuple[str, ...], ...] = ()
    seconds: float | None = None


class Gallery:
    """Writes predictions into a folder, one photo after another.

    Each `add` writes `<photo>_overview.jpg` at once; `close` writes `faces.csv` (one row per face),
    `landmarks.json` and `index.html`, a page that holds its pictures itself. `photos` is the number of photos
    to come: the more, the smaller the page's pictures, so that it stays under 15 MB up to some 150 photos.
    Raises `OSError` for a folder that cannot be made or written to.
    """

    def __init__(self, folder: str | Path, *, photos: int, title: str = "Faces in 3D"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder))
        self.title = title
        self._budget = _PAGE_BYTES // max(1, photos * len(ROWS))
        self._photos: list[_Photo] = []
        self._tables: list[pandas.DataFrame] = []
        self._records: list[dict] = []
        self._names: set[str] = set()

    def add(self, prediction: Prediction, *, seconds: float | None = None) -> Path:
        """Write a photo's overview and give its path. `seconds` is what the prediction took."""
        prediction = replace(prediction, source=_as_text(prediction.source))
        path = self.folder / f"{self._name(prediction.source)}_overview.jpg"
        pictures = overview_pictures(prediction, max_side=_SIDES[0])
        figure_of(pictures).save(path)
        self._tables.append(_table(prediction))
        self._records.append(prediction.to_dict())
        self._photos.append(
            _Photo(
                prediction.source,
                len(prediction),
                pictures={
                    name: picture_url(picture, self._budget, sides=_SIDES)
                    for name, picture in pictures.items()
                },
                faces=tuple(_row(number, face) for number, face in enumerate(prediction, start=1)),
                seconds=seconds,
            )
        )
        return path

    def add_failure(self, source: str, message: str) -> None:
        """Note a photo that could not be read: a row of the page shows the message."""
        self._photos.append(_Photo(_as_text(source), None, failure=_as_text(message)))

    def close(self) -> Path:
        """Write the tables and the page, and give the page's path."""
        import pandas

        none = _table(Prediction(np.zeros((1, 1, 3), np.uint8), ()))
        table = pandas.concat(self._tables, ignore_index=True) if self._tables else none
        table.to_csv(self.folder / "faces.csv", index=False)
        text = json.dumps(self._records, indent=1)
        (self.folder / "landmarks.json").write_text(text, encoding="utf-8")
        page = self.folder / "index.html"
        page.write_text(self._page(), encoding="utf-8")
        return page

    def _name(self, source: str) -> str:
        """A file name for the photo that none of this folder has yet."""
        # A file's name may take 255 bytes.
        stem = Path(source).stem.encode()[:_NAME_BYTES].decode(errors="ignore")
        stem = re.sub(r"[^\w.-]+", "_", stem).strip("_.") or "photo"
        name, number = stem, 1
        while name.lower() in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name.lower())
        return name

    def _page(self) -> str:
        read = [photo for photo in self._photos if photo.count is not None]
        times = [photo.seconds for photo in read if photo.seconds is not None]
        facts = [_count(len(read), "photo"), _count(sum(photo.count for photo in read), "face")]
        if len(read) < len(self._photos):
            facts.append(f"{_count(len(self._photos) - len(read), 'photo')} not read")
        if times:
            facts.append(f"median {_duration(float(np.median(times)))} per photo")
        titles = _titles([photo.source for photo in self._photos])
        photos = [
            {
                "title": title,
                "facts": _facts(photo),
                "count": _count(photo.count or 0, "face"),
                "failure": photo.failure,
                "pictures": photo.pictures,
                "faces": photo.faces,
            }
            for photo, title in zip(self._photos, titles, strict=True)
        ]
        return render_page("predict.html", title=self.title, facts=" · ".join(facts), photos=photos)


def _as_text(name: str) -> str:
    """A name that can be written: bytes on disk that are not text become escapes."""
    return name.encode(errors="backslashreplace").decode()


def _table(prediction: Prediction) -> pandas.DataFrame:
    """The rows of `faces.csv`, one per face: box in photo pixels, score, pose, failure probability."""
    table = prediction.to_dataframe().reset_index()
    table["face"] += 1
    digits = dict.fromkeys(("left", "top", "right", "bottom"), 1) | {"score": 4, "failure_probability": 3}
    table = table.round(digits | dict.fromkeys(_ANGLES, 2)).rename(columns=_ANGLES)
    table.insert(0, "photo", prediction.source)
    return table


def _row(number: int, face: Face) -> tuple[str, ...]:
    """A face's row in the page's table."""
    size = f"{face.box.width:.0f} \N{MULTIPLICATION SIGN} {face.box.height:.0f}"
    return (str(number), size, f"{face.score:.2f}", *map(angle_text, face.pose))


def _titles(sources: Sequence[str]) -> list[str]:
    """The photos' names, preceded by as many folders as it takes to tell equal names apart."""
    paths = {source: Path(source).parts for source in sources}
    ends = {source: [parts[-k:] for k in range(1, len(parts) + 1)] for source, parts in paths.items()}
    count = Counter(end for some in ends.values() for end in some)
    return [
        Path(*next((end for end in ends[source] if count[end] == 1), paths[source])).as_posix()
        for source in sources
    ]


def _facts(photo: _Photo) -> str:
    facts = "not read" if photo.count is None else _count(photo.count, "face") if photo.count else NO_FACE
    return facts if photo.seconds is None else f"{facts} · {_duration(photo.seconds)}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
