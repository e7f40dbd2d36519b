"""The app's side of the keeper: starts it, hands it one job, follows the job to its end."""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import secrets
import selectors
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import localgif
from localgif.errors import SandboxError
from localgif.offline import restore_signals
from localgif.records import Limits
from localgif.sandbox import watch
from localgif.sandbox.protocol import (
    EXIT_LAYER,
    HAND_OVER,
    MESSAGE_CAP,
    Answer,
    Breach,
    Ended,
    Job,
    LayerMissing,
    MachineryError,
    Request,
    pack,
    unpack,
)
from localgif.sandbox.text import Tail

#: Largest answer of a measurer, bytes: 200 frames with 12 pieces each take less than a quarter.
ANSWER_CAP = 2 * 2**20

#: Seconds after the wall limit until a silent keeper counts as broken: start, kill loop, a busy machine.
ANSWER_PATIENCE = 15.0

#: Longest delay until localgif notices Ctrl-C, seconds.
_LONGEST_WAIT = 0.1

#: Bytes per read, and reads after the end (a pipe holds 1 MB at most).
_CHUNK, _LAST_CHUNKS = 64 * 2**10, 64

#: How much of a dying keeper's output localgif reports, bytes.
_LAST_WORDS = 4096

#: Errors of a system that lacks a call.
_NOT_HERE = (errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL)

# -s: no user site; -P: do not import from the working directory; -B: write nothing beside our modules.
# Not -I, which ignores PYTHONHASHSEED: the order of sets would change from run to run. -c instead of -m, because a
# clean environment need not have our folder on its path.
BOOT = "import sys; sys.path.insert(0, sys.argv.pop()); from localgif.sandbox.keeper import main; main()"
HERE = str(Path(localgif.__file__).parent.parent)

# --- one job -----------------------------------------------------------------------------------------------------


def run_confined(job: Job, limits: Limits, directory: Path) -> Ended:
    """Runs one job in `directory`; when it returns or raises, no process of the job is left.

    Raises:
        LayerMissing: The machine does not offer one of the layers.
        MachineryError: Its process could not be started, or ended before the job began, or the keeper died.
        SandboxError: A process survived SIGKILL.
    """
    running = current()
    with _Conversation(job, limits) as conversation:
        try:
            conversation.begin(running, request_for(job, limits, directory))
            answer = conversation.listen(limits.wall_seconds + ANSWER_PATIENCE)
        except MachineryError as error:
            raise MachineryError(f"{error} {_discard(running)}".strip()) from error
        return _ended(answer, conversation)


def request_for(job: Job, limits: Limits, directory: Path) -> Request:
    """The message that describes a job to its process."""
    return {
        "mode": job.mode,
        "module": job.module,
        "directory": str(directory),
        "layers": sorted(job.layers),
        "limits": limits.model_dump(),
    }


class _Conversation(contextlib.ExitStack):
    """The app's descriptors of one job. Leaving the block, even by Ctrl-C, ends the job's processes."""

    def __init__(self, job: Job, limits: Limits) -> None:
        super().__init__()
        self.output = Tail(limits.output_kept)
        self.answer = Tail(ANSWER_CAP + 1)
        self._heard: Answer | None = None
        try:
            ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._ours, self._theirs = (self.enter_context(end) for end in ends)
            self._payload = self.enter_context(io.FileIO(os.memfd_create("payload"), "r+"))
            printed = self._pipe()
            # A program's two streams share a pipe, so that they stay in order; a measurer's stdout is only its answer.
            answered = printed if job.mode == "program" else self._pipe()
            self._payload.write(job.payload)
        except OSError as error:
            self.close()
            raise MachineryError(f"cannot open descriptors for a job: {error}") from error
        self._writing = [answered[1], printed[1]]
        self._drains = {answered[0].fileno(): self.answer, printed[0].fileno(): self.output}

    def _pipe(self) -> tuple[io.FileIO, io.FileIO]:
        """The reading and the writing end, as objects, because closing one twice must be harmless."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        return self.enter_context(io.FileIO(read)), self.enter_context(io.FileIO(write, "w"))

    def begin(self, running: Running, request: Request) -> None:
        """Hands the job to the keeper."""
        self._ours.send(pack(request))
        self.callback(self._cancel)
        handed: tuple[socket.socket | io.FileIO, ...] = (self._theirs, self._payload, *self._writing)
        running.hand_over([end.fileno() for end in handed])
        # From here on only the keeper and the job hold these ends, so we notice when they close them.
        for end in handed:
            end.close()

    def listen(self, patience: float) -> Answer:
        """Reads what the job prints until the keeper answers; a MachineryError if the keeper dies, or takes longer than
        `patience` seconds."""
        give_up = time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            for descriptor in (*self._drains, self._ours.fileno()):
                selector.register(descriptor, selectors.EVENT_READ)
            while self._heard is None:
                # A short wait, because a signal that comes right before it is noticed only after it.
                ready = selector.select(_LONGEST_WAIT)
                if not ready and time.monotonic() > give_up:
                    raise MachineryError(f"the keeper has not answered for {patience:g} s.")
                for key, _ in ready:
                    if key.fd == self._ours.fileno():
                        self._heard = self._hear()
                    elif not drain(key.fd, self._drains[key.fd], 1):
                        selector.unregister(key.fd)
        for descriptor, tail in self._drains.items():
            drain(descriptor, tail, _LAST_CHUNKS)
        return self._heard

    def _hear(self) -> Answer:
        packet = b""
        with contextlib.suppress(ConnectionError):
            packet = self._ours.recv(MESSAGE_CAP)
        if not packet:
            raise MachineryError("the keeper died.")
        return Answer(**unpack(packet))

    def _cancel(self) -> None:
        """If no answer came: tells the keeper to stop the job, and waits until it has cleaned up."""
        if self._heard is not None:
            return
        self._theirs.close()
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)
            self._ours.settimeout(watch.KILL_PATIENCE + 1)
            while self._ours.recv(_CHUNK):
                pass


def drain(descriptor: int, tail: Tail, chunks: int) -> bool:
    """Reads at most `chunks` chunks, because an escaped process could write forever; False at the end of the pipe."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(chunks):
            chunk = os.read(descriptor, _CHUNK)
            tail.feed(chunk)
            if not chunk:
                return False
    return True


