"""Predicts many photos: reads them ahead, and runs the crops of several photos through the network together."""

from __future__ import annotations

import glob
import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from os import PathLike
from typing import NamedTuple

from tqdm import tqdm

from m4kit.checks import check_choice, check_flag, check_whole, shown
from m4kit.detector import Detector
from m4kit.files import reason_of
from m4kit.images import ImageSource, MissingImageError, list_images, source_name
from m4kit.prediction import Prediction, measure_together
from m4kit.predictor import Located, Predictor, predictor_with

BATCH_SIZE = 8
"""Photos whose crops run together: with more, the network gains little, and each thread takes more memory."""

_AHEAD_PIXELS = 24_000_000
"""Photos are read ahead until they have this many pixels together, 72 MB; each worker always has one."""

_MOST_WORKERS = 8
"""The most threads by default: each holds a photo."""


@dataclass(frozen=True)
class UnreadPhoto(Sequence):
    """A photo without a prediction: its name, the reason in words, and the error.

    It is an empty sequence, as a prediction without faces is.
    """

    source: str
    reason: str
    error: Exception = field(repr=False)

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index):
        return ()[index]


class Read(NamedTuple):
    """A photo that was read, or an `UnreadPhoto`, and the seconds that took."""

    photo: Located | UnreadPhoto
    seconds: float

    @property
    def pixels(self) -> int:
        """The photo's number of pixels."""
        return 0 if isinstance(self.photo, UnreadPhoto) else self.photo.image[..., 0].size


class Result(NamedTuple):
    """The prediction of a photo, or an `UnreadPhoto`, and the seconds that it took with its share of the batch."""

    prediction: Prediction | UnreadPhoto
    seconds: float


def predict_many(
    sources: str | PathLike | Iterable[ImageSource],
    *,
    recursive: bool = False,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    on_error: str = "record",
    progress: bool = True,
    **options,
) -> Iterator[Prediction | UnreadPhoto]:
    """Predict many photos, one after another, in their order.

    `sources` is a folder (`recursive` also takes its subfolders), a pattern such as "photos/*.jpg", or any iterable
    of what `predict` takes: a list, a generator, a column of a DataFrame. Threads read photos ahead and search them
    for faces, and the crops of up to `batch_size` photos run through the network together. `workers` is the number of
    threads, by default one for each core, and one for a detector of your own. The predictions are those of `predict`,
    up to the rounding of the network's numbers in a batch.

    A photo that cannot be predicted gives an `UnreadPhoto` with the reason, or with `on_error="raise"` its error.
    `progress` shows a bar. The other `options` are those of `Predictor`.

        >>> for prediction in m4kit.predict_many("photos", recursive=True):  # doctest: +SKIP
        ...     print(prediction.source, len(prediction))

    Only a few photos are in memory at once: keep what you need of a prediction, not all predictions. `tabulate`
    writes a table instead.

    Raises `ImageError` for a folder or pattern without photos.
    """
    photos = photo_sources(sources, recursive=recursive)
    check_whole(batch_size, "batch_size", least=1)
    check_choice(on_error, "on_error", ("record", "raise"))
    check_flag(progress, "progress")
    predictor = predictor_with(options)
    workers = check_workers(workers, predictor)
    results = _ahead(iter(photos), predictor, batch_size=batch_size, workers=workers)
    total = len(photos) if hasattr(photos, "__len__") else None
    return _shown(results, tqdm(total=total, desc="photos", unit="photo", disable=not progress), on_error)


def photo_sources(sources: str | PathLike | Iterable, *, recursive: bool = False) -> Iterable:
    """Return the photos of a folder or a pattern, or the iterable itself; see `predict_many`."""
    check_flag(recursive, "recursive")
    if not isinstance(sources, str | PathLike):
        if isinstance(sources, bytes | bytearray | Mapping) or hasattr(sources, "to_records"):
            remedy = "give one of its columns" if hasattr(sources, "to_records") else "give a list"
            raise TypeError(f"sources: expected several photos, got {shown(sources)}; {remedy}")
        if not isinstance(sources, Iterable) or hasattr(sources, "read"):
            raise TypeError(f"sources: expected several photos, got {shown(sources)}; give a list of them")
        return sources
    path = os.fsdecode(sources)
    if not glob.has_magic(path) or os.path.exists(path):
        return list_images(sources, recursive=recursive)
    found = sorted(name for name in glob.iglob(path, recursive=True) if os.path.isfile(name))
    if not found:
        raise MissingImageError(
            f"{path}: expected a pattern of photos' paths, no file fits it; check the path"
        )
    return found


