"""A Dask scheduler and its workers, each a process of its own that a test can end."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path


class Processes:
    """A scheduler at one address, with two workers; `start` starts it again after `kill`."""

    def __init__(self, port, folder):
        self.address, self._port, self._folder = f"tcp://127.0.0.1:{port}", str(port), str(folder)
        self._running = []

    def start(self):
        """Start the scheduler and two workers of one thread."""
        own = ("--no-dashboard", "--host", "127.0.0.1")
        self._start("dask_scheduler", "--port", self._port, *own)
        for _ in range(2):
            options = ("--nthreads", "1", "--no-nanny", "--local-directory", self._folder)
            self._start("dask_worker", self.address, *options, *own)

    def kill(self):
        """End the scheduler at once. Dask's workers end themselves when they notice."""
        self._running[0].kill()
        for process in self._running:
            process.wait(timeout=60)
        self._running.clear()

    def _start(self, module, *arguments):
        path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
        self._running.append(
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
                env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )


@contextmanager
def dask_processes(port, folder):
    """`Processes` that have started; none is left at the end."""
    processes = Processes(port, folder)
    try:
        processes.start()
        yield processes
    finally:
        for process in processes._running:
            process.kill()
            process.wait()
