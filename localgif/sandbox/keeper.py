"""The keeper: loads what jobs need, forks one confined process per job, watches it and reaps it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn, cast

import psutil

from localgif.errors import SandboxError
from localgif.sandbox import child, confine, syscalls, watch
from localgif.sandbox.child import READY
from localgif.sandbox.protocol import (
    DESCRIPTORS,
    HAND_OVER,
    KILL,
    MESSAGE_CAP,
    WATCH,
    Answer,
    Breach,
    MachineryError,
    Request,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from localgif.records import Limits

#: Between two looks at the processes and their directories, seconds.
_TICK = 0.015

#: How long to wait for a request, seconds. It is already in the socket, unless the machine was suspended.
_REQUEST_PATIENCE = 5.0


def main() -> NoReturn:
    """Serves the control socket on descriptor 0 until its other end is closed."""
    child.reset_signals()  # while SIGCHLD is ignored, waiting for a job fails
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    child.load()
    if psutil.Process().num_threads() != 1:
        raise RuntimeError("the keeper has more than one thread, so its forks would not be sound")
    prepared = confine.prepare()
    # No other process of this user may read the keeper's memory or attach to it.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    # The collector skips the objects that exist now, so every fork keeps sharing their memory.
    gc.collect()
    gc.freeze()
    _Keeper(control, prepared).serve()
    os._exit(0)


def _load_measurer(name: str) -> None:
    """Imports one of our measurers before the fork that needs it first. The job's process imports any other module."""
    if name.startswith("localgif.") and name not in sys.modules:
        with contextlib.suppress(ImportError):  # the job's process will report that
            importlib.import_module(name)
            gc.freeze()


def _begin(streams: child.Streams, keeper: int) -> bytes:
    """Turns a fork of the keeper into a process of its own; returns its payload."""
    os.setsid()
    if not confine.die_with(keeper):
        raise RuntimeError("the keeper has ended")
    child.reset_signals()
    return child.take_over(streams)


