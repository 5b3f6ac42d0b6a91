"""Spreads work over an executor: a pool of threads or processes, or a cluster that looks like one."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from typing import NamedTuple, TypeVar
from uuid import uuid4

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_MOST_CANCELLED = 3
"""How often in a row work may be cancelled, as by a scheduler that starts again, before it is given up."""


class SpreadError(RuntimeError):
    """An executor stopped working before the end."""


class Done(NamedTuple):
    """A piece of work that was done: its items, and the answer, or None if its worker died twice."""

    items: tuple
    answer: object | None


class _Task(NamedTuple):
    items: tuple
    alone: bool = False
    cancelled: int = 0


def spread(
    executor: Executor, work: Callable[[tuple], Answer], pieces: Iterable[Sequence[Item]], *, ahead: int
) -> Iterator[Done]:
    """Do pieces of work, `ahead` of them at a time, and give each with its answer, in the order in which they end.

    If a worker dies with a piece, as Dask tells, the piece is tried again while no other runs, since its worker may
    have died of another one; then, if necessary, its items one by one. An item whose worker dies while nothing else
    runs has no answer. Cancelled pieces are given to the executor again.

    Raises what `work` raises, and `SpreadError` if the executor itself is broken.
    """
    waiting, again = iter(pieces), deque()
    # Dask would give the answer of an earlier call with the same arguments.
    token, count = uuid4().hex, itertools.count()
    running: dict[Future, _Task] = {}

    def may_start() -> bool:
        if any(task.alone for task in running.values()):
            return False
        return not running if again and again[0].alone else len(running) < ahead

    try:
        while True:
            while may_start() and (task := _next(again, waiting)):
                running[_submit(executor, work, task.items, (token, next(count)))] = task
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                try:
                    yield Done(task.items, future.result())
                except (CancelledError, BrokenExecutor) as error:
                    again.append(_given_again(task, error))
                except Exception as error:
                    if not _worker_died(error):
                        raise
                    if not task.alone:
                        again.append(task._replace(alone=True))
                    elif len(task.items) == 1:
                        yield Done(task.items, None)
                    else:
                        again.extend(_Task((item,), alone=True) for item in task.items)
    finally:
        for future in running:
            future.cancel()


def _next(again: deque[_Task], waiting: Iterator[Sequence]) -> _Task | None:
    if again:
        return again.popleft()
    items = next(waiting, None)
    return None if items is None else _Task(tuple(items))


def _submit(executor: Executor, work: Callable, items: tuple, call: tuple[str, int]) -> Future:
    try:
        return executor.submit(_do, work, items, call)
    except RuntimeError as error:
        raise SpreadError(f"the executor takes no more work ({error}); start again with a new one") from error


def _do(work: Callable[[tuple], Answer], items: tuple, call: tuple[str, int]) -> Answer:
    return work(items)


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


def _worker_died(error: Exception) -> bool:
    # By its name, because distributed need not be installed.
    return type(error).__name__ == "KilledWorker"
