"""A folder of results that opens in a browser: a page, an overview of each photo, a table of the faces."""

from __future__ import annotations

import base64
import csv
import errno
import io
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from m4kit.prediction import Face, Prediction
from m4kit.visualize.drawing import angle_text
from m4kit.visualize.figures import NO_FACE, VIEWS, figure_of, photo_views

FACE_COLUMNS = (
    *("photo", "face", "left", "top", "right", "bottom", "score"),
    *("yaw_degrees", "pitch_degrees", "roll_degrees"),
)
"""The columns of `faces.csv`; boxes are in photo pixels."""

_PAGE_BYTES = 10_000_000
"""What a page's pictures may take before base64 makes them a third larger."""

_NAME_BYTES = 200

_SIDES = (1200, 960, 720, 560, 420, 320, 240)


@dataclass(frozen=True)
class _Entry:
    """One photo's row of the page."""

    source: str
    body: str
    faces: int | None
    seconds: float | None


class Gallery:
    """Writes predictions into a folder, one photo after another.

    Each `add` writes `<photo>_overview.jpg` at once; `close` writes `faces.csv` (one row a face),
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
        self._budget = _PAGE_BYTES // max(1, photos * len(VIEWS))
        self._entries: list[_Entry] = []
        self._table: list[list] = []
        self._landmarks: list[dict] = []
        self._names: set[str] = set()

    def add(self, prediction: Prediction, *, seconds: float | None = None) -> Path:
        """Write a photo's overview and give its path. `seconds` is what the prediction took."""
        prediction = replace(prediction, source=_as_text(prediction.source))
        path = self.folder / f"{self._name(prediction.source)}_overview.jpg"
        pictures = photo_views(prediction, max_side=_SIDES[0])
        figure_of(pictures).save(path)
        for number, face in enumerate(prediction, start=1):
            self._table.append([prediction.source, number, *_numbers(face)])
        self._landmarks.append(_record(prediction))
        body = f'<div class="views">{self._embedded(pictures)}</div>{_face_table(prediction)}'
        self._entries.append(_Entry(prediction.source, body, len(prediction), seconds))
        return path

    def add_failure(self, source: str, message: str) -> None:
        """Note a photo that could not be read: a row of the page says why."""
        body = f'<p class="failure">{escape(_as_text(message))}</p>'
        self._entries.append(_Entry(_as_text(source), body, None, None))

    def close(self) -> Path:
        """Write the tables and the page, and give the page's path."""
        with (self.folder / "faces.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(FACE_COLUMNS)
            writer.writerows(self._table)
        text = json.dumps(self._landmarks, indent=1)
        (self.folder / "landmarks.json").write_text(text, encoding="utf-8")
        page = self.folder / "index.html"
        page.write_text(self._page(), encoding="utf-8")
        return page

    def _name(self, source: str) -> str:
        """A file name for the photo that none of this gallery has yet."""
        # A file's name may take 255 bytes.
        stem = Path(source).stem.encode()[:_NAME_BYTES].decode(errors="ignore")
        stem = re.sub(r"[^\w.-]+", "_", stem).strip("_.") or "photo"
        name, number = stem, 1
        while name.lower() in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name.lower())
        return name

    def _embedded(self, pictures: dict[str, np.ndarray]) -> str:
        return "".join(
            f'<figure><label><input type="checkbox" aria-label="enlarge: {name}">'
            f'<img alt="{name}" src="data:image/jpeg;base64,{base64_jpeg(picture, self._budget)}"></label>'
            f"<figcaption>{name}</figcaption></figure>"
            for name, picture in pictures.items()
        )

    def _page(self) -> str:
        read = [entry for entry in self._entries if entry.faces is not None]
        faces = sum(entry.faces for entry in read)
        times = [entry.seconds for entry in read if entry.seconds is not None]
        facts = [_count(len(read), "photo"), _count(faces, "face")]
        if len(read) < len(self._entries):
            facts.append(f"{_count(len(self._entries) - len(read), 'photo')} not read")
        if times:
            facts.append(f"median {_duration(float(np.median(times)))} a photo")
        titles = _titles([entry.source for entry in self._entries])
        rows = "\n".join(map(_section, self._entries, titles))
        return _PAGE.format(title=escape(self.title), facts=" · ".join(facts), style=_STYLE, rows=rows)


def _as_text(name: str) -> str:
    """A name that can be written: on disk it may hold bytes that are no text, which are shown as such."""
    return name.encode(errors="backslashreplace").decode()


def _numbers(face: Face) -> list[float]:
    """A face's box, score and angles, rounded as far as they mean something."""
    box = [round(float(v), 1) for v in (face.box.left, face.box.top, face.box.right, face.box.bottom)]
    return [*box, round(float(face.box.score), 4), *(round(float(angle), 2) for angle in face.pose)]