def check_workers(workers: int | None, predictor: Predictor) -> int:
    """Return the number of threads: `workers`, or by default one for each core if the detector is m4kit's."""
    if check_whole(workers, "workers", least=1, optional="one for each core") is not None:
        return workers
    # A detector of the user's may not be made for threads.
    return min(os.cpu_count() or 1, _MOST_WORKERS) if isinstance(predictor.detector, Detector) else 1


def results_of(predictor: Predictor, sources: Iterable, *, batch_size: int = BATCH_SIZE) -> Iterator[Result]:
    """Predict photos in the calling thread, in batches of `batch_size`, or of fewer if they are large.

    The faces of a batch are measured together.
    """
    batch: list[Read] = []
    for source in sources:
        batch.append(_read(predictor, source))
        if len(batch) >= batch_size or sum(read.pixels for read in batch) >= _AHEAD_PIXELS:
            yield from _measured(_finished(predictor, batch))
            batch = []
    yield from _measured(_finished(predictor, batch))


def _shown(results: Generator[Result], bar: tqdm, on_error: str) -> Iterator[Prediction | UnreadPhoto]:
    with bar, closing(results):
        for prediction, _ in results:
            if on_error == "raise" and isinstance(prediction, UnreadPhoto):
                raise prediction.error
            yield prediction
            bar.update()


def _ahead(photos: Iterator, predictor: Predictor, *, batch_size: int, workers: int) -> Generator[Result]:
    """Give results in order. Threads read photos ahead, and then run the network on batches of them."""
    reading: deque[Future[Read]] = deque()
    batches: deque[tuple[int, Future[list[Result]]]] = deque()
    largest = 0

    def read_ahead() -> None:
        while len(reading) < 2 * batch_size:
            held = len(reading) + sum(count for count, _ in batches)
            # The sizes are not known before the first photo is read.
            if held >= workers and (not largest or held * largest >= _AHEAD_PIXELS):
                return
            source = next(photos, end)
            if source is end:
                return
            reading.append(pool.submit(_read, predictor, source))

    pool, end = ThreadPoolExecutor(workers), object()
    try:
        while True:
            read_ahead()
            if reading and len(batches) <= workers:
                batch: list[Read] = []
                while (
                    reading and len(batch) < batch_size and sum(one.pixels for one in batch) < _AHEAD_PIXELS
                ):
                    batch.append(reading.popleft().result())
                    largest = max(largest, batch[-1].pixels)
                    read_ahead()
                batches.append((len(batch), pool.submit(_finished, predictor, batch)))
            elif batches:
                yield from batches[0][1].result()
                batches.popleft()
            else:
                return
    finally:
        pool.shutdown(cancel_futures=True)


def _read(predictor: Predictor, source) -> Read:
    start = time.perf_counter()
    try:
        photo = predictor.locate(source)
    # One odd photo must not cost the others: a decoder may raise anything, and the memory may end.
    except Exception as error:
        photo = unread(_name_of(source), error)
    return Read(photo, time.perf_counter() - start)


def _finished(predictor: Predictor, batch: Sequence[Read]) -> list[Result]:
    """Predict the photos that were read."""
    photos = [read.photo for read in batch if not isinstance(read.photo, UnreadPhoto)]
    start = time.perf_counter()
    try:
        predictions = predictor.predictions(photos)
    # One of them spoils the batch, or its crops do not fit into the memory.
    except Exception:
        predictions = [_alone(predictor, photo) for photo in photos]
    share = (time.perf_counter() - start) / max(1, len(photos))
    following = iter(predictions)
    return [
        Result(read.photo, read.seconds)
        if isinstance(read.photo, UnreadPhoto)
        else Result(next(following), read.seconds + share)
        for read in batch
    ]


def _measured(results: list[Result]) -> list[Result]:
    start = time.perf_counter()
    # One odd face must not cost the others: each measures itself when it is asked.
    with suppress(Exception):
        measure_together([face for prediction, _ in results for face in prediction])
    share = (time.perf_counter() - start) / max(1, len(results))
    return [result._replace(seconds=result.seconds + share) for result in results]


def _alone(predictor: Predictor, photo: Located) -> Prediction | UnreadPhoto:
    try:
        return predictor.predictions([photo])[0]
    except Exception as error:
        return unread(photo.source, error)


def unread(name: str, error: Exception) -> UnreadPhoto:
    """Describe a photo that an error kept from being predicted."""
    return UnreadPhoto(name, reason_of(error), error)


def _name_of(source) -> str:
    """Name a photo; what is none is shown as it is."""
    name = source_name(source)
    return shown(source) if name == "<file>" and not hasattr(source, "read") else name
