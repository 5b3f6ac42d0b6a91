"""A scene report: what `analyse` found, a row a face and a row a photo; saved, loaded, summed up and
compared."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m4kit import metrics
from m4kit.boxes import HIT_IOU, pairwise_iou
from m4kit.camera import CROP_SIZE, Crop
from m4kit.face_model import FaceModel
from m4kit.files import write_whole
from m4kit.images import load_image
from m4kit.prediction import Face, FaceBox
from m4kit.scenes.cells import groups, interval, markdown, scenes_of, values_of
from m4kit.scenes.tables import (
    FACE_COLUMNS,
    PHOTO_COLUMNS,
    SUFFIX,
    Column,
    Table,
    TableError,
    check_columns,
    frame_of,
    kinds_of,
    load_table,
    save_table,
    table_of,
    unpacked,
)
from m4kit.scenes.taxonomy import RULES, label_of
from m4kit.weights import fingerprint

if TYPE_CHECKING:
    import pandas

VERSION = 2
"""Of the report's files; another one is not read."""

FIGURES = (
    *("nme", "pose_error", "landmark_drift", "mesh_drift", "pose_drift"),
    *("score", "head_spread", "flip_consistency", "jitter_consistency", "failure_probability"),
)
"""Columns of the faces whose means `summary` and `compare` give."""

SUMMARY_COLUMNS = (
    Column("condition", "text", "one of the seven, `distractor`, or empty: clean or not known"),
    Column("severity", "number", "NaN where there is none"),
    Column("photos", "whole", "photos that could be read"),
    Column("unread", "whole", "photos that could not"),
    Column("faces", "whole", "faces of the reference"),
    Column("found", "whole", "detections"),
    Column("hits", "whole", "faces of the reference that a detection hits"),
    Column("recall", "number", "hits / faces over all photos that have a reference"),
    Column("recall_low", "number", "95 % bootstrap interval, scenes drawn anew"),
    Column("recall_high", "number", "its upper end"),
    Column("precision", "number", "hits / found over the photos whose faces are all labelled"),
    *(
        column
        for name in FIGURES
        for column in (
            Column(name, "number", f"mean over the faces that have `{name}`"),
            Column(f"{name}_faces", "whole", "how many have it"),
            Column(f"{name}_low", "number", "95 % bootstrap interval of the mean, scenes drawn anew"),
            Column(f"{name}_high", "number", "its upper end"),
        )
    ),
    *(Column(label, "whole", rule) for label, rule in RULES.items()),
)

COMPARISON_COLUMNS = (
    Column("condition", "text", "as in the summary"),
    Column("severity", "number", "as in the summary"),
    Column("figure", "text", "`recall`, `precision` or one of `FIGURES`"),
    Column(
        "count", "whole", "of what both reports have it: faces, or detections of the second for `precision`"
    ),
    Column("before", "number", "this report's mean"),
    Column("after", "number", "the other's"),
    Column("difference", "number", "after - before"),
    Column("low", "number", "95 % bootstrap interval of the difference, scenes drawn anew"),
    Column("high", "number", "its upper end"),
)

_INFO = "report.json"
_FORMAT = "m4kit scene report"
THUMBNAILS = "thumbnails"


class ReportError(ValueError):
    """A report that cannot be read, or cannot be compared with another."""


