"""One confined process from start to end: started, fed, drained, watched, killed, reaped. Linux only.

The process is not waited for (reaped) before everything that came from it is dead: until then its pid, which is also
its session's, cannot be given to a stranger.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import selectors
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from localgif.errors import SandboxError
from localgif.records import Limits, Verdict
from localgif.sandbox import scratch, watch
from localgif.sandbox.child import READY
from localgif.sandbox.spawn import Job, MachineryError, message_for, pipe, spawn
from localgif.sandbox.text import Tail

#: Between two looks at the processes and the directory, seconds.
TICK = 0.015
#: Largest answer of a measurer, bytes.
ANSWER_CAP = 64 * 2**10

_CHUNK = 64 * 2**10
#: Reads after the end; a pipe holds 1 MB at most.
_LAST_CHUNKS = 64


@dataclass(frozen=True)
class Ended:
    """How a confined process ended, as seen from outside."""

    status: int
    """Exit status; negative: the signal."""
    breach: watch.Breach | None
    """The limit for which we killed it."""
    output: bytes
    """End of its stderr, and of its stdout too in mode "program"."""
    answer: bytes
    """End of its stdout in mode "measure"."""
    wall_seconds: float
    cpu_seconds: float
    peak_rss: int


def run_confined(job: Job, limits: Limits, directory: Path) -> Ended:
    """Runs one job in `directory`; when it returns or raises, no process of it is left.

    Raises:
        MachineryError: It could not be started, or ended before the job began.
        SandboxError: A process survived SIGKILL, or how it ended is lost.
    """
    with contextlib.ExitStack() as stack:
        lifeline, ready = pipe(stack), pipe(stack)
        inherited = (lifeline.read.fileno(), ready.write.fileno())
        process = spawn(job, directory, inherited)
        session = _Session(job, limits, directory, process, ready.read)
        stack.enter_context(session)
        # Ours of the inherited ends: the pipes must end when the child's do.
        lifeline.read.close()
        ready.write.close()
        session.serve(message_for(job, limits, directory, *inherited))
        session.stop()
        return session.ended()


class _Session(contextlib.AbstractContextManager["_Session"]):
    """A running job. On the way out, whatever the reason (Ctrl-C too), its processes are dead and reaped."""

    def __init__(
        self, job: Job, limits: Limits, directory: Path, process: subprocess.Popen[bytes], ready: io.FileIO
    ) -> None:
        self._started = time.monotonic()
        self._limits, self._directory, self._process, self._ready = limits, directory, process, ready
        self._tree = watch.Tree(process.pid, f"TMPDIR={directory}")
        self._began = False
        self._stopped = False
        self._breach: watch.Breach | None = None
        self._status, self._cpu, self._wall, self._kernel_rss = 0, 0.0, 0.0, 0
        self._pending = memoryview(b"")
        self._output = Tail(limits.output_kept)
        self._answer = Tail(ANSWER_CAP + 1)
        assert process.stdin and process.stdout
        self._drains: dict[int, Tail] = {process.stdout.fileno(): self._output}
        if process.stderr:
            self._drains = {process.stdout.fileno(): self._answer, process.stderr.fileno(): self._output}

    # --- while it runs ---

    def serve(self, message: bytes) -> None:
        """Feeds, drains and watches until the process has ended or passed a limit."""
        self._pending = memoryview(message)
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
            assert self._process.stdin
            os.set_blocking(self._process.stdin.fileno(), False)
            selector.register(self._process.stdin, selectors.EVENT_WRITE)
            for descriptor in [*self._drains, self._ready.fileno()]:
                os.set_blocking(descriptor, False)
                selector.register(descriptor, selectors.EVENT_READ)
            _wake_at_exit(selector, stack, self._process.pid)
            next_look = self._started
            while not self._has_ended() and not self._breach:
                now = time.monotonic()
                if now >= next_look:
                    self._look(now)
                    next_look = time.monotonic() + TICK
                for key, _ in selector.select(max(0.0, next_look - time.monotonic())):
                    if not self._handle(key.fd):
                        selector.unregister(key.fileobj)

    def _has_ended(self) -> bool:
        """Whether the process is a zombie; it stays one."""
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # somebody else waited for it; stop() says so
            return True

    def _look(self, now: float) -> None:
        usage = self._tree.look()
        found = watch.breach(usage, self._limits) or scratch.breach(self._directory, self._limits)
        elapsed = now - self._started
        if not found and elapsed > self._limits.wall_seconds:
            reason = f"ran for {elapsed:.1f} s, the limit is {self._limits.wall_seconds:g} s"
            reason += f" (it used {usage.cpu_seconds:.1f} s of CPU)"
            found = watch.Breach(Verdict.WALL_LIMIT, reason)
        self._breach = found

    def _handle(self, descriptor: int) -> bool:
        """One step of one stream; False when it is at its end."""
        assert self._process.stdin
        try:
            if not self._process.stdin.closed and descriptor == self._process.stdin.fileno():
                return self._feed()
            if descriptor == self._ready.fileno():
                self._began = os.read(descriptor, 1) == READY
                return False
            if descriptor in self._drains:
                chunk = os.read(descriptor, _CHUNK)
                self._drains[descriptor].feed(chunk)
                return bool(chunk)
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return False  # the process's own descriptor: its end is noticed by the loop

    def _feed(self) -> bool:
        assert self._process.stdin
        self._pending = self._pending[os.write(self._process.stdin.fileno(), self._pending[:_CHUNK]) :]
        return bool(self._pending)

    # --- at its end ---

    def stop(self) -> None:
        """Kills what is left, reads what is left in the pipes, reaps."""
        if self._stopped:
            return
        self._tree.kill()
        try:
            _, status, used = os.wait4(self._process.pid, 0)
        except ChildProcessError as error:
            self._stopped, self._process.returncode = True, 0
            raise SandboxError(
                "another part of this program waited for the sandbox's process, so how it ended is lost",
                "SIGCHLD must not be ignored, and nobody may wait for any child (os.wait, waitpid(-1)).",
            ) from error
        self._process.returncode = self._status = os.waitstatus_to_exitcode(status)
        self._wall = time.monotonic() - self._started
        self._cpu = max(used.ru_utime + used.ru_stime, self._tree.peak_cpu)
        self._kernel_rss = used.ru_maxrss * 1024
        self._stopped = True

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                if stream:
                    stream.close()

    def ended(self) -> Ended:
        """The findings; call it after stop().

        Raises:
            MachineryError: The job never began, so whatever happened was not the program's doing.
        """
        for descriptor, tail in self._drains.items():
            _drain(descriptor, tail)
        if not self._began:
            with contextlib.suppress(BlockingIOError):
                self._began = os.read(self._ready.fileno(), 1) == READY
        if not self._began:
            said = self._output.get().decode(errors="replace").strip()
            detail = self._breach.reason if self._breach else f"status {self._status}"
            raise MachineryError(f"a confined process ended before its job began: {detail}. It said: {said or '-'}")
        # At exec, Linux counts the parent's own size as the child's; a value above it can only be the child's.
        kernel = self._kernel_rss if self._kernel_rss > _own_peak() else 0
        return Ended(
            status=self._status,
            breach=self._breach or scratch.breach(self._directory, self._limits),
            output=self._output.get(),
            answer=self._answer.get(),
            wall_seconds=self._wall,
            cpu_seconds=self._cpu,
            peak_rss=max(self._tree.peak_rss, kernel),
        )


def _drain(descriptor: int, tail: Tail) -> None:
    """Reads what is left in a pipe. Bounded: a process that escaped us could write on."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(_LAST_CHUNKS):
            chunk = os.read(descriptor, _CHUNK)
            tail.feed(chunk)
            if not chunk:
                return


def _own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _wake_at_exit(selector: selectors.BaseSelector, stack: contextlib.ExitStack, pid: int) -> None:
    """Wakes `selector` at once when the process ends; without it (old kernels) the next tick notices."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        stack.callback(os.close, descriptor)
        selector.register(descriptor, selectors.EVENT_READ)
