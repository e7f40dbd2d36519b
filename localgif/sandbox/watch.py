"""Watches the processes of one job from outside, and ends them all. The only module that imports psutil.

Every process that was ever seen is remembered as (pid, start time), so a daemon that left its parent and its session is
still found; and one that left between two looks is found by the job's directory in the environment it inherited. What
escapes: a process that did both within one look and wiped its environment. Catching that needs a subreaper, which the
app, a process with threads and other children, cannot be.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from localgif.errors import SandboxError
from localgif.records import Limits, Verdict

#: A process that is still there this long after SIGKILL is reported as our failure, seconds.
KILL_PATIENCE = 5.0
#: Between two sweeps of the kill loop while something is left, seconds.
_SWEEP_PAUSE = 0.002

_PROC = Path("/proc")


class Usage(NamedTuple):
    """What a tree of processes uses at one moment. Zombies count nothing."""

    processes: int
    threads: int
    rss: int
    """Bytes; pages that processes share count once for each."""
    cpu_seconds: float
    """Of the processes alive and of the dead children that they waited for."""


class Breach(NamedTuple):
    """A limit that was passed: how it counts, and the numbers."""

    verdict: Verdict
    reason: str


class Tree:
    """One confined process and everything that came from it.

    Args:
        root: Its pid, also the id of its session and process group; not yet waited for, so that the pid stays its own.
        marker: A string in its environment that no other process has.
    """

    def __init__(self, root: int, marker: str) -> None:
        self._root = root
        self._marker = marker.encode()
        self._seen: dict[int, psutil.Process] = {}
        self.peak_rss = 0
        self.peak_cpu = 0.0
        self._remember([root])

    def look(self) -> Usage:
        """Counts the tree as it is now, and remembers its members."""
        processes = threads = rss = 0
        cpu = 0.0
        for process in self._living():
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                cpu += times.user + times.system + times.children_user + times.children_system
                threads += process.num_threads()
                rss += process.memory_info().rss
                processes += 1
        self.peak_rss = max(self.peak_rss, rss)
        self.peak_cpu = max(self.peak_cpu, cpu)
        return Usage(processes, threads, rss, cpu)

    def kill(self) -> None:
        """Ends every process of the tree; returns when two sweeps in a row found none.

        Raises:
            SandboxError: Something survived SIGKILL for KILL_PATIENCE seconds.
        """
        give_up = time.monotonic() + KILL_PATIENCE
        empty_sweeps = 0
        while empty_sweeps < 2:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._root, signal.SIGKILL)
            self._remember(_marked(self._marker))
            living = list(self._living())
            for process in living:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            empty_sweeps = 0 if living else empty_sweeps + 1
            if living and time.monotonic() > give_up:
                pids = ", ".join(str(process.pid) for process in living)
                raise SandboxError(
                    f"processes of a program are alive {KILL_PATIENCE:g} s after SIGKILL: {pids}",
                    "Look at them with `ps`; one that waits for a broken disk ends only with the machine.",
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
            children = _children(pid) if self._is_alive(pid) else []
            self._remember(children)
            queue += children
        yield from [process for pid, process in self._seen.items() if self._is_alive(pid)]

    def _is_alive(self, pid: int) -> bool:
        process = self._seen.get(pid)
        try:
            # is_running compares the start time: a pid that was given to a stranger is not ours to kill.
            return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def _remember(self, pids: list[int]) -> None:
        for pid in pids:
            known = self._seen.get(pid)
            if pid == os.getpid() or (known is not None and known.is_running()):
                continue
            with contextlib.suppress(psutil.Error):
                self._seen[pid] = psutil.Process(pid)


def breach(usage: Usage, limits: Limits) -> Breach | None:
    """The first limit that `usage` passes."""
    # Forks before memory: the pages that they share count once for each of them.
    if usage.processes > limits.processes:
        return Breach(
            Verdict.PROCESS_LIMIT, f"ran {usage.processes} processes at once, the limit is {limits.processes}"
        )
    if usage.threads > limits.threads:
        return Breach(Verdict.PROCESS_LIMIT, f"ran {usage.threads} threads at once, the limit is {limits.threads}")
    if usage.rss > limits.rss:
        return Breach(
            Verdict.MEMORY_LIMIT, f"used {megabytes(usage.rss)} of memory, the limit is {megabytes(limits.rss)}"
        )
    if usage.cpu_seconds > limits.cpu_seconds:
        return cpu_breach(usage.cpu_seconds, limits)
    return None


def cpu_breach(used: float, limits: Limits) -> Breach:
    return Breach(Verdict.CPU_LIMIT, f"used {used:.1f} s of CPU, the limit is {limits.cpu_seconds:g} s")


def megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB"


def kill_marked(marker: str) -> None:
    """Kills what is left of a job whose own app is dead. Best effort."""
    for pid in _marked(marker.encode()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """Direct children. The kernel's own list where it has one (20 times cheaper than reading every process)."""
    with contextlib.suppress(OSError, ValueError):
        tasks = [task / "children" for task in (_PROC / str(pid) / "task").iterdir()]
        return [int(child) for task in tasks for child in task.read_text().split()]
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def _marked(marker: bytes) -> list[int]:
    """Processes that were started with `marker` in their environment, without ourselves."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if marker in (_PROC / str(pid) / "environ").read_bytes() and pid != os.getpid():
                found.append(pid)
    return found
