"""Runs networks on one CPU thread and in float32, whatever torch's settings are, and does not change the settings."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def inference() -> Iterator[None]:
    """Run torch on one thread, in float32 and without gradients; also a decorator.

    Photos are small: a second thread gains nothing, and waits for its turn wherever other programs need the cores.
    To use more cores, predict several photos at once, in threads or processes. Other threads of the program are not
    affected, and torch's own settings do not change.
    """
    with one_thread(), torch.inference_mode(), torch.autocast("cpu", enabled=False):
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread for what the calling thread runs; also a decorator.

    `torch.set_num_threads` would change the number for the whole process. OpenMP and MKL also keep one per thread.
    A forked process, which has none of its parent's threads, would wait for them with more than one.
    """
    # A thread's first operation sets its number; later than here, it would lift the limit.
    torch.get_num_threads()
    set_mkl_threads = _set_mkl_threads()
    with _openmp().limit(limits=1):
        before = set_mkl_threads(1)
        try:
            yield
        finally:
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
