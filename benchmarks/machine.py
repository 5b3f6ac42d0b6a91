"""Describes the machine of a benchmark, tells how busy other programs keep it, and makes it busy."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil

QUIET = 0.05
"""A machine is quiet if others take at most this share of its processors."""

_INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "VNNI",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "bf16",
    "amx_int8": "AMX",
}
_PACKAGES = ("numpy", "opencv-python-headless", "torch", "onnxruntime")


def name() -> str:
    """Describe the machine in one line: processor, cores, instructions, system and versions."""
    processor, flags = platform.processor() or platform.machine(), ""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        facts = dict(line.split(":", 1) for line in path.read_text().split("\n") if ":" in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        processor, flags = facts.get("model name", processor), facts.get("flags", "")
    can = dict.fromkeys(word for flag, word in _INSTRUCTIONS.items() if flag in flags.split())
    parts = [processor, f"{os.cpu_count()} cores", ", ".join(can), platform.system()]
    versions = [f"Python {platform.python_version()}", *(f"{one} {version(one)}" for one in _PACKAGES)]
    return "; ".join([*(part for part in parts if part), ", ".join(versions)])


class Others:
    """How much of the processors' time others took since this was made: programs, and the hypervisor's guests."""

    def __init__(self):
        self._start = self._now()

    @property
    def share(self) -> float:
        """The share, from 0 to 1. Own processes count as own once they have ended."""
        elapsed, busy, own = (now - then for now, then in zip(self._now(), self._start, strict=True))
        return min(1.0, max(0.0, busy - own) / (elapsed * os.cpu_count()))

    def in_words(self) -> str:
        """Describe the share in one sentence for a report."""
        share = self.share
        verdict = "quiet" if share <= QUIET else "not quiet: the times are too long, and the ratios are rough"
        return f"Others took {100 * share:.0f} % of the processors meanwhile ({verdict})."

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Return time, busy time of all processors, and that of this process and its children, in seconds."""
        times = psutil.cpu_times()._asdict()
        # On Linux, user and nice contain the time of guests.
        idle = ("idle", "iowait", "guest", "guest_nice")
        busy = sum(seconds for kind, seconds in times.items() if kind not in idle)
        return time.monotonic(), busy, sum(os.times()[:4])


def shared_between() -> str:
    """Tell between what the kernel shares the processors: "sessions" (autogroup), "processes" or "unknown"."""
    switch = Path("/proc/sys/kernel/sched_autogroup_enabled")
    if not switch.is_file():
        return "unknown"
    return "sessions" if switch.read_text().strip() == "1" else "processes"


_BUSY = """
import signal, subprocess, sys
# A handler, which the processes do not inherit: they end, then this one, and their time counts as its own.
signal.signal(signal.SIGTERM, lambda *_: None)
command = [sys.executable, "-c", "while True: pass"]
processes = [subprocess.Popen(command) for _ in range(int(sys.argv[1]))]
print(flush=True)
for process in processes:
    process.wait()
"""


class BusyProcesses:
    """Processes that compute without end. `rest` and `work` stop them and let them go on."""

    def __init__(self, group: int):
        self._group = group

    def rest(self) -> None:
        """Stop all."""
        self._send(signal.SIGSTOP)

    def work(self) -> None:
        """Let all go on."""
        self._send(signal.SIGCONT)

    def _send(self, which: signal.Signals) -> None:
        os.killpg(self._group, which)
        time.sleep(0.05)


@contextmanager
def busy_processes(count: int) -> Iterator[BusyProcesses]:
    """Start so many processes, at rest at first; they end with the block.

    They run in one session of their own, like the program of another user.
    """
    command = [sys.executable, "-c", _BUSY, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as parent:
        try:
            parent.stdout.readline()
            busy = BusyProcesses(parent.pid)
            busy.rest()
            yield busy
        finally:
            for which in (signal.SIGTERM, signal.SIGCONT):
                os.killpg(parent.pid, which)