def _ended(answer: Answer, conversation: _Conversation) -> Ended:
    """The job's end, from the keeper's answer and the process's output; raises as run_confined."""
    if answer.survivor:
        raise SandboxError(answer.failure, watch.STUCK_REMEDY, code="E-SANDBOX-STUCK")
    if answer.failure:
        raise MachineryError(answer.failure)
    breach = Breach(*answer.breach) if answer.breach else None
    if not answer.began:
        said = conversation.output.get().decode(errors="replace").strip()
        if answer.status == EXIT_LAYER and breach is None:
            raise LayerMissing(said, "`localgif sandbox check` shows what this machine offers.")
        detail = breach.reason if breach else f"status {answer.status}"
        raise MachineryError(f"a confined process ended before its job began: {detail}. It said: {said or '-'}")
    used = (answer.wall_seconds, answer.cpu_seconds, answer.peak_rss)
    return Ended(answer.status, breach, conversation.output.get(), conversation.answer.get(), *used)


# --- the keeper of this process ----------------------------------------------------------------------------------

_lock = threading.Lock()
_running: Running | None = None


def pid() -> int | None:
    """The keeper's process; None if there is none."""
    return _running.process.pid if _running is not None else None


def stop() -> None:
    """Ends the keeper; the next job starts another."""
    _discard(_running)


# Without this, the interpreter reports a process that was never waited for.
atexit.register(stop)


def missing() -> str:
    """Why this system cannot have a keeper; empty if it can."""
    try:
        os.close(os.memfd_create("missing"))
        for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET):
            end.close()
    except (AttributeError, OSError) as error:
        if isinstance(error, AttributeError) or error.errno in _NOT_HERE:
            return f"needs Linux: {error}"
    return ""


def current() -> Running:
    """The running keeper, started if necessary; raises as Running."""
    global _running
    with _lock:
        if _running is not None and _running.owner != os.getpid():
            _running = None  # this process is a fork of the app that owns it
        if _running is None:
            _running = Running()
        return _running


def _discard(keeper: Running | None) -> str:
    """Ends a keeper, unless another thread did; returns the end of its output."""
    global _running
    with _lock:
        if keeper is None or keeper is not _running or keeper.owner != os.getpid():
            return ""
        _running = None
        return keeper.stop()


class Running:
    """A keeper process; a MachineryError if it cannot be started."""

    def __init__(self) -> None:
        restore_signals()
        self.owner = os.getpid()
        self._mark = f"{watch.KEEPER}={watch.owner()}-{secrets.token_hex(8)}"
        try:
            self._words = io.FileIO(os.memfd_create("keeper"), "r+")
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise MachineryError(f"cannot open descriptors for a keeper: {error}") from error
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-B", "-c", BOOT, HERE],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                env=clean_environment(self._mark),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            self._close()
            raise MachineryError(f"{sys.executable} cannot be started: {error}") from error
        finally:
            theirs.close()

    def hand_over(self, descriptors: list[int]) -> None:
        """Gives the keeper a job; a MachineryError if the keeper is dead."""
        try:
            socket.send_fds(self._control, [HAND_OVER], descriptors)
        except OSError as error:
            raise MachineryError(f"the keeper accepts no job: {error}") from error

    def stop(self) -> str:
        """Ends the keeper and its jobs, by force if necessary; returns the end of its output."""
        self._control.close()
        try:
            self.process.wait(watch.KILL_PATIENCE + 1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.returncode:
            # Its forks die with it, but the processes that they started may not.
            watch.kill_marked(self._mark)
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _LAST_WORDS))
        words = self._words.read().decode(errors="replace").strip()
        self._close()
        return words

    def _close(self) -> None:
        self._control.close()
        self._words.close()


def clean_environment(mark: str) -> dict[str, str]:
    """The keeper's whole environment: no keys, no proxies, nothing that changes what a program draws."""
    name, _, value = mark.partition("=")
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    fixed = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    return {**fixed, name: value, **dict.fromkeys(threads, "1")}
