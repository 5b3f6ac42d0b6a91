"""The folder that `m4kit predict` writes: a page, an overview of each photo, and tables of the faces."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m4kit.files import OutputFolder, text_of
from m4kit.pages import picture_url, render_page
from m4kit.prediction import Face, Prediction
from m4kit.visualize.drawing import angle_text, pose_text
from m4kit.visualize.figures import NO_FACE, ROWS, figure_of, overview_pictures

if TYPE_CHECKING:
    import pandas

_FILES = ("faces.csv", "landmarks.json", "index.html")

_PAGE_BYTES = 10_000_000
"""Budget for a page's pictures, before base64 makes them a third larger."""

_NAME_BYTES = 200

_SHOWN, _NUMBER = (268, 240), 13
"""Width and height of a picture in the page before it is enlarged, and height of a face's number, in CSS pixels."""

_CAPTIONED = 3
"""Up to so many faces of a photo have their angles below its picture of head poses; with more, the table is open."""

_SIDES = (1200, 960, 720, 560, 420, 320, 240)

_ANGLES = {name: f"{name}_degrees" for name in ("yaw", "pitch", "roll")}


@dataclass(frozen=True)
class _Photo:
    """One photo of the page; `count` is None for a photo that could not be read, which `failure` explains."""

    source: str
    count: int | None
    failure: str = ""
    table: pandas.DataFrame | None = None
    record: dict | None = None
    pictures: dict[str, str] = field(default_factory=dict)
    poses: tuple[str, ...] = ()
    numbers: dict | None = None
    faces: tuple[tuple[str, ...], ...] = ()
    seconds: float | None = None

    @property
    def facts(self) -> str:
        """The line beside its title."""
        facts = "not read" if self.count is None else _count(self.count, "face") if self.count else NO_FACE
        return facts if self.seconds is None else f"{facts} · {_duration(self.seconds)}"

    @property
    def open(self) -> bool:
        """Whether its table is open."""
        return len(self.faces) > _CAPTIONED


class Gallery:
    """Writes the predictions of `photos` into a folder, one photo after another.

    A context manager. Each `add` writes `<photo>_overview.jpg` at once. The end of the context, whether by an error
    or not, writes `faces.csv` (one row per face), `landmarks.json` and `index.html`, a page that holds its pictures
    itself. The more photos, the smaller the page's pictures, so that it stays under 15 MB up to some 150 photos.

    `page` is the path of the page. A file that does not fit, as on a full disk, goes elsewhere, and the end of the
    context raises `UnwrittenError`, which says where.

    Raises `OutputError` for a folder that cannot be written to, and for one with files that would be overwritten
    though m4kit did not write them, or that are `photos` (`files.OutputFolder`).
    """

    def __init__(self, folder: str | Path, photos: Sequence[str | Path]):
        self._names = _file_names([str(photo) for photo in photos])
        overviews = [name for names in self._names.values() for name in names]
        self._output = OutputFolder(folder, [*overviews, *_FILES], inputs=photos)
        self.page = self._output.path / _FILES[-1]
        self._budget = _PAGE_BYTES // max(1, len(photos) * len(ROWS))
        self._photos: list[_Photo] = []

    def __enter__(self) -> Gallery:
        self._output.__enter__()
        return self

    def __exit__(self, *stopped) -> None:
        import pandas

        photos = [photo for photo in self._photos if photo.count is not None]
        none = _table(Prediction(np.zeros((1, 1, 3), np.uint8), ()))
        table = pandas.concat([photo.table for photo in photos] or [none], ignore_index=True)
        page = self._page()
        records = json.dumps([photo.record for photo in photos], indent=1)
        write = self._output.write
        write(_FILES[0], lambda path: table.to_csv(path, index=False))
        write(_FILES[1], lambda path: path.write_text(records, encoding="utf-8"))
        self.page = write(_FILES[2], lambda path: path.write_text(page, encoding="utf-8"))
        self._output.__exit__(*stopped)

    def add(self, prediction: Prediction, *, seconds: float | None = None) -> Path:
        """Write the overview of one of the photos and give its path. `seconds` is what the prediction took."""
        names = self._names[prediction.source]
        prediction = replace(prediction, source=text_of(prediction.source))
        pictures = overview_pictures(prediction, max_side=_SIDES[0])
        overview = figure_of(pictures)
        self._photos.append(
            _Photo(
                prediction.source,
                len(prediction),
                table=_table(prediction),
                record=prediction.to_dict(),
                pictures={
                    name: picture_url(picture, self._budget, sides=_SIDES)
                    for name, picture in pictures.items()
                },
                poses=_poses(prediction),
                numbers=_numbers(prediction) if len(prediction) > 1 else None,
                faces=tuple(_row(number, face) for number, face in enumerate(prediction, start=1)),
                seconds=seconds,
            )
        )
        return self._output.write(names.pop(0), overview.save)

    def add_failure(self, source: str, message: str) -> None:
        """Note a photo that could not be read: a row of the page shows the message."""
        if self._names.get(source):
            self._names[source].pop(0)
        self._photos.append(_Photo(text_of(source), None, failure=text_of(message)))

    def _page(self) -> str:
        read = [photo for photo in self._photos if photo.count is not None]
        times = [photo.seconds for photo in read if photo.seconds is not None]
        facts = [_count(len(read), "photo"), _count(sum(photo.count for photo in read), "face")]
        if len(read) < len(self._photos):
            facts.append(f"{_count(len(self._photos) - len(read), 'photo')} not read")
        if left := sum(map(len, self._names.values())):
            facts.append(f"stopped before {_count(left, 'photo')}")
        if times:
            facts.append(f"median {_duration(float(np.median(times)))} per photo")
        titles = _titles([photo.source for photo in self._photos])
        photos = list(zip(titles, self._photos, strict=True))
        return render_page("predict.html", title="Faces in 3D", facts=" · ".join(facts), photos=photos)


