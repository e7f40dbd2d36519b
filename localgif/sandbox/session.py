"""One job in the keeper: the process that was forked for it, what it uses, and how it ended.

The process is not waited for (reaped) before everything that came from it is dead: until then its pid, which is also
its session's, cannot be given to a stranger.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from localgif.errors import SandboxError
from localgif.sandbox import scratch, watch
from localgif.sandbox.child import READY
from localgif.sandbox.job import Answer, Breach, Request
from localgif.sandbox.layers import KILL, WATCH

if TYPE_CHECKING:
    from localgif.records import Limits


class Session:
    """A running job.

    Args:
        request: What the app asked for.
        connection: The job's socket; its end means that the app has lost interest.
        pid: The confined process, a child of ours.
        ready: Reading end of the pipe on which it says that the job begins.
    """

    def __init__(self, request: Request, connection: socket.socket, pid: int, ready: int) -> None:
        self.started = time.monotonic()
        self.connection, self.pid, self.ready = connection, pid, ready
        self.tree = watch.Tree(pid)
        self.cancelled = False
        self._layers = frozenset(request["layers"])
        self._limits = cast("Limits", SimpleNamespace(**request["limits"]))
        self._directory = Path(request["directory"])
        self._began = False
        self._breach: Breach | None = None
        self.exit = _pidfd(pid)

    @property
    def descriptors(self) -> list[int]:
        """What is worth waking up for: the app's loss of interest, the begin, the end."""
        return [self.connection.fileno(), self.ready, *([self.exit] if self.exit is not None else [])]

    @property
    def is_over(self) -> bool:
        """Whether it is to be stopped: its process has ended or passed a limit, or nobody waits for it."""
        return self.cancelled or self._breach is not None or self._has_ended()

    def handle(self, descriptor: int) -> bool:
        """One event; False when nothing more will come from there."""
        if descriptor == self.ready:
            self._began = os.read(descriptor, 1) == READY
        elif descriptor == self.connection.fileno():
            self.cancelled = True  # the app has said all it had to say: whatever comes is the end
        return False

    def look(self) -> None:
        """Compares what is used with the limits."""
        elapsed = time.monotonic() - self.started
        usage = self.tree.look()
        if WATCH in self._layers:
            self._breach = watch.breach(usage, self._limits) or scratch.breach(self._directory, self._limits)
        if not self._breach and elapsed > self._limits.wall_seconds:
            reason = f"ran for {elapsed:.1f} s, the limit is {self._limits.wall_seconds:g} s"
            reason += f" (it used {usage.cpu_seconds:.1f} s of CPU)"
            self._breach = Breach("wall_limit", reason)

    def stop(self, strays: Callable[[], list[int]]) -> Answer:
        """Kills what is left, reaps, and says how it was."""
        failure = ""
        if KILL in self._layers:
            try:
                self.tree.kill(strays)
            except SandboxError as error:
                failure = error.message
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        if failure:
            return self._answer(0, 0.0, 0, failure)
        written = self.tree.written()  # a program that was done before the first look is counted too
        _, status, used = os.wait4(self.pid, 0)
        if not self._began:
            self._began = os.read(self.ready, 1) == READY  # every writing end is closed by now, or holds the byte
        if WATCH in self._layers:
            late = watch.write_breach(written, self._limits) or scratch.breach(self._directory, self._limits)
            self._breach = self._breach or late
        cpu = max(used.ru_utime + used.ru_stime, self.tree.peak_cpu)
        rss = max(used.ru_maxrss * 1024, self.tree.peak_rss)
        return self._answer(os.waitstatus_to_exitcode(status), cpu, rss, "")

    def close(self) -> None:
        """Closes every descriptor of the job."""
        self.connection.close()
        for descriptor in (self.ready, self.exit):
            if descriptor is not None:
                os.close(descriptor)

    def _has_ended(self) -> bool:
        """Whether the process is a zombie; it stays one."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _answer(self, status: int, cpu: float, rss: int, failure: str) -> Answer:
        return {
            "began": self._began,
            "status": status,
            "breach": list(self._breach) if self._breach else None,
            "wall_seconds": time.monotonic() - self.started,
            "cpu_seconds": cpu,
            "peak_rss": rss,
            "failure": failure,
            "survivor": bool(failure),
        }


def _pidfd(pid: int) -> int | None:
    """A descriptor that wakes us when the process ends; None on kernels before 5.3, where the next tick notices."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
