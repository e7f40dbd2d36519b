"""Runs each job in a process of its own, with portable features only and without the keeper.

A job has two processes: a warden (warden.py), and the job's process (single.py), which the warden starts. This module
holds the pipes, watches, counts and kills. Starting and loading takes 0.1 to 0.3 s, so each job also starts the
processes of the next one, which wait. Nothing here forks: threads and some libraries of macOS do not survive a fork.

Where the system lets the warden adopt orphans (Linux), nothing that a program starts gets away. Elsewhere the watch
finds children, members of the session, and processes that started with the job's mark in their environment.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import io
import json
import os
import secrets
import select
import selectors
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from localgif.offline import restore_signals
from localgif.records import Limits
from localgif.sandbox import keeper_client, seatbelt, watch
from localgif.sandbox.child import READY
from localgif.sandbox.keeper_client import ANSWER_CAP
from localgif.sandbox.protocol import (
    EXIT_LAYER,
    KILL,
    SEATBELT,
    WATCH,
    Breach,
    Ended,
    Job,
    LayerMissing,
    MachineryError,
)
from localgif.sandbox.text import Tail
from localgif.sandbox.warden import STIRRED, STREAMS

#: Between two looks at the processes of a job, seconds; and at least this many times what a look costs.
_TICK, _TICKS_PER_COST = 0.015, 4.0

#: Seconds until a job that has not begun counts as failed; loading the libraries is slow on a busy machine.
START_PATIENCE = 60.0

#: Seconds until a warden that has not answered counts as stopped or broken.
WARDEN_PATIENCE = watch.KILL_PATIENCE + 1

#: The warden's descriptors have at least this number here, so that moving one overwrites no other.
_HIGH = 20

_CHUNK, _LAST_CHUNKS, _LAST_WORDS = 64 * 2**10, 64, 4096

_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from localgif.sandbox.{} import main; main()"
_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class Kind(NamedTuple):
    """What the processes of a job need to know when they start."""

    mode: str
    module: str
    confiner: tuple[str, ...]
    """A command that confines the program that it starts; empty: none."""
    only_here: bool
    """Whether the command names the job's directory, so that the processes fit no other job."""


def kind_of(job: Job, directory: Path) -> Kind:
    """How the processes of a job are started."""
    scratch = directory if job.mode == "program" else None
    confiner = seatbelt.command(scratch) if SEATBELT in job.layers else ()
    return Kind(job.mode, job.module, confiner, bool(confiner) and scratch is not None)


def run_confined(job: Job, limits: Limits, directory: Path) -> Ended:
    """As jobs.run_confined, without a keeper."""
    with _taken(kind_of(job, directory)) as processes:
        return _Run(processes, job, limits, directory).follow()


# --- processes that wait -----------------------------------------------------------------------------------------

_lock = threading.Lock()
_waiting: dict[str, Processes] = {}
"""By mode; at most one each."""


def pids() -> set[int]:
    """The processes that wait for a job."""
    with _lock:
        return {pid for each in _waiting.values() for pid in (each.warden, *watch.children(each.warden))}


def stop() -> None:
    """Ends the processes that wait for a job."""
    with _lock:
        waiting = [*_waiting.values()]
        _waiting.clear()
    for each in waiting:
        each.end()


atexit.register(stop)


@contextlib.contextmanager
def _taken(kind: Kind) -> Iterator[Processes]:
    """Processes for one job, ended afterwards whatever happens. Also starts the processes of the next job."""
    with _lock:
        found = _waiting.pop(kind.mode, None)
        if found is not None and not (found.fits(kind) and found.is_alive()):
            found.end()
            found = None
        processes = found or Processes(kind)
    try:
        if not kind.only_here:
            with _lock, contextlib.suppress(MachineryError):  # the next job will try again
                if kind.mode not in _waiting:
                    _waiting[kind.mode] = Processes(kind)
        yield processes
    finally:
        processes.end()


