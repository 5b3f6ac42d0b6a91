"""`tabulate`: the faces of many photos as rows of a table on disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from os import PathLike
from pathlib import Path

import pyarrow
from pyarrow import compute
from tqdm import tqdm

from m4kit.checks import check_flag, check_type, check_whole
from m4kit.face_table import TableError, rows_of, table_of
from m4kit.files import text_of
from m4kit.many import BATCH_SIZE, Result, check_workers, photo_sources, results_of, unread
from m4kit.predictor import Predictor, predictor_with
from m4kit.spread import AHEAD, LOST, Sent, SpreadError, batched, spread
from m4kit.table_folder import TableFolder

Visit = Callable[[Result], None]
"""What else to do with each result where it is made."""

_REMEDY = "give networks by their names or paths, and functions of a module"


def tabulate(
    sources: str | PathLike | Iterable[str | PathLike],
    out: str | PathLike,
    *,
    recursive: bool = False,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
    **options,
) -> Path:
    """Predict many photos, and write a row for each face to the folder `out`, whose path it returns.

    `sources` are paths as for `predict_many`. The rows are in parquet files; `pandas.read_parquet(out)` reads them,
    and `faces_from` makes faces of them. `docs/table.md` describes the columns. A photo without a face has one row,
    and so has a photo that cannot be predicted, with the reason. Rows come in the order in which photos are finished.

    Each batch of `batch_size` photos is on disk when it is finished. Call it again after a stop, with the same `out`
    and options: photos that the table has are left out, whether they could be read or not. Each photo is in the table
    once, by its path as it was given.

    `workers` is the number of threads, as for `predict_many`. Instead, `executor` spreads the work: any
    `concurrent.futures.Executor`, or `client.get_executor()` of a Dask cluster (`docs/scale.md`). Its workers read
    the photos by their paths, load the networks once, and send rows. The `options`, those of `Predictor`, go to the
    workers by pickle: give networks by their names or paths.

    Warns if photos could not be predicted. Raises `ImageError` for a folder or pattern without photos, and
    `TableError` if another process writes this table, it has other settings or another version, or the disk is full.

        >>> m4kit.tabulate("photos", "faces", recursive=True)  # doctest: +SKIP
        >>> pandas.read_parquet("faces", columns=["photo", "yaw"])  # doctest: +SKIP
    """
    photos = photo_sources(sources, recursive=recursive)
    path = Path(os.fsdecode(check_type(out, "out", str, PathLike, remedy="give the path of a folder")))
    check_whole(batch_size, "batch_size", least=1)
    check_flag(progress, "progress")
    predictor = predictor_with(options)
    check_workers(workers, predictor)
    with TableFolder(path, predictor.settings) as folder:
        failed = fill_table(
            folder,
            photos,
            predictor,
            options,
            batch_size=batch_size,
            workers=workers,
            executor=executor,
            progress=progress,
        )
    if failed:
        warnings.warn(
            f"{len(failed)} photos could not be predicted; the column error says why, for example {failed[0]}",
            stacklevel=2,
        )
    return path


def fill_table(
    folder: TableFolder,
    photos: Iterable[str | PathLike],
    predictor: Predictor,
    options: Mapping[str, object],
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
    visit: Visit | None = None,
) -> list[str]:
    """Do the work of `tabulate` in an open folder, and return the reasons of photos that could not be predicted.

    The `options` are those of the predictor, for the workers of an executor. `visit` is called with each result where
    it is made, before its rows are written.
    """
    threads = check_workers(workers, predictor)
    pool = None if executor is not None else ThreadPoolExecutor(threads)
    # Threads of this process share its predictor.
    work = partial(_table, predictor, visit) if pool else Sent(_tables, dict(options), visit, remedy=_REMEDY)
    total, failed = len(photos) if hasattr(photos, "__len__") else None, []
    bar = tqdm(total=total, initial=len(folder.done), desc="photos", unit="photo", disable=not progress)
    pieces = batched(_new_names(photos, folder.done), batch_size)
    ahead = threads + 1 if pool else AHEAD
    try:
        with bar, closing(spread(pool or executor, work, pieces, ahead=ahead)) as answers:
            for names, answer in answers:
                table = _lost(names) if answer is None else answer
                folder.add(table)
                bar.update(len(names))
                failed += table.filter(compute.is_valid(table["error"]))["error"].to_pylist()
    except SpreadError as error:
        raise TableError(f"{folder.path}: {error}; what is finished is kept") from error
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return failed


def _new_names(photos: Iterable, seen: set[str]) -> Iterator[str]:
    """Give the names of photos that were not seen before."""
    for photo in photos:
        remedy = "predict_many takes other sources"
        name = os.fsdecode(check_type(photo, "tabulate", str, PathLike, remedy=remedy, words="photos' paths"))
        if text_of(name) not in seen:
            seen.add(text_of(name))
            yield name


def _table(predictor: Predictor, visit: Visit | None, names: tuple[str, ...]) -> pyarrow.Table:
    """Predict photos, and make their rows."""
    results, face_model = results_of(predictor, names, batch_size=len(names)), predictor.model.fingerprint
    return table_of([row for result in results for row in _rows(result, face_model, visit)])


def _rows(result: Result, face_model: str, visit: Visit | None) -> list[dict[str, object]]:
    try:
        rows = rows_of(result, face_model)
        if visit is not None:
            visit(result)
    # A full disk concerns all photos.
    except OSError:
        raise
    except Exception as error:
        return rows_of(Result(unread(result.prediction.source, error), result.seconds), face_model)
    return rows


def _tables(options: Mapping[str, object], visit: Visit | None) -> Callable[[tuple[str, ...]], pyarrow.Table]:
    """Return the function that makes the rows of photos, in another process."""
    return partial(_table, predictor_with(options), visit)


def _lost(names: tuple[str, ...]) -> pyarrow.Table:
    return table_of([{"photo": text_of(name), "error": f"{text_of(name)}: {LOST}"} for name in names])