def _record(prediction: Prediction) -> dict:
    """A photo's faces for `landmarks.json`."""
    height, width = prediction.image.shape[:2]
    faces = []
    for face in prediction:
        left, top, right, bottom, score, yaw, pitch, roll = _numbers(face)
        faces.append(
            {
                "box": [left, top, right, bottom],
                "score": score,
                "pose_degrees": {"yaw": yaw, "pitch": pitch, "roll": roll},
                "landmarks": np.round(np.asarray(face.landmarks, dtype=float), 2).tolist(),
            }
        )
    return {"photo": prediction.source, "width": width, "height": height, "faces": faces}


def base64_jpeg(picture: np.ndarray, budget: int) -> str:
    """The picture as JPEG in base64, made smaller until its file fits into `budget` bytes."""
    image = Image.fromarray(picture)
    for side in _SIDES:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, format="jpeg", quality=86, optimize=True)
        if buffer.tell() <= budget:
            break
    return base64.b64encode(buffer.getvalue()).decode()


def _face_table(prediction: Prediction) -> str:
    if not len(prediction):
        return ""
    head = "".join(f"<th>{name}</th>" for name in ("face", "size", "score", "yaw", "pitch", "roll"))
    rows = "".join(_face_row(number, face) for number, face in enumerate(prediction, start=1))
    count = _count(len(prediction), "face")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<details><summary>{count} in numbers</summary>{table}</details>"


def _face_row(number: int, face: Face) -> str:
    angles = [angle_text(angle) for angle in face.pose]
    size = f"{face.box.width:.0f} &times; {face.box.height:.0f}"
    return f"<tr>{_cells([str(number), size, f'{face.box.score:.2f}', *angles])}</tr>"


def _cells(values: Sequence[str]) -> str:
    return "".join(f"<td>{value}</td>" for value in values)


def _titles(sources: Sequence[str]) -> list[str]:
    """The photos' names, and before those that are alike as many of their folders as tell them apart."""
    paths = {source: Path(source).parts for source in sources}
    ends = {source: [parts[-k:] for k in range(1, len(parts) + 1)] for source, parts in paths.items()}
    count = Counter(end for some in ends.values() for end in some)
    return [
        Path(*next((end for end in ends[source] if count[end] == 1), paths[source])).as_posix()
        for source in sources
    ]


def _section(entry: _Entry, title: str) -> str:
    facts = "not read" if entry.faces is None else _count(entry.faces, "face") if entry.faces else NO_FACE
    if entry.seconds is not None:
        facts += f" · {_duration(entry.seconds)}"
    return f"<section><h2>{escape(title)} <small>{facts}</small></h2>{entry.body}</section>"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --text: #1f2328; --soft: #656d76;
  --line: #d8dee4; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1216; --card: #181c22; --text: #e6e9ed;
  --soft: #949ca6; --line: #2d333b; --bad: #ff8a7a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header, main, footer { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: 26px; margin: 0; letter-spacing: -0.01em; }
header p, footer { color: var(--soft); margin: 4px 0 20px; }
footer { margin: 0 auto; padding-bottom: 40px; font-size: 13px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 16px 18px 18px; margin: 0 0 18px; }
h2 { font-size: 16px; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 small { font-weight: 400; font-size: 14px; color: var(--soft); margin-left: 8px; }
.views { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 12px; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 4px; text-align: center; }
label { display: block; cursor: zoom-in; }
label input { position: absolute; opacity: 0; pointer-events: none; }
img { display: block; width: 100%; height: 240px; object-fit: contain; border-radius: 6px;
  background: color-mix(in srgb, var(--line) 40%, transparent); }
input:focus-visible + img { outline: 3px solid #3b82f6; outline-offset: 2px; }
input:checked + img { position: fixed; inset: 0; z-index: 10; width: 100vw; height: 100vh; padding: 2vmin;
  border-radius: 0; background: rgb(12 14 17 / 0.96); cursor: zoom-out; }
details { margin-top: 12px; color: var(--soft); font-size: 14px; }
summary { cursor: pointer; }
table { border-collapse: collapse; margin-top: 8px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 3px 14px 3px 0; font-weight: 400; }
td { color: var(--text); border-top: 1px solid var(--line); }
.failure { color: var(--bad); margin: 0; overflow-wrap: anywhere; }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{facts}</p></header>
<main>
{rows}
</main>
<footer>Click a picture to enlarge it, and again to put it back. Yaw is positive towards the photo's left,
pitch upwards, roll clockwise. The numbers are in faces.csv and landmarks.json beside this page.</footer>
</body>
</html>
"""