class _Pipe:
    """A pipe between us and the warden; the warden's end has a high number."""

    def __init__(self, ours: contextlib.ExitStack, theirs: contextlib.ExitStack, *, we_write: bool = False) -> None:
        read, write = os.pipe()
        mine, other = (write, read) if we_write else (read, write)
        self.file = ours.enter_context(io.FileIO(mine, "w" if we_write else "r"))
        os.set_blocking(mine, False)
        try:
            self.theirs = fcntl.fcntl(other, fcntl.F_DUPFD_CLOEXEC, _HIGH)
            theirs.callback(os.close, self.theirs)
        finally:
            os.close(other)


class Processes:
    """A warden and the process of a job, which waits for its request; a MachineryError if they cannot be started."""

    def __init__(self, kind: Kind) -> None:
        restore_signals()
        self._kind = kind
        self._owner = os.getpid()
        self._ended: int | None = None
        self._lines = b""
        self.mark = f"{watch.KEEPER}={watch.owner()}-{secrets.token_hex(8)}"
        self.job: int | None = None
        self.tree: watch.Tree | None = None
        self.adopts = False
        self.given = False
        self._files = contextlib.ExitStack()
        try:
            with contextlib.ExitStack() as theirs:
                self._start(theirs)
        except OSError as error:
            self._files.close()
            raise MachineryError(f"{sys.executable} cannot be started: {error}") from error

    def _start(self, theirs: contextlib.ExitStack) -> None:
        self._words = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        control, payload = (_Pipe(self._files, theirs, we_write=True) for _ in range(2))
        report, printed, ready = (_Pipe(self._files, theirs) for _ in range(3))
        # A program's two streams share a pipe, so that they stay in order; a measurer's stdout is only its answer.
        answered = printed if self._kind.mode == "program" else _Pipe(self._files, theirs)
        self._control, self.report = control.file, report.file
        self.payload, self.printed, self.answered, self.ready = payload.file, printed.file, answered.file, ready.file
        streams = zip((payload, answered, printed, ready), STREAMS, strict=True)
        words = fcntl.fcntl(self._words.fileno(), fcntl.F_DUPFD_CLOEXEC, _HIGH)
        theirs.callback(os.close, words)
        moves = [(control.theirs, 0), (report.theirs, 1), (words, 2), *((each.theirs, to) for each, to in streams)]
        python = [sys.executable, "-s", "-P", "-B", "-c"]
        warden, single = ([*python, _BOOT.format(name), keeper_client.HERE] for name in ("warden", "single"))
        self.warden = os.posix_spawn(
            sys.executable,
            [*warden, *self._kind.confiner, *single, self._kind.module],
            keeper_client.clean_environment(self.mark),
            file_actions=[(os.POSIX_SPAWN_DUP2, here, there) for here, there in moves],
            setpgroup=0,  # a terminal's Ctrl-C is for us
            setsigmask=[],
            setsigdef=_SIGNALS,
        )

    def fits(self, kind: Kind) -> bool:
        """Whether a job of this kind can use these processes; they can still load another measurer."""
        return self._owner == os.getpid() and self._kind._replace(module="") == kind._replace(module="")

    def is_alive(self) -> bool:
        """Whether the warden runs."""
        if self._ended is None:
            pid, status = os.waitpid(self.warden, os.WNOHANG)
            self._ended = status if pid else None
        return self._ended is None

    def strays(self) -> list[int]:
        """Processes that left the job's tree: adopted by the warden, or else found by session, group and mark."""
        found = [pid for pid in watch.children(self.warden) if pid != self.job]
        if not self.adopts and self.job is not None:
            found += [pid for pid in watch.relatives(self.job, self.mark) if pid != self.warden]
        return found

    # --- the warden's lines ---

    def hear(self) -> list[bytes]:
        """The warden's new lines; a MachineryError if it is dead."""
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(self.report.fileno(), _CHUNK)
            if not chunk:
                raise MachineryError(f"the warden died. {self.last_words()}".strip())
            self._lines += chunk
        *lines, self._lines = self._lines.split(b"\n")
        for line in lines:
            if self.job is None:
                said = json.loads(line)
                self.job, self.adopts = said["pid"], said["adopts"]
                self.tree = watch.Tree(said["pid"])
        return lines

    def last_words(self) -> str:
        """The end of the warden's output."""
        size = os.fstat(self._words.fileno()).st_size
        return os.pread(self._words.fileno(), _LAST_WORDS, max(0, size - _LAST_WORDS)).decode(errors="replace").strip()

    def reap(self) -> dict[str, Any]:
        """How the job's process ended, once it is killed; a MachineryError if the warden does not answer."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._control.fileno(), b"r")
        give_up = time.monotonic() + WARDEN_PATIENCE
        while True:
            for line in self.hear():
                if line.startswith(b'{"status"'):
                    found: dict[str, Any] = json.loads(line)
                    return found
            if not select.select([self.report], [], [], max(0.0, give_up - time.monotonic()))[0]:
                raise MachineryError(f"the warden has not answered for {WARDEN_PATIENCE:g} s.")

    # --- the end ---

    def end(self) -> None:
        """Ends both processes and what came from them, by force if necessary."""
        if self._owner != os.getpid():
            return  # this process is a fork of the app that owns it
        if not self.given and self.is_alive():
            with contextlib.suppress(MachineryError):
                self._end_idle()
        self._control.close()
        give_up = time.monotonic() + WARDEN_PATIENCE
        with contextlib.suppress(MachineryError, ValueError):
            while time.monotonic() < give_up and select.select([self.report], [], [], WARDEN_PATIENCE)[0]:
                self.hear()
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                if time.monotonic() >= give_up:
                    os.kill(self.warden, signal.SIGKILL)
            self._ended = os.waitpid(self.warden, 0)[1]
        self._files.close()
        if self._ended and os.WIFSIGNALED(self._ended):  # otherwise it has done this itself
            if self.tree is not None:
                self.tree.kill(list)
            watch.kill_marked(self.mark)

    def _end_idle(self) -> None:
        """Kills a job's process that waits or still loads, and so has nothing to clean up."""
        while self.job is None and select.select([self.report], [], [], WARDEN_PATIENCE)[0]:
            self.hear()
        if self.job is not None:
            os.kill(self.job, signal.SIGKILL)  # not reaped yet, so the pid is still its own
            self.reap()