@dataclass(frozen=True, eq=False)
class SceneReport:
    """What `analyse` found.

    `face_frame` and `photo_frame` are what a user looks at with pandas.

    `faces` and `photos` are tables, mappings of column names to arrays: those of `tables.FACE_COLUMNS` and
    `tables.PHOTO_COLUMNS`, which say what each holds, and whatever columns are added to them. A row of `faces`
    is a detection, or a face that was missed. `settings` says what was analysed with. `thumbnail` gives the
    faces' pictures.
    """

    faces: Table = field(repr=False)
    photos: Table = field(repr=False)
    settings: Mapping[str, object]
    folder: Path | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.photos["photo"])

    @property
    def face_frame(self) -> pandas.DataFrame:
        """`faces` as a pandas frame."""
        return frame_of(self.faces)

    @property
    def photo_frame(self) -> pandas.DataFrame:
        """`photos` as a pandas frame."""
        return frame_of(self.photos)

    def thumbnail(self, row: int) -> np.ndarray:
        """The picture (120, 120, 3) uint8 RGB of a row of `faces`: its crop, or that around a missed face's
        box."""
        return load_image(self._jpeg(str(self.faces["thumbnail"][row])))

    def face(self, row: int, *, model: FaceModel | None = None) -> Face:
        """The face of a row over its thumbnail, in the thumbnail's pixels: what the network said, without running it.

        `model` is by default the packaged face model. Raises `ReportError` for a missed face, or a face model other
        than the one that the photos were analysed with.
        """
        if self.faces["face"][row] < 0:
            raise ReportError(f"face {row}: expected one that was found, got a missed one; see its thumbnail")
        model = packaged_model() if model is None else model
        own, wanted = fingerprint(model), self.settings.get("face_model", "")
        if own != wanted:
            raise ReportError(f"face {row}: expected the face model {wanted}, got {own}; give model=")
        parameters = unpacked(str(self.faces["parameters"][row]), (1, 62))
        left, top, side = (float(self.faces[name][row]) for name in ("crop_left", "crop_top", "crop_size"))
        corners = np.array([self.faces[name][row] for name in ("left", "top", "right", "bottom")])
        box = (corners - [left, top, left, top]) * CROP_SIZE / side - 0.5
        crop = Crop(-0.5, -0.5, CROP_SIZE)
        score = float(self.faces["score"][row])
        return Face(FaceBox(*box.tolist(), score), crop, parameters, np.ones(1, np.float32), model)

    def reference_landmarks(self, row: int) -> np.ndarray | None:
        """What the face of a row is compared with, (68, 2) in its thumbnail's pixels; None if with nothing."""
        packed_points = str(self.faces["reference_points"][row])
        return unpacked(packed_points, (68, 2)) if packed_points else None

    def save(self, folder: str | Path) -> Path:
        """Write the tables and the thumbnails into a folder, which `load` reads; gives the folder."""
        folder = Path(folder)
        (folder / THUMBNAILS).mkdir(parents=True, exist_ok=True)
        for name in filter(None, self.faces["thumbnail"].tolist()):
            place = folder / THUMBNAILS / name
            if not place.exists():
                write_whole(place, self._jpeg(name))
        columns = {}
        for name, table in (("faces", self.faces), ("photos", self.photos)):
            columns[name] = kinds_of(table)
            save_table(table, folder / f"{name}{SUFFIX}")
        info = {"format": _FORMAT, "version": VERSION, "settings": dict(self.settings), "columns": columns}
        write_whole(folder / _INFO, json.dumps(info, indent=1).encode())
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> SceneReport:
        """The report that `save` or `analyse` left in a folder.

        Raises `FileNotFoundError` if there is none, and `ReportError` for one of another version, with other
        columns, or that is broken.
        """
        folder = Path(folder)
        if not (folder / _INFO).is_file():
            raise FileNotFoundError(
                f"{folder}: expected a scene report ({_INFO}), found none; check the path, or call analyse with this "
                "folder again if it was interrupted"
            )
        info = read_info(folder / _INFO)
        tables = {}
        for name, columns in (("faces", FACE_COLUMNS), ("photos", PHOTO_COLUMNS)):
            own = {column.name: column.kind for column in columns}
            try:
                kinds = dict(info["columns"][name])
                check_columns([one for one in kinds if one in own], own, place=f"{folder}/{name}{SUFFIX}")
                tables[name] = load_table(folder / f"{name}{SUFFIX}", kinds)
            except (TableError, FileNotFoundError, KeyError, TypeError, ValueError) as error:
                raise ReportError(
                    f"{folder}: expected a whole scene report, got {error}; analyse the photos anew"
                ) from error
        return cls(tables["faces"], tables["photos"], info["settings"], folder=folder)

    @cached_property
    def failures(self) -> dict[str, int]:
        """How many faces each rule of `taxonomy.RULES` speaks of; a face may count for several."""
        return _failures(self.faces["failures"])

    def summary(self) -> Table:
        """A row for each condition and severity, with counts: the columns of `SUMMARY_COLUMNS`."""
        rows, scenes = [], scenes_of(self.faces)
        recall = values_of(self.faces, self.photos, "recall") / 100
        for (condition, severity), of_photos in groups(self.photos):
            of_faces = np.isin(self.faces["photo"], self.photos["photo"][of_photos])
            row = {"condition": condition} | ({} if np.isnan(severity) else {"severity": severity})
            row |= _counts(self.photos, of_photos) | _means(self.faces, of_faces)
            found = of_faces & np.isfinite(recall)
            if found.any():
                row |= _ends("recall", recall[found], scenes[found])
            rows.append(row)
        return table_of(rows, SUMMARY_COLUMNS)

    def compare(self, other: SceneReport) -> Table:
        """This report against another one of the same photos: the columns of `COMPARISON_COLUMNS`.

        Only what both have counts: photos of the same name, and of these the same faces, by the truth's number
        where there is one, else by their boxes. Raises `ReportError` for reports with other columns, which it
        names, or without a photo in common.
        """
        for word in ("faces", "photos"):
            try:
                check_columns(getattr(other, word), getattr(self, word), place=f"compare: {word}")
            except TableError as error:
                raise ReportError(f"{error}; give both reports the same columns") from error
        common = np.intersect1d(*(report.photos["photo"][report.photos["read"]] for report in (self, other)))
        if not len(common):
            raise ReportError(
                f"compare: expected reports of the same photos, got {len(self)} and {len(other)} photos with none "
                "that both read"
            )
        rows = []
        for (condition, severity), of_photos in groups(self.photos):
            names = self.photos["photo"][of_photos]
            names = names[np.isin(names, common)]
            row = {"condition": condition} | ({} if np.isnan(severity) else {"severity": severity})
            rows += [row | figure for figure in _figures(self, other, names)]
        return table_of(rows, COMPARISON_COLUMNS)

    def report(self) -> str:
        """The summary as text, a line for each condition and severity."""
        summary = self.summary()
        lines = [
            (
                "condition",
                "photos",
                "faces",
                "recall",
                "precision",
                "NME",
                "pose",
                "drift",
                "spread",
                "failures",
            )
        ]
        for row in range(len(summary["condition"])):
            of = {name: values[row] for name, values in summary.items()}
            severity = "" if np.isnan(of["severity"]) else f" {of['severity']:g}"
            failed = sorted(((of[label], label) for label in RULES if of[label]), reverse=True)
            lines.append(
                (
                    f"{of['condition'] or 'clean or unknown'}{severity}",
                    f"{of['photos']}" + (f" (+{of['unread']} unread)" if of["unread"] else ""),
                    f"{of['faces']}",
                    *(_percent(of[name]) for name in ("recall", "precision")),
                    *(
                        _mean(of[name], of[f"{name}_faces"], unit)
                        for name, unit in (
                            ("nme", " %"),
                            ("pose_error", "°"),
                            ("landmark_drift", " %"),
                            ("head_spread", " %"),
                        )
                    ),
                    ", ".join(f"{label} {count}" for count, label in failed) or "none",
                )
            )
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def to_markdown(self) -> str:
        """The findings as Markdown tables: means with counts and 95 % intervals, and each condition's half-life."""
        return markdown(self)

    def to_html(self, path: str | Path, *, title: str = "Where it fails") -> Path:
        """Write the report as one web page under 10 MB that opens offline, and give its path."""
        # What draws a report needs reports, so it cannot be loaded before this module.
        from m4kit.scenes.page import write_page

        return write_page(self, path, title=title)

    def _jpeg(self, name: str) -> bytes:
        if name in self.pictures:
            return self.pictures[name]
        place = None if self.folder is None else self.folder / THUMBNAILS / name
        if place is None or not place.is_file():
            raise ReportError(
                f"thumbnail {name!r}: expected its picture in {place}, found none; analyse anew"
            )
        return place.read_bytes()


