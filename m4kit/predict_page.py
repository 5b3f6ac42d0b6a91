"""The pages and the short table that `m4kit predict` makes of its table of faces."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

from m4kit.camera import HeadPose
from m4kit.face_model import FaceModel
from m4kit.face_table import SHORT, faces_from, table_of
from m4kit.files import OutputFolder, text_of
from m4kit.live import LiveFace, content, data_blocks, live_script, live_style
from m4kit.pages import render_page
from m4kit.photo_files import GAP, PhotoFiles
from m4kit.visualize.drawing import angle_text, pose_text
from m4kit.visualize.figures import NO_FACE, ROWS

if TYPE_CHECKING:
    import pandas

FILES = ("faces.csv", "index.html")

PAGES = "pages"
"""The folder of the pages after the first."""

_PHOTOS = 300
"""Photos of a page, which then has some 1.5 MB; pictures are files beside it, loaded as one scrolls."""

_MODE_STEP = 0.04
"""Millimetres to which a page's modes are rounded."""

_LONG = ("parameters", "face_model")
"""Columns for the faces in 3D."""

_NUMBER = 0.055
"""Height of a face's number over the picture of head poses, as a share of the picture's height."""

_CAPTIONED = 3
"""A photo of at most this many faces has their angles below its picture; with more, its table is open."""

_DIGITS = (
    dict.fromkeys(("left", "top", "right", "bottom", "crop_left", "crop_top", "crop_size"), 1)
    | dict.fromkeys(("yaw", "pitch", "roll"), 2)
    | {"score": 4, "failure_probability": 3, "seconds": 4}
)


@dataclass(frozen=True)
class _Photo:
    """One photo of a page. `size` is its width and height, None if it could not be read, which `failure` explains.

    `first` is the number of its first face on the page.
    """

    title: str
    link: str
    size: tuple[int, int] | None
    seconds: float | None
    failure: str = ""
    picture: str = ""
    numbers: dict | None = None
    poses: tuple[str, ...] = ()
    first: int = 0
    faces: tuple[tuple[str, ...], ...] = ()

    @property
    def facts(self) -> str:
        """The line beside its title."""
        if self.failure:
            return "not read"
        facts = _count(len(self.faces), "face") if self.faces else NO_FACE
        return facts if self.seconds is None else f"{facts} · {_duration(self.seconds)}"

    @property
    def open(self) -> bool:
        """Whether its table is open."""
        return not self.picture or len(self.faces) > _CAPTIONED

    @property
    def captions(self) -> tuple[str, ...]:
        """The names of the pictures in a row."""
        return ROWS if self.faces else ()


