"""Runs torch on few CPU threads and in float32, whatever its settings are, and does not change the settings."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

_LIMIT = threading.local()
"""`threads` is the limit of the calling thread, None or absent without one."""

_FORKED = threading.Event()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_FORKED.set)


@contextmanager
def inference(threads: int = 1) -> Iterator[None]:
    """Run torch on `threads` threads, in float32 and without gradients; also a decorator.

    Photos are small: a second thread gains nothing, and waits for its turn wherever other programs need the cores.
    To use more cores, predict several photos at once, in threads or processes. Other threads of the program are not
    affected, and torch's own settings do not change.
    """
    with limited(threads), torch.inference_mode(), torch.autocast("cpu", enabled=False):
        yield


def one_thread() -> AbstractContextManager[None]:
    """Limit torch to one thread for what the calling thread runs; also a decorator."""
    return limited(1)


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Limit torch to `threads` threads for what the calling thread runs; also a decorator.

    `torch.set_num_threads` would change the number for the whole process. OpenMP and MKL also keep one per thread.
    A forked process, which has none of its parent's threads, would wait for them with more than one: it takes one.
    """
    threads = 1 if _FORKED.is_set() else threads
    if getattr(_LIMIT, "threads", None) == threads:
        yield
        return
    # A thread's first operation sets its number; later than here, it would lift the limit.
    torch.get_num_threads()
    set_mkl_threads = _set_mkl_threads()
    with _openmp().limit(limits=threads):
        before, outer = set_mkl_threads(threads), getattr(_LIMIT, "threads", None)
        _LIMIT.threads = threads
        try:
            yield
        finally:
            _LIMIT.threads = outer
            set_mkl_threads(before)


@contextmanager
def loading() -> Iterator[None]:
    """Make modules on one thread of the CPU, fit for training even in a caller's inference mode; also a decorator."""
    with one_thread(), torch.inference_mode(False), torch.device("cpu"):
        yield


@cache
def _openmp() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")


@cache
def _set_mkl_threads() -> Callable[[int], int]:
    """Set MKL's number for the calling thread, and return the one before; 0 stands for OpenMP's number.

    MKL has a number of its own only after `torch.set_num_threads`. Builds of torch without MKL, or that keep it to
    themselves, have no such function.
    """
    try:
        return ctypes.CDLL(torch._C.__file__).MKL_Set_Num_Threads_Local
    except (AttributeError, OSError):
        return lambda number: 0