def _file_names(sources: Sequence[str]) -> dict[str, list[str]]:
    """Different file names for the overviews: those of each source, which may be there twice."""
    taken, names = set(), {source: [] for source in sources}
    for source in sources:
        # A file's name may take 255 bytes.
        stem = Path(source).stem.encode(errors="ignore")[:_NAME_BYTES].decode(errors="ignore")
        stem = re.sub(r"[^\w.-]+", "_", stem).strip("_.") or "photo"
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        names[source].append(f"{name}_overview.jpg")
    return names


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


def _poses(prediction: Prediction) -> tuple[str, ...]:
    """The lines below the picture of head poses, which is too small to show angles."""
    faces = list(prediction)
    if len(faces) > _CAPTIONED:
        return ("angles by number in the table",)
    numbers = [f"face {number}: " if len(faces) > 1 else "" for number in range(1, len(faces) + 1)]
    return tuple(number + pose_text(face.pose) for number, face in zip(numbers, faces, strict=True))


def _numbers(prediction: Prediction) -> dict[str, object]:
    """The faces' numbers over the picture of head poses, in photo pixels: places (x, y) and height of a figure."""
    height, width = prediction.image.shape[:2]
    size = _NUMBER * max(width / _SHOWN[0], height / _SHOWN[1])
    places = [((face.box.left + face.box.right) / 2, face.box.top) for face in prediction]
    return {
        "width": width,
        "height": height,
        "size": round(size, 1),
        "places": [(round(x, 1), round(max(y, 0.8 * size), 1)) for x, y in places],
    }


def _titles(sources: Sequence[str]) -> list[str]:
    """The photos' names, preceded by as many folders as it takes to tell equal names apart."""
    paths = {source: Path(source).parts for source in sources}
    ends = {source: [parts[-k:] for k in range(1, len(parts) + 1)] for source, parts in paths.items()}
    count = Counter(end for some in ends.values() for end in some)
    return [
        Path(*next((end for end in ends[source] if count[end] == 1), paths[source])).as_posix()
        for source in sources
    ]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