# --- one job -----------------------------------------------------------------------------------------------------


class _Run:
    """One job from its request to its end."""

    def __init__(self, processes: Processes, job: Job, limits: Limits, directory: Path) -> None:
        request = keeper_client.request_for(job, limits, directory)
        self._processes, self._layers, self._limits, self._directory = processes, job.layers, limits, directory
        self._unsent = memoryview(json.dumps(request).encode() + b"\n" + job.payload)
        self._drains = {processes.printed: Tail(limits.output_kept)}
        if processes.answered is not processes.printed:
            self._drains[processes.answered] = Tail(ANSWER_CAP + 1)
        self._selector = selectors.DefaultSelector()
        self._started = time.monotonic()
        self._breach: Breach | None = None
        self._began: dict[str, Any] | None = None
        """The job's own report that it begins; None before it."""

    def follow(self) -> Ended:
        """Runs the job to its end; raises as jobs.run_confined."""
        processes, next_look = self._processes, 0.0
        processes.given = True
        with self._selector:
            self._selector.register(processes.payload, selectors.EVENT_WRITE)
            for file in (*self._drains, processes.ready, processes.report):
                self._selector.register(file, selectors.EVENT_READ)
            while True:
                stirred = False
                pause = _TICK if processes.tree is None else min(_TICK, next_look - time.monotonic())
                for key, _ in self._selector.select(max(0.0, pause)):
                    stirred = self._handle(key.fileobj) or stirred
                now = time.monotonic()
                if processes.tree is not None and (stirred or now >= next_look):
                    if self._is_over(processes.tree):
                        break
                    cost = time.monotonic() - now
                    next_look = now + max(_TICK, _TICKS_PER_COST * cost)
                if self._began is None and now - self._started > START_PATIENCE:
                    raise MachineryError(f"a job has not begun after {START_PATIENCE:g} s.")
        assert processes.tree is not None
        return self._end(processes.tree)

    def _handle(self, file: object) -> bool:
        """Handles one event; True if a process may have ended."""
        if file is self._processes.payload:
            self._send()
        elif file is self._processes.report:
            return any(line + b"\n" == STIRRED for line in self._processes.hear())
        elif file is self._processes.ready:
            self._selector.unregister(self._processes.ready)
            self._begin()
        else:
            assert isinstance(file, io.FileIO)
            if not keeper_client.drain(file.fileno(), self._drains[file], 1):
                self._selector.unregister(file)
        return False

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # a process that died is noticed by its end
            self._unsent = self._unsent[os.write(self._processes.payload.fileno(), self._unsent) :]
            if self._unsent:
                return
        self._selector.unregister(self._processes.payload)
        self._processes.payload.close()

    def _begin(self) -> None:
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._processes.ready.fileno(), _CHUNK)
            if said.startswith(READY) and self._began is None:
                self._began = json.loads(said[len(READY) :])
                self._started = time.monotonic()

    def _is_over(self, tree: watch.Tree) -> bool:
        """Compares what the job uses with its limits; True if it exceeds one, or has ended."""
        if self._processes.adopts:
            tree.adopt(self._processes.strays())
        usage = tree.look()
        if tree.has_ended():
            return True
        if self._began is None:
            return False
        usage = usage._replace(cpu_seconds=usage.cpu_seconds - self._began["used"])
        if WATCH in self._layers:
            self._breach = watch.breach(usage, self._limits) or watch.scratch_breach(self._directory, self._limits)
        if not self._breach and time.monotonic() - self._started > self._limits.wall_seconds:
            self._breach = watch.wall_breach(self._limits)
        return self._breach is not None

    def _end(self, tree: watch.Tree) -> Ended:
        """Kills and reaps what is left; returns how the job went."""
        if KILL in self._layers:
            tree.kill(self._processes.strays)
        else:
            tree.kill_root()
        wall = time.monotonic() - self._started
        if self._began is None:
            self._begin()
        for file, tail in self._drains.items():
            keeper_client.drain(file.fileno(), tail, _LAST_CHUNKS)
        written = tree.written()  # includes a program that ended before the first look
        found = self._processes.reap()
        output, *answer = (tail.get() for tail in self._drains.values())
        if self._began is None:
            raise self._refusal(found["status"], output)
        if WATCH in self._layers:
            late = watch.write_breach(written, self._limits) or watch.scratch_breach(self._directory, self._limits)
            self._breach = self._breach or late
        cpu = max(0.0, max(found["cpu"], tree.peak_cpu) - self._began["used"])
        rss = max(found["rss"], tree.peak_rss)
        lacking = tuple(self._began["lacking"])
        return Ended(found["status"], self._breach, output, b"".join(answer), wall, cpu, rss, lacking)

    def _refusal(self, status: int, output: bytes) -> LayerMissing | MachineryError:
        """The error for a process that ended before its job began."""
        said = output.decode(errors="replace").strip() or self._processes.last_words()
        if SEATBELT in self._layers or status == EXIT_LAYER:
            return LayerMissing(said or f"status {status}", "`localgif sandbox check` shows what this machine offers.")
        return MachineryError(f"a job's process ended before its job began: status {status}. It said: {said or '-'}")
