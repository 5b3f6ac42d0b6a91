"""Measures how the system fails on photos, against the truth, the clean photo, and its own signs."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from itertools import groupby
from os import PathLike
from pathlib import Path

from tqdm import tqdm

from m4kit.confidence.failure import note_of
from m4kit.datasets import DatasetError, Sample, warn_left_out
from m4kit.datasets.photos import Photo
from m4kit.detector import Detector
from m4kit.files import OutputFolder, write_whole
from m4kit.predictor import Predictor
from m4kit.scenes.analyst import Analyst, unread
from m4kit.scenes.columns import FACE_COLUMNS, PHOTO_COLUMNS, frame_of
from m4kit.scenes.data import scene_photos
from m4kit.scenes.journal import Entry, Journal
from m4kit.scenes.report import SceneReport
from m4kit.scenes.report_data import FILES, THUMBNAILS, ReportError
from m4kit.spread import AHEAD, LOST, Sent, SpreadError, batched, check_sendable, spread

_MOST_THREADS = 8
"""Photos that are analysed at once, if there are so many cores: each takes memory."""

_MOST_VERSIONS = 8
"""Versions of one clean photo that a worker of an executor gets at once, and predicts the clean photo once for."""

_REMEDY = "give samples of a reader of m4kit.datasets or paths, and networks by their names or paths"


def analyse(
    source: str | PathLike | Iterable[Sample] | Iterable[str | PathLike],
    *,
    predictor: Predictor | None = None,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> SceneReport:
    """Predict the faces of photos, and measure each one against everything that is known about it.

    `source` is samples, from `benchmark` or a reader of `datasets`, or a folder, a `.zip` or image files without
    truth. `predictor` is by default the packaged one.

    Photos are analysed in parallel, one thread each, unless the predictor has a detector of its own. Instead, an
    `executor` spreads them, as for `tabulate` (`docs/scale.md`). Its workers get the predictor by pickle, and read
    the photos: give samples of a reader of `datasets`, or paths.

    With a `folder`, every finished photo is saved there, and the report at the end. An analysis that was stopped by
    Ctrl-C leaves a report of the photos so far, whose settings say `stopped`, and continues if called again with
    the same folder, source and predictor: finished photos are skipped, and photos that could not be read are tried
    again. On a full disk the report goes to a folder for temporary files, which a warning names.

    Photos that cannot be read get a row with the error, and one warning names them. Raises `DatasetError` if there is
    no photo or none can be read, `ReportError` if the folder holds an analysis of other photos or with other
    settings, or if the executor fails, and `OutputError` if it holds tables that m4kit did not write.
    """
    photos, predictor = scene_photos(source), predictor or Predictor()
    if predictor.try_turns:
        raise ValueError(
            "analyse: expected a predictor without try_turns, since crops are compared as they lie in the photo; "
            "give Predictor(try_turns=False)"
        )
    folder = None if folder is None else Path(folder)
    # Why there is no failure probability; empty if there is one.
    note = note_of(predictor.engine.notes["fingerprint"])
    settings = predictor.settings | {"failure_note": note}
    with nullcontext() if folder is None else OutputFolder(folder, FILES):
        results, stop = _Results(folder, settings), None
        _check_same(results.entries, photos, folder)
        done = {name for name, entry in results.entries.items() if entry.photo["read"]}
        bar = tqdm(total=len(photos), initial=len(done), desc="analyse", unit="photo", disable=not progress)
        with bar, warnings.catch_warnings():
            _ignore_hints()
            left = [one for one in photos if one.name not in done]
            try:
                for entry, thumbnails in _analysed(left, predictor, executor):
                    results.add(entry, thumbnails)
                    bar.update()
            except KeyboardInterrupt as stopped:
                stop = stopped
        ordered = [results.entries[photo.name] for photo in photos if photo.name in results.entries]
        if stop is not None and not ordered:
            raise stop
        _warn_unread(ordered)
        report = SceneReport(
            faces=frame_of([face for entry in ordered for face in entry.faces], FACE_COLUMNS),
            photos=frame_of([entry.photo for entry in ordered], PHOTO_COLUMNS),
            settings=settings
            | ({} if stop is None else {"stopped": f"{len(ordered)} of {len(photos)} photos"}),
            folder=folder,
            pictures=results.pictures,
        )
        report = report if folder is None else _saved(report)
    if stop is not None:
        raise stop
    return report


class _Results:
    """The rows and pictures of an analysis; with a folder, they are saved there as they come."""

    def __init__(self, folder: Path | None, settings: Mapping[str, object]):
        self._journal = None if folder is None else Journal(folder, settings)
        self.entries: dict[str, Entry] = {} if self._journal is None else self._journal.entries
        self.pictures: dict[str, bytes] = {}
        self._full = False

    def add(self, entry: Entry, thumbnails: Mapping[str, bytes]) -> None:
        if self._journal is not None and not self._full:
            try:
                folder = self._journal.path.parent / THUMBNAILS
                folder.mkdir(exist_ok=True)
                for name, content in thumbnails.items():
                    write_whole(folder / name, content)
                # The entry comes last, so that the files it names exist.
                self._journal.add(entry)
            except OSError:
                # The rest is kept in memory, and what room is left is for the tables.
                self._full = True
            else:
                return
        self.pictures |= thumbnails
        self.entries[str(entry.photo["photo"])] = entry


def _saved(report: SceneReport) -> SceneReport:
    """The report, saved in its folder, or on a full disk in one for temporary files, with a warning."""
    try:
        report.save(report.folder)
    except OSError as error:
        place = report.save(tempfile.mkdtemp(prefix="m4kit_"))
        warnings.warn(
            f"{report.folder}: {error.strerror or error}; the report is in {place} instead", stacklevel=3
        )
        return replace(report, folder=place)
    return report


def _analysed(
    photos: Sequence[Photo], predictor: Predictor, executor: Executor | None
) -> Iterator[tuple[Entry, dict[str, bytes]]]:
    """Analyse photos in parallel, in the order in which they end; one after another with a detector of the user's."""
    pool, work, pieces, ahead = None, Analyst(predictor), ((photo,) for photo in photos), AHEAD
    if executor is not None:
        check_sendable(photos[:1], remedy=_REMEDY)
        work, pieces = Sent(_analyst_elsewhere, predictor, remedy=_REMEDY), _versions(photos)
    elif isinstance(predictor.detector, Detector):
        threads = min(os.cpu_count() or 1, _MOST_THREADS)
        pool, ahead = ThreadPoolExecutor(threads), threads + 1
    try:
        for some, answer in spread(executor or pool, work, pieces, ahead=ahead):
            yield from [(unread(photo, LOST), {}) for photo in some] if answer is None else answer
    except SpreadError as error:
        raise ReportError(f"analyse: {error}; with a folder, what is finished is kept") from error
    finally:
        # Not in the form of a context manager, which would wait for all photos after Ctrl-C.
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _versions(photos: Sequence[Photo]) -> Iterator[tuple[Photo, ...]]:
    """The versions of a clean photo together, up to a limit."""
    for _, some in groupby(photos, key=lambda photo: photo.clean if photo.clean_image else photo.name):
        yield from batched(some, _MOST_VERSIONS)


def _analyst_elsewhere(predictor: Predictor) -> Analyst:
    """What analyses photos in another process."""
    _ignore_hints()
    return Analyst(predictor)


def _ignore_hints() -> None:
    # On degraded photos, as in snow, the predictor's hint is often wrong; the report counts what is missed.
    warnings.filterwarnings("ignore", ".*there seem to be many faces")


def _check_same(entries: dict[str, Entry], photos: Sequence[Photo], folder: Path | None) -> None:
    others = entries.keys() - {photo.name for photo in photos}
    if others:
        raise ReportError(
            f"{folder}: expected an analysis of the given photos, it holds {len(others)} others (one is "
            f"{min(others)}); give all its photos, or another folder"
        )


def _warn_unread(entries: Sequence[Entry]) -> None:
    lost = [
        f"{entry.photo['photo']} ({entry.photo['error']})" for entry in entries if not entry.photo["read"]
    ]
    if len(lost) == len(entries):
        raise DatasetError(
            f"analyse: expected at least one readable photo, got {len(entries)} of which none could be read; "
            f"the first: {lost[0]}"
        )
    warn_left_out("analyse", lost, stacklevel=4)