@cache
def packaged_model() -> FaceModel:
    """The packaged face model, loaded once for all faces of reports."""
    return FaceModel.load()


def read_info(path: Path) -> dict:
    """What `report.json` says; `ReportError` if it is of another version or no such file."""
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version = info["version"] if info["format"] == _FORMAT else None
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(
            f"{path}: expected a scene report, got another or a broken file ({error})"
        ) from error
    if version != VERSION:
        raise ReportError(
            f"{path}: expected a scene report of version {VERSION}, got {version}; analyse the photos anew, or read "
            "it with the m4kit that wrote it"
        )
    return info


def _counts(photos: Table, rows: np.ndarray) -> dict[str, object]:
    read = rows & photos["read"]
    known, complete = read & (photos["faces"] >= 0), read & photos["all_labelled"]
    counts: dict[str, object] = {
        "photos": int(read.sum()),
        "unread": int((rows & ~photos["read"]).sum()),
        "faces": int(photos["faces"][known].sum()),
        "found": int(photos["found"][read].sum()),
        "hits": int(photos["hits"][known].sum()),
    }
    if counts["faces"]:
        counts["recall"] = counts["hits"] / counts["faces"]
    if found := int(photos["found"][complete].sum()):
        counts["precision"] = int(photos["hits"][complete].sum()) / found
    return counts


def _means(faces: Table, rows: np.ndarray) -> dict[str, object]:
    means: dict[str, object] = dict(_failures(faces["failures"][rows]))
    scenes = scenes_of(faces)
    for name in FIGURES:
        known = rows & np.isfinite(faces[name])
        means[f"{name}_faces"] = int(known.sum())
        if known.any():
            means[name] = float(faces[name][known].mean())
            means |= _ends(name, faces[name][known], scenes[known])
    return means


def _ends(name: str, values: np.ndarray, scenes: np.ndarray) -> dict[str, float]:
    """The columns of a mean's interval."""
    return dict(zip((f"{name}_low", f"{name}_high"), interval(values, scenes), strict=True))