class _Keeper:
    """Runs the jobs that come in over the control socket, several at a time."""

    def __init__(self, control: socket.socket, prepared: confine.Prepared) -> None:
        self._control = control
        self._prepared = prepared
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._sessions: dict[int, _Session] = {}
        """By the pid of their process."""

    def serve(self) -> None:
        """Serves until the app is gone; then no process of its jobs is left."""
        next_look = 0.0
        while True:
            idle = not self._sessions
            wait = None if idle else max(0.0, next_look - time.monotonic())
            for key, _ in self._selector.select(wait):
                if key.fileobj is not self._control:
                    key.data.handle(key.fd)
                    self._selector.unregister(key.fd)  # nothing more will come from it
                elif not self._accept():
                    for session in list(self._sessions.values()):
                        self._stop(session)
                    return
            if idle:
                next_look = time.monotonic() + _TICK
            elif time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + _TICK
            for session in [session for session in self._sessions.values() if session.is_over]:
                self._stop(session)

    # --- begin ---

    def _accept(self) -> bool:
        """Starts the job that comes in; False if the app is gone."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, len(HAND_OVER), DESCRIPTORS)
        if not packet:
            return False
        if len(descriptors) != DESCRIPTORS:  # out of descriptors; the app sees its job's socket closed
            for descriptor in descriptors:
                os.close(descriptor)
            return True
        connection, *streams = descriptors
        job = socket.socket(fileno=connection)
        try:
            self._start(job, *streams)
        except (OSError, MachineryError) as error:
            _send(job, Answer(failure=f"the keeper cannot start a process: {error}"))
            job.close()
        finally:
            for descriptor in streams:
                os.close(descriptor)
        return True

    def _start(self, job: socket.socket, payload: int, stdout: int, stderr: int) -> None:
        job.settimeout(_REQUEST_PATIENCE)
        request = cast("Request", unpack(job.recv(MESSAGE_CAP)))
        _load_measurer(request["module"])
        ready, ready_write = os.pipe()
        keeper = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(ready)
            os.close(ready_write)
            raise
        if pid == 0:
            streams = child.Streams(payload, stdout, stderr, ready_write)
            child.run(request, partial(_begin, streams, keeper), partial(confine.enter, self._prepared))
        os.close(ready_write)
        session = _Session(request, job, pid, ready)
        self._sessions[pid] = session
        for descriptor in session.descriptors:
            self._selector.register(descriptor, selectors.EVENT_READ, session)

    # --- while it runs ---

    def _look(self) -> None:
        strays = self._strays()
        for session in self._sessions.values():
            if len(self._sessions) == 1:
                session.tree.adopt(strays)
            session.look()
        if len(self._sessions) > 1:  # nothing shows which job these orphans came from, so all of them end
            for pid in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _strays(self) -> list[int]:
        """Living processes that became ours when their parent ended, unknown to any session. Reaps the dead ones."""
        found = []
        for pid in watch.children(os.getpid()):
            if pid in self._sessions:
                continue
            with contextlib.suppress(ChildProcessError):
                known = any(session.tree.has_seen(pid) for session in self._sessions.values())
                if os.waitpid(pid, os.WNOHANG)[0] == 0 and not known:
                    found.append(pid)
        return found

    # --- end ---

    def _stop(self, session: _Session) -> None:
        for descriptor in session.descriptors:
            with contextlib.suppress(KeyError):  # it has had its event
                self._selector.unregister(descriptor)
        answer = session.stop(self._strays)
        self._strays()  # reaps the processes that were killed last
        del self._sessions[session.pid]
        _send(session.connection, answer)
        session.close()


class _Session:
    """A running job in the child process `pid`. The app cancels it by closing `connection`; the child writes to the
    pipe `ready` when the job begins."""

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
        self.exit: int | None = None
        with contextlib.suppress(OSError):  # before Linux 5.3; there the next tick notices the end
            self.exit = os.pidfd_open(pid)

    @property
    def descriptors(self) -> list[int]:
        """They wake the keeper when the app cancels the job, when the job begins, and when it ends."""
        return [self.connection.fileno(), self.ready, *([self.exit] if self.exit is not None else [])]

    @property
    def is_over(self) -> bool:
        """Whether to stop the job: cancelled, past a limit, or its process is a zombie (and stays one until reaped)."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return self.cancelled or self._breach is not None or ended

    def handle(self, descriptor: int) -> None:
        """Handles one event on a descriptor."""
        if descriptor == self.ready:
            self._began = os.read(descriptor, 1) == READY
        elif descriptor == self.connection.fileno():
            self.cancelled = True  # the app sends nothing after the request, so this is the end

    def look(self) -> None:
        """Compares what the job uses with its limits."""
        elapsed = time.monotonic() - self.started
        usage = self.tree.look()
        if WATCH in self._layers:
            self._breach = watch.breach(usage, self._limits) or watch.scratch_breach(self._directory, self._limits)
        if not self._breach and elapsed > self._limits.wall_seconds:
            self._breach = watch.wall_breach(self._limits)

    def stop(self, strays: Callable[[], list[int]]) -> Answer:
        """Kills and reaps what is left; returns how the job went."""
        failure = ""
        if KILL in self._layers:
            try:
                self.tree.kill(strays)
            except SandboxError as error:
                failure = error.message
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        status, cpu, rss = 0, 0.0, 0
        if not failure:
            written = self.tree.written()  # includes a program that ended before the first look
            _, raw_status, used = os.wait4(self.pid, 0)
            if not self._began:
                self._began = os.read(self.ready, 1) == READY  # every writing end is closed by now, or holds the byte
            if WATCH in self._layers:
                late = watch.write_breach(written, self._limits) or watch.scratch_breach(self._directory, self._limits)
                self._breach = self._breach or late
            status = os.waitstatus_to_exitcode(raw_status)
            cpu = max(used.ru_utime + used.ru_stime, self.tree.peak_cpu)
            rss = max(used.ru_maxrss * 1024, self.tree.peak_rss)
        return Answer(
            began=self._began,
            status=status,
            breach=list(self._breach) if self._breach else None,
            wall_seconds=time.monotonic() - self.started,
            cpu_seconds=cpu,
            peak_rss=rss,
            failure=failure,
            survivor=bool(failure),
        )

    def close(self) -> None:
        """Closes every descriptor of the job."""
        self.connection.close()
        for descriptor in (self.ready, self.exit):
            if descriptor is not None:
                os.close(descriptor)


def _send(job: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError):  # the app no longer waits for it
        job.send(pack(vars(answer)))
