"""Spreads work over an executor: a pool of threads or processes, or a cluster that looks like one."""

from __future__ import annotations

import io
import itertools
import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import suppress
from functools import lru_cache, partial
from threading import Lock
from typing import NamedTuple, TypeVar

from m4kit.face_model import FaceModel, packaged_model

Item = TypeVar("Item")
Answer = TypeVar("Answer")

AHEAD = 1000
"""Pieces of work that an executor holds at once: enough for some hundred workers."""

LOST = "each worker that had it died, twice while nothing else ran, perhaps for lack of memory"
"""Why an item has no answer."""

_MOST_CANCELLED = 3
"""How often in a row work may be cancelled, as by a scheduler that starts again, before it is given up."""

_SILENCE = 5.0
"""After so many seconds without an answer, a Dask client is asked whether it still has a scheduler and workers."""

_making = Lock()


class SpreadError(RuntimeError):
    """An executor stopped working before the end."""


class Done(NamedTuple):
    """A piece of work that was done: its items, and the answer, or None if its workers died."""

    items: tuple
    answer: object | None


class _Task(NamedTuple):
    items: tuple
    alone: bool = False
    last: bool = False
    cancelled: int = 0


class Sent:
    """Work for other processes: `make(*arguments)`, a function of items, which each process makes once and keeps.

    Raises `TypeError`, with the `remedy`, for arguments that cannot be pickled.
    """

    def __init__(self, make: Callable[..., Callable[[tuple], Answer]], *arguments: object, remedy: str):
        self._pickled = _pickled((make, arguments), remedy)

    def __call__(self, items: tuple) -> Answer:
        with _making:
            work = _made(self._pickled)
        return work(items)


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Cut items into pieces of `size`; the last may be shorter."""
    items = iter(items)
    while piece := tuple(itertools.islice(items, size)):
        yield piece


@lru_cache(maxsize=1)
def _made(pickled: bytes) -> Callable[[tuple], Answer]:
    make, arguments = pickle.loads(pickled)
    return make(*arguments)


def check_sendable(item: object, *, remedy: str) -> None:
    """Raise `TypeError`, with the `remedy`, for an item that cannot be pickled."""
    _pickled(item, remedy)


def _pickled(what: object, remedy: str) -> bytes:
    content = io.BytesIO()
    try:
        _Pickler(content).dump(what)
    # What pickle raises depends on the object.
    except Exception as error:
        raise TypeError(f"executor: expected what can be sent to workers, got {error}; {remedy}") from error
    return content.getvalue()


class _Pickler(pickle.Pickler):
    """Leaves the packaged face model, 12 MB, to the other process, which has it."""

    def reducer_override(self, what: object):
        if isinstance(what, FaceModel) and what.fingerprint == packaged_model().fingerprint:
            return packaged_model, ()
        return NotImplemented


def spread(
    executor: Executor | None,
    work: Callable[[tuple], Answer],
    pieces: Iterable[Sequence[Item]],
    *,
    ahead: int = AHEAD,
) -> Iterator[Done]:
    """Do pieces of work, `ahead` of them at a time, and give each with its answer, in the order in which they end.

    Without an executor they are done one after another, in the calling thread.

    If a worker dies with a piece, as Dask tells, the piece is tried again while no other runs, since its worker may
    have died of another one; then, if necessary, its items one by one. An item whose worker dies twice while nothing
    else runs has no answer. Cancelled pieces are given to the executor again. Warns while Dask has no workers.

    Raises what `work` raises, and `SpreadError` if the executor itself is broken, or a Dask scheduler is gone for
    longer than Dask waits for it.
    """
    if executor is None:
        yield from (Done(tuple(items), work(tuple(items))) for items in pieces)
        return
    waiting, again = iter(pieces), deque()
    running: dict[Future, _Task] = {}

    def may_start() -> bool:
        if any(task.alone for task in running.values()):
            return False
        return not running if again and again[0].alone else len(running) < ahead

    try:
        while True:
            while may_start() and (task := _next(again, waiting)):
                running[_submit(executor, work, task.items)] = task
            if not running:
                return
            done = wait(running, timeout=_SILENCE, return_when=FIRST_COMPLETED).done
            if not done:
                _check_there(executor)
            for future in done:
                task = running.pop(future)
                try:
                    yield Done(task.items, future.result())
                except (CancelledError, BrokenExecutor) as error:
                    _wait_for_scheduler(executor)
                    again.append(_given_again(task, error))
                except Exception as error:
                    # By its name, because distributed need not be installed.
                    if type(error).__name__ != "KilledWorker":
                        raise
                    if not task.alone:
                        again.append(task._replace(alone=True))
                    elif len(task.items) > 1:
                        again.extend(_Task((item,), alone=True) for item in task.items)
                    elif not task.last:
                        # Dask may have given it to a worker that was already ending.
                        again.append(task._replace(last=True))
                    else:
                        yield Done(task.items, None)
    finally:
        for future in running:
            future.cancel()


def _next(again: deque[_Task], waiting: Iterator[Sequence]) -> _Task | None:
    if again:
        return again.popleft()
    items = next(waiting, None)
    return None if items is None else _Task(tuple(items))


def _submit(executor: Executor, work: Callable, items: tuple) -> Future:
    submit = partial(_by_dask, executor) if hasattr(executor, "_client") else executor.submit
    try:
        return submit(work, items)
    except Exception as error:
        _check_there(executor)
        if not isinstance(error, RuntimeError):
            raise
        raise SpreadError(f"the executor takes no more work ({error}); start again with a new one") from error


def _by_dask(executor: Executor, work: Callable, items: tuple) -> Future:
    """Submit work as a Dask client's executor does, but give a future that always ends.

    Dask's own waits for ever if a worker dies after its work, before the client has the answer, and the next one that
    does this work dies, too.
    """
    client, answer = executor._client, Future()
    # Not pure: Dask would give the answer of an earlier call with the same arguments.
    task = client.submit(work, items, **executor._kwargs | {"pure": False})

    async def pass_on() -> None:
        try:
            found, error = await client.gather(task, asynchronous=True), None
        except BaseException as raised:
            # Of the work, or of the way of its answer, as of a scheduler that ends.
            found, error = None, raised if task.status == "error" else CancelledError()
        if not answer.set_running_or_notify_cancel():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    # It also keeps the task, which Dask would forget.
    answer.add_done_callback(lambda answer: task.cancel() if answer.cancelled() else None)
    client.loop.add_callback(pass_on)
    return answer


def _wait_for_scheduler(executor: Executor) -> None:
    """Wait while a Dask client looks for a scheduler that went away, which ends with `running` or `closed`.

    Meanwhile the client cancels all that it is given.
    """
    client = getattr(executor, "_client", None)
    while client is not None and client.status not in ("running", "closed"):
        time.sleep(0.05)
    _check_open(client)


def _check_open(client) -> None:
    if client is not None and client.status == "closed":
        raise SpreadError(
            "the Dask scheduler is gone; start a scheduler and workers, and start again with a new client"
        )


def _check_there(executor: Executor) -> None:
    # Dask does not tell: its futures wait.
    client = getattr(executor, "_client", None)
    if client is None:
        return
    _check_open(client)
    # A scheduler that starts again does not answer.
    with suppress(OSError):
        if client.status == "running" and not client.nthreads():
            warnings.warn("Dask has no workers; the work goes on when some have joined", stacklevel=4)


def _given_again(task: _Task, error: BaseException) -> _Task:
    if isinstance(error, BrokenExecutor):
        shown = ", ".join(map(str, task.items[:3])) + (", ..." if len(task.items) > 3 else "")
        raise SpreadError(
            f"a worker process died, perhaps with one of {shown}, and took its pool with it; start again with a new "
            "pool, or with Dask, which replaces workers"
        ) from error
    if task.cancelled + 1 >= _MOST_CANCELLED:
        raise SpreadError(
            "the executor cancelled the same work several times; start again when it runs"
        ) from error
    return task._replace(cancelled=task.cancelled + 1)