def write_pages(
    output: OutputFolder, table: Path, photos: Sequence[Path], files: PhotoFiles, model: FaceModel
) -> tuple[Path, list[str]]:
    """Write `faces.csv` and the pages of a table; gives the first page and why photos could not be predicted.

    `photos` fixes the order. Each page shows 300 photos, with links to the overlays of `files` if there are any, and
    their faces live in 3D; `model` is the table's face model.
    """
    rows = _rows(table, photos)
    short = rows.drop(columns=["order", *_LONG]).round(_DIGITS)
    short["reasons"] = ["" if reasons is None else "; ".join(reasons) for reasons in short["reasons"]]
    output.write(FILES[0], lambda path: short.to_csv(path, index=False))
    groups = [group for _, group in rows.groupby("order", sort=True)]
    paths = {text_of(str(photo)): photo for photo in photos}
    titles = _titles([group["photo"].iloc[0] for group in groups])
    count = max(1, -(-len(groups) // _PHOTOS))
    names = [FILES[1], *(f"{PAGES}/{number}.html" for number in range(2, count + 1))]
    if count > 1:
        (output.path / PAGES).mkdir(exist_ok=True)
    facts, first = _facts(rows, len(photos)), output.path / FILES[1]
    for number, name in enumerate(names):
        start = number * _PHOTOS
        shown = list(zip(groups[start : start + _PHOTOS], titles[start : start + _PHOTOS], strict=True))
        base = (output.path / name).parent
        links = [
            (os.path.relpath(output.path / other, base).replace(os.sep, "/"), other == name)
            for other in names
        ]
        counts = [int(group["face"].notna().sum()) for group, _ in shown]
        first_faces = np.cumsum([0, *counts]).tolist()
        page = render_page(
            "predict.html",
            title="Faces in 3D",
            facts=facts,
            photos=[
                replace(_photo(group, title, paths, files, base), first=number)
                for (group, title), number in zip(shown, first_faces, strict=False)
            ],
            **_live(shown, model),
            pages=links if count > 1 else [],
            up="" if number == 0 else "../",
        )
        written = output.write(name, lambda path, page=page: path.write_text(page, encoding="utf-8"))
        first = written if number == 0 else first
    return first, rows["error"].dropna().tolist()


def _live(shown: Sequence[tuple[pandas.DataFrame, str]], model: FaceModel) -> dict[str, str]:
    """Make the blocks of a page that show its faces live; empty if there are none."""
    import pandas

    rows = pandas.concat([group for group, _ in shown])
    rows = rows[rows["face"].notna()]
    titles = {group["order"].iloc[0]: (title, len(group)) for group, title in shown}
    faces = []
    for face, row in zip(faces_from(rows, model=model), rows.itertuples(), strict=True):
        title, count = titles[row.order]
        chance = None if np.isnan(row.failure_probability) else row.failure_probability
        name = f"{title}, face {row.face}" if count > 1 else title
        faces.append(LiveFace.of(face, title=name, failure_probability=chance))
    if not faces:
        return {"style": "", "data": "", "script": ""}
    found, packer = content(faces, head=False, step=_MODE_STEP)
    return {
        "style": live_style(),
        "data": data_blocks(found, packer),
        "script": live_script("live_photos"),
    }


def _rows(table: Path, photos: Sequence[Path]) -> pandas.DataFrame:
    """Read the columns that pages need, in the order of the photos; photos that are no longer given come last."""
    parts = [parquet.read_table(part, columns=[*SHORT, *_LONG]) for part in sorted(table.glob("*.parquet"))]
    rows = pyarrow.concat_tables([table_of([]).select([*SHORT, *_LONG]), *parts]).to_pandas()
    places = {text_of(str(photo)): place for place, photo in reversed(list(enumerate(photos)))}
    # Whole numbers that may be missing.
    rows = rows.astype(dict.fromkeys(("face", "width", "height"), "Int32"))
    others = {
        name: len(places) + place for place, name in enumerate(sorted(set(rows["photo"]) - places.keys()))
    }
    rows["order"] = rows["photo"].map(places | others)
    return rows.sort_values(["order", "face"], ignore_index=True)


def _photo(
    rows: pandas.DataFrame, title: str, paths: dict[str, Path], files: PhotoFiles, base: Path
) -> _Photo:
    first = rows.iloc[0]
    path = paths.get(first["photo"])
    faces = rows[rows["face"].notna()]
    link = "" if path is None else _url(path, base)
    seconds = None if np.isnan(first["seconds"]) else float(first["seconds"])
    if isinstance(first["error"], str):
        return _Photo(title, link, None, seconds, failure=first["error"])
    size = int(first["width"]), int(first["height"])
    overlay = files.overlay_of(str(path)) if files.overlay and path is not None else None
    shown = overlay is not None and overlay.exists()
    poses = [HeadPose(*pose) for pose in faces[["yaw", "pitch", "roll"]].to_numpy(float)]
    return _Photo(
        title,
        link,
        size,
        seconds,
        picture=_url(overlay, base) if shown else "",
        numbers=_numbers(overlay, faces, size) if shown and len(faces) > 1 else None,
        poses=_captions(poses),
        faces=tuple(_row(*row) for row in zip(faces.to_dict("records"), poses, strict=True)),
    )


def _numbers(overlay: Path, faces: pandas.DataFrame, size: tuple[int, int]) -> dict[str, object]:
    """Place the faces' numbers over the picture of head poses, the second of the row, in pixels of the overlay."""
    with Image.open(overlay) as picture:
        width, height = picture.size
    panel = (width - GAP * (len(ROWS) - 1)) / len(ROWS)
    scale, digit = panel / size[0], _NUMBER * height
    places = [
        (panel + GAP + scale * (face["left"] + face["right"]) / 2, max(scale * face["top"], 0.8 * digit))
        for face in faces.to_dict("records")
    ]
    return {
        "width": width,
        "height": height,
        "size": round(digit, 1),
        "places": [(round(x, 1), round(y, 1)) for x, y in places],
    }


def _row(face: dict[Hashable, object], pose: HeadPose) -> tuple[str, ...]:
    """Make a face's row in the page's table."""
    width, height = face["right"] - face["left"], face["bottom"] - face["top"]
    size = f"{width:.0f} \N{MULTIPLICATION SIGN} {height:.0f}"
    failure = face["failure_probability"]
    return (
        str(face["face"]),
        size,
        f"{face['score']:.2f}",
        *map(angle_text, pose),
        "" if np.isnan(failure) else f"{failure:.0%}",
        "; ".join(() if face["reasons"] is None else face["reasons"]),
    )


def _captions(poses: Sequence[HeadPose]) -> tuple[str, ...]:
    """Write the lines below the picture of head poses, which is too small to show angles."""
    if len(poses) > _CAPTIONED:
        return ("angles by number in the table",)
    numbers = [f"face {number}: " if len(poses) > 1 else "" for number in range(1, len(poses) + 1)]
    return tuple(number + pose_text(pose) for number, pose in zip(numbers, poses, strict=True))


def _url(path: Path, base: Path) -> str:
    """Link to a file, relative to a page in the folder `base`."""
    try:
        relative = os.path.relpath(path, base)
    # Another drive has no relative path.
    except ValueError:
        return Path(path).absolute().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def _facts(rows: pandas.DataFrame, wanted: int) -> str:
    photos = rows.drop_duplicates("order")
    unread = int(photos["error"].notna().sum())
    facts = [_count(len(photos) - unread, "photo"), _count(int(rows["face"].notna().sum()), "face")]
    if unread:
        facts.append(f"{_count(unread, 'photo')} not read")
    if (left := wanted - len(photos)) > 0:
        facts.append(f"stopped before {_count(left, 'photo')}")
    if len(times := photos.loc[photos["error"].isna(), "seconds"].dropna()):
        facts.append(f"median {_duration(float(np.median(times)))} per photo")
    return " · ".join(facts)


def _titles(sources: Sequence[str]) -> list[str]:
    """Return the photos' names, preceded by as many folders as it takes to tell equal names apart."""
    paths = {source: Path(source).parts for source in sources}
    ends = {source: [parts[-k:] for k in range(1, len(parts) + 1)] for source, parts in paths.items()}
    count = Counter(end for some in ends.values() for end in some)
    return [
        Path(*next((end for end in ends[source] if count[end] == 1), paths[source])).as_posix()
        for source in sources
    ]


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
