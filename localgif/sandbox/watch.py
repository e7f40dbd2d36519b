"""Watches the processes of one job from outside, and ends them all. The only module that imports psutil.

It runs in the keeper, to which the kernel gives every process whose parent ended (subreaper). So what came from a
program is found whatever it did: as a descendant of its process, or as a stray, a child that the keeper never started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from localgif.errors import SandboxError
from localgif.sandbox.job import Breach

if TYPE_CHECKING:  # the keeper stays small: it has the fields of a Limits, not the class
    from localgif.records import Limits

#: A process that is still there this long after SIGKILL is reported as our failure, seconds.
KILL_PATIENCE = 5.0
#: A program may write so many times what its directory may hold. A deleted file that is still open takes space that
#: can be seen nowhere else.
WRITE_FACTOR = 2
#: Between two sweeps of the kill loop while something is left, seconds.
_SWEEP_PAUSE = 0.0005

_PROC = Path("/proc")


class Usage(NamedTuple):
    """What a tree of processes uses at one moment. Zombies count nothing."""

    processes: int
    threads: int
    rss: int
    """Bytes; pages that processes share count once for each."""
    cpu_seconds: float
    """Of the processes alive and of the dead children that they waited for."""
    written: int = 0
    """Bytes given to write(), as cpu_seconds; files, those that were deleted since, and printed output alike."""


class Tree:
    """One confined process and everything that came from it.

    Args:
        root: Its pid, also the id of its session and process group; not yet waited for, so that the pid stays its own.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._seen: dict[int, psutil.Process] = {}
        self.peak_rss = 0
        self.peak_cpu = 0.0
        self.adopt([root])

    def look(self) -> Usage:
        """Counts the tree as it is now, and remembers its members."""
        processes = threads = rss = written = 0
        cpu = 0.0
        for process in self._living():
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                cpu += times.user + times.system + times.children_user + times.children_system
                threads += process.num_threads()
                rss += process.memory_info().rss
                processes += 1
                written += process.io_counters().write_chars
        self.peak_rss = max(self.peak_rss, rss)
        self.peak_cpu = max(self.peak_cpu, cpu)
        return Usage(processes, threads, rss, cpu, written)

    def written(self) -> int:
        """Bytes that the root gave to write() in its whole life; it tells until it is waited for, dead or alive."""
        with contextlib.suppress(psutil.Error, KeyError):
            return int(self._seen[self._root].io_counters().write_chars)
        return 0

    def adopt(self, pids: list[int]) -> None:
        """Counts processes, and what comes from them, among this tree."""
        for pid in pids:
            known = self._seen.get(pid)
            if pid == os.getpid() or (known is not None and known.is_running()):
                continue
            with contextlib.suppress(psutil.Error):
                self._seen[pid] = psutil.Process(pid)

    def has_seen(self, pid: int) -> bool:
        """Whether a process is or was one of the tree."""
        known = self._seen.get(pid)
        return known is not None and known.is_running()

    def kill(self, strays: Callable[[], list[int]]) -> None:
        """Ends every process of the tree and every stray; returns when two sweeps in a row found none.

        Args:
            strays: The living processes that have become the keeper's without belonging to a tree.

        Raises:
            SandboxError: Something survived SIGKILL for KILL_PATIENCE seconds.
        """
        give_up = time.monotonic() + KILL_PATIENCE
        empty_sweeps = 0
        while empty_sweeps < 2:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._root, signal.SIGKILL)
            self.adopt(strays())
            living = list(self._living())
            for process in living:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            empty_sweeps = 0 if living else empty_sweeps + 1
            if living and time.monotonic() > give_up:
                pids = ", ".join(str(process.pid) for process in living)
                raise SandboxError(
                    f"processes of a program are alive {KILL_PATIENCE:g} s after SIGKILL: {pids}",
                    code="E-SANDBOX-STUCK",
                )
            if living:
                time.sleep(_SWEEP_PAUSE)

    def _living(self) -> Iterator[psutil.Process]:
        """Every process of the tree that is alive and no zombie; children of the seen are looked up first."""
        queue = list(self._seen)
        asked = set()
        while queue:
            pid = queue.pop()
            if pid in asked:
                continue
            asked.add(pid)
            found = children(pid) if self._is_alive(pid) else []
            self.adopt(found)
            queue += found
        yield from [process for pid, process in self._seen.items() if self._is_alive(pid)]

    def _is_alive(self, pid: int) -> bool:
        process = self._seen.get(pid)
        try:
            # is_running compares the start time: a pid that was given to a stranger is not ours to kill.
            return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def breach(usage: Usage, limits: Limits) -> Breach | None:
    """The first limit that `usage` passes."""
    # Forks before memory: the pages that they share count once for each of them.
    if usage.processes > limits.processes:
        return Breach("process_limit", f"ran {usage.processes} processes at once, the limit is {limits.processes}")
    if usage.threads > limits.threads:
        return Breach("process_limit", f"ran {usage.threads} threads at once, the limit is {limits.threads}")
    if usage.rss > limits.rss:
        return Breach("memory_limit", f"used {megabytes(usage.rss)} of memory, the limit is {megabytes(limits.rss)}")
    if usage.cpu_seconds > limits.cpu_seconds:
        return cpu_breach(usage.cpu_seconds, limits)
    return write_breach(usage.written, limits)


def write_breach(written: int, limits: Limits) -> Breach | None:
    """Whether more bytes were given to write() than may be."""
    if written <= WRITE_FACTOR * limits.scratch_bytes:
        return None
    most = megabytes(WRITE_FACTOR * limits.scratch_bytes)
    return Breach("disk_limit", f"wrote more than {most} to files and standard output")


def cpu_breach(used: float, limits: Limits) -> Breach:
    return Breach("cpu_limit", f"used {used:.1f} s of CPU, the limit is {limits.cpu_seconds:g} s")


def megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB"


def children(pid: int) -> list[int]:
    """Direct children. The kernel's own list where it has one (20 times cheaper than reading every process)."""
    with contextlib.suppress(OSError, ValueError):
        tasks = [task / "children" for task in (_PROC / str(pid) / "task").iterdir()]
        return [int(child) for task in tasks for child in task.read_text().split()]
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    return psutil.Process(pid).num_threads()


def kill_marked(marker: str) -> None:
    """Kills what is left of a keeper that is dead: processes with `marker` in the environment they began with.

    Best effort: they are killed until a look finds none, but no longer than KILL_PATIENCE seconds.
    """
    give_up = time.monotonic() + KILL_PATIENCE
    while (found := _marked(marker.encode())) and time.monotonic() < give_up:
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_SWEEP_PAUSE)


def _marked(marker: bytes) -> list[int]:
    """Processes that were started with `marker` in their environment, without ourselves; zombies have none."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if marker in (_PROC / str(pid) / "environ").read_bytes() and pid != os.getpid():
                found.append(pid)
    return found