def _failures(texts: np.ndarray) -> dict[str, int]:
    counted = Counter(label_of(one) for text in texts.tolist() for one in text.split("; ") if one)
    return {label: counted[label] for label in RULES}


def _figures(first: SceneReport, second: SceneReport, names: np.ndarray) -> Iterator[dict[str, object]]:
    """Each figure over the photos of those names: sums by scene, of this and of the other report."""
    rows = [{name: row for row, name in enumerate(report.photos["photo"])} for report in (first, second)]
    pairs = [[mapping[name] for name in names] for mapping in rows]
    scenes = [first.photos["clean"][row] or first.photos["photo"][row] for row in pairs[0]]
    for figure, above, below, kept in (
        ("recall", "hits", "faces", "faces"),
        ("precision", "hits", "found", "all_labelled"),
    ):
        sums = defaultdict(lambda: np.zeros(4))
        for scene, one, two in zip(scenes, *pairs, strict=True):
            if min(first.photos[kept][one], second.photos[kept][two]) > 0:
                sums[scene] += [
                    report.photos[name][row]
                    for report, row in ((first, one), (second, two))
                    for name in (above, below)
                ]
        yield from _difference(figure, sums)
    matched = _matched_faces(first, second, names)
    for figure in FIGURES:
        sums = defaultdict(lambda: np.zeros(4))
        for one, two in matched:
            before, after = first.faces[figure][one], second.faces[figure][two]
            if np.isfinite([before, after]).all():
                scene = first.faces["clean"][one] or first.faces["photo"][one]
                sums[scene] += [before, 1, after, 1]
        yield from _difference(figure, sums)


def _difference(figure: str, sums: Mapping[str, np.ndarray]) -> Iterator[dict[str, object]]:
    """The row of a figure of scenes' sums (4,): what is summed and by what it is divided, before and after."""
    values = np.array(list(sums.values())).reshape(-1, 4)
    if not len(values) or not values[:, [1, 3]].sum(axis=0).all():
        return

    def means(rows: np.ndarray) -> tuple[float, float]:
        above_one, one, above_two, two = rows.sum(axis=0)
        return (above_one / one, above_two / two) if one and two else (np.nan, np.nan)

    before, after = means(values)
    row = {
        "figure": figure,
        "count": int(values[:, 3].sum()),
        "before": before,
        "after": after,
        "difference": after - before,
    }
    if len(values) > 1:
        row["low"], row["high"] = metrics.bootstrap_interval(
            values, statistic=lambda rows: np.subtract(*means(rows)[::-1]), resamples=500
        )
    yield row


def _matched_faces(first: SceneReport, second: SceneReport, names: np.ndarray) -> list[tuple[int, int]]:
    """Rows of the same faces of two reports.

    Numbers of what a system found in the clean photo are its own, and say nothing of another's faces.
    """
    rows_of, labelled = [], set(names.tolist())
    for report in (first, second):
        labelled &= set(report.photos["photo"][report.photos["reference"] == "truth"].tolist())
        by_photo = defaultdict(list)
        for row in np.flatnonzero(np.isin(report.faces["photo"], names)):
            by_photo[str(report.faces["photo"][row])].append(int(row))
        rows_of.append(by_photo)
    matched = []
    for name in names.tolist():
        ones, twos = (by_photo[name] for by_photo in rows_of)
        if name in labelled:
            numbered = {
                int(second.faces["truth"][row]): row for row in twos if second.faces["truth"][row] >= 0
            }
            for one in ones:
                number = int(first.faces["truth"][one])
                if number in numbered:
                    matched.append((one, numbered[number]))
            ones = [row for row in ones if first.faces["truth"][row] < 0]
            twos = [row for row in twos if second.faces["truth"][row] < 0]
        matched += _by_boxes(first.faces, ones, second.faces, twos)
    return matched


def _boxes(faces: Table, rows: list[int]) -> np.ndarray:
    """Where the faces of rows lie, (n, 4): their detections' boxes, and of missed ones their reference's."""
    found = faces["face"][rows] >= 0
    sides = ("left", "top", "right", "bottom")
    return np.column_stack(
        [np.where(found, faces[side][rows], faces[f"true_{side}"][rows]) for side in sides]
    )


def _by_boxes(first: Table, ones: list[int], second: Table, twos: list[int]) -> list[tuple[int, int]]:
    overlap, pairs = pairwise_iou(_boxes(first, ones), _boxes(second, twos)), []
    while overlap.size and overlap.max() >= HIT_IOU:
        one, two = np.unravel_index(overlap.argmax(), overlap.shape)
        pairs.append((ones[one], twos[two]))
        overlap[one], overlap[:, two] = 0, 0
    return pairs


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f} %"


def _mean(value: float, count: int, unit: str) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}{unit} (n = {count})"
