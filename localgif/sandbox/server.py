"""The keeper: a small process with one thread that forks one confined process per job, watches it and ends it.

Why not the app itself: a fork of a process with threads may hang, an app has secrets and other children, and a signal
at the parent's death means the thread that forked. The keeper has a clean environment and Pillow and numpy in memory,
so a fork is ready in a millisecond or two. Of a job it knows limits, layers and the directory; neither programs nor
GIFs nor output pass through it, and it keeps nothing when a job is over. It ends when the app does, with everything
that it started.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import time
from typing import NoReturn, cast

from localgif.sandbox import child, confine, native, preload, watch
from localgif.sandbox.job import DESCRIPTORS, HAND_OVER, Answer, MachineryError, Request, Unpacker, pack
from localgif.sandbox.session import Session

#: Between two looks at the processes and their directories, seconds.
TICK = 0.015
#: A request lies in the socket when the keeper hears of it; for a machine that is being suspended, seconds.
_REQUEST_PATIENCE = 5.0


def main() -> NoReturn:
    """Serves the control socket on descriptor 0 until its other end is closed."""
    native.prctl(native.PR_SET_CHILD_SUBREAPER, 1)
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    preload.load()
    if watch.threads_of(os.getpid()) != 1:
        raise RuntimeError("the keeper has more than one thread: a fork of it would not be sound")
    prepared = confine.prepare()
    # No other process of this user may read the keeper's memory or attach to it.
    native.prctl(native.PR_SET_DUMPABLE, 0)
    # Nobody collects what is here now: it stays shared with every fork.
    gc.collect()
    gc.freeze()
    Keeper(control, prepared).serve()
    os._exit(0)


class Keeper:
    """Runs the jobs that come in over the control socket, several at a time."""

    def __init__(self, control: socket.socket, prepared: confine.Prepared) -> None:
        self._control = control
        self._prepared = prepared
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._sessions: dict[int, Session] = {}
        """By the pid of their process."""
        self._owner: dict[int, Session] = {}
        """By the descriptors that wake us for them."""

    def serve(self) -> None:
        """Returns when the app is gone and nothing of its jobs is left."""
        next_look = 0.0
        while True:
            idle = not self._sessions
            wait = None if idle else max(0.0, next_look - time.monotonic())
            for key, _ in self._selector.select(wait):
                if key.fileobj is not self._control:
                    self._handle(key.fd)
                elif not self._accept():
                    for session in list(self._sessions.values()):
                        self._stop(session)
                    return
            if idle:
                next_look = time.monotonic() + TICK
            elif time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + TICK
            for session in [session for session in self._sessions.values() if session.is_over]:
                self._stop(session)

    # --- begin ---

    def _accept(self) -> bool:
        """Starts the job that comes in; False when the app is gone."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, len(HAND_OVER), DESCRIPTORS)
        if not packet:
            return False
        if len(descriptors) != DESCRIPTORS:  # we have no room for more; the app sees its job's socket closed
            for descriptor in descriptors:
                os.close(descriptor)
            return True
        connection, *streams = descriptors
        job = socket.socket(fileno=connection)
        try:
            self._start(job, *streams)
        except (OSError, MachineryError) as error:
            _send(job, _failed(f"the keeper cannot start a process: {error}"))
            job.close()
        finally:
            for descriptor in streams:
                os.close(descriptor)
        return True

    def _start(self, job: socket.socket, payload: int, stdout: int, stderr: int) -> None:
        request = _receive(job)
        preload.load_measurer(request["module"])
        ready, ready_write = os.pipe()
        keeper = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(ready)
            os.close(ready_write)
            raise
        if pid == 0:
            child.run(request, child.Streams(payload, stdout, stderr, ready_write), self._prepared, keeper)
        os.close(ready_write)
        session = Session(request, job, pid, ready)
        self._sessions[pid] = session
        for descriptor in session.descriptors:
            self._owner[descriptor] = session
            self._selector.register(descriptor, selectors.EVENT_READ)

    # --- while it runs ---

    def _handle(self, descriptor: int) -> None:
        session = self._owner.get(descriptor)
        if session is not None and not session.handle(descriptor):
            self._forget(descriptor)

    def _look(self) -> None:
        strays = self._strays()
        for session in self._sessions.values():
            if len(self._sessions) == 1:
                session.tree.adopt(strays)
            session.look()
        if len(self._sessions) > 1:  # whose it is can't be told; that it left its parent is enough
            for pid in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _strays(self) -> list[int]:
        """Living processes that became ours when their parent ended, unknown to any session. Dead ones are reaped."""
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

    def _stop(self, session: Session) -> None:
        for descriptor in session.descriptors:
            self._forget(descriptor)
        answer = session.stop(self._strays)
        self._strays()  # those that were killed last are reaped
        del self._sessions[session.pid]
        _send(session.connection, answer)
        session.close()

    def _forget(self, descriptor: int) -> None:
        if self._owner.pop(descriptor, None) is not None:
            self._selector.unregister(descriptor)


def _receive(job: socket.socket) -> Request:
    """The request of a job.

    Raises:
        MachineryError: It is not there, or none of ours.
    """
    job.settimeout(_REQUEST_PATIENCE)
    unpacker = Unpacker()
    while True:
        piece = job.recv(4096)
        if not piece:
            raise MachineryError("the request ended early")
        message = unpacker.feed(piece)
        if message is not None:
            return cast("Request", message)


def _send(job: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError):  # nobody waits for it any more
        job.sendall(pack(answer))


def _failed(reason: str) -> Answer:
    return {
        "began": False,
        "status": 0,
        "breach": None,
        "wall_seconds": 0.0,
        "cpu_seconds": 0.0,
        "peak_rss": 0,
        "failure": reason,
        "survivor": False,
    }


if __name__ == "__main__":
    sys.exit("the keeper is started by localgif itself")
