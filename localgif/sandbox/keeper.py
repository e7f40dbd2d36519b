"""Starts the keeper when it is needed, and ends it. One per app, shared by all threads.

When it dies, the jobs that it had fail, and the next one starts another.
"""

from __future__ import annotations

import atexit
import io
import os
import secrets
import socket
import subprocess
import sys
import threading
from pathlib import Path

import localgif
from localgif.errors import SandboxTooWeak
from localgif.sandbox import scratch, watch
from localgif.sandbox.job import HAND_OVER, MachineryError

# -s: no user site; -P: the working directory is no place to import from; -B: nothing is written beside our modules.
# Not -I: it would ignore PYTHONHASHSEED, and the order of sets would change from run to run. -c and not -m, since our
# own place need not be on the path of a clean environment.
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop()); from localgif.sandbox.server import main; main()"
_HERE = str(Path(localgif.__file__).parent.parent)

#: How much of what a dying keeper wrote is told, bytes.
_LAST_WORDS = 4096


class Running:
    """A keeper process.

    Raises:
        MachineryError: It cannot be started.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._mark = f"{scratch.KEEPER}={scratch.owner()}-{secrets.token_hex(8)}"
        try:
            self._words = io.FileIO(os.memfd_create("keeper"), "r+")
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise MachineryError(f"no descriptors for a keeper: {error}") from error
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-B", "-c", _BOOT, _HERE],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                env=_clean_environment(self._mark),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            self._close()
            raise MachineryError(f"{sys.executable} cannot be started: {error}") from error
        finally:
            theirs.close()

    def hand_over(self, descriptors: list[int]) -> None:
        """Gives the keeper a job.

        Raises:
            MachineryError: It is dead.
        """
        try:
            socket.send_fds(self._control, [HAND_OVER], descriptors)
        except OSError as error:
            raise MachineryError(f"the keeper takes no job: {error}") from error

    def stop(self) -> str:
        """Ends it with everything that came from it, by force if need be; returns what it said last."""
        self._control.close()
        try:
            self.process.wait(watch.KILL_PATIENCE + 1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.returncode:
            # Its forks die with it, but not what they may have started.
            watch.kill_marked(self._mark)
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _LAST_WORDS))
        words = self._words.read().decode(errors="replace").strip()
        self._close()
        return words

    def _close(self) -> None:
        self._control.close()
        self._words.close()


_lock = threading.Lock()
_swept = False
_running: Running | None = None


def pid() -> int | None:
    """The keeper's process, if there is one."""
    return _running.process.pid if _running is not None else None


def stop() -> None:
    """Ends the keeper; the next job starts another."""
    discard(_running)


def check_system() -> None:
    """Once per process, clears up after apps that were killed.

    Raises:
        SandboxTooWeak: Programs cannot be confined on this system at all.
    """
    global _swept
    if sys.platform != "linux":
        remedy = "Use a Linux machine, container or VM."
        raise SandboxTooWeak(f"the sandbox needs Linux, this is {sys.platform}", remedy)
    with _lock:
        if not _swept:
            _swept = True
            scratch.sweep()


def current() -> Running:
    """The keeper, started if there is none.

    Raises:
        MachineryError: It cannot be started.
    """
    global _running
    with _lock:
        if _running is not None and _running.owner != os.getpid():
            _running = None  # we are a fork of the app it belongs to
        if _running is None:
            _running = Running()
        return _running


def discard(keeper: Running | None) -> str:
    """Ends a keeper, unless another thread did; returns what it said last."""
    global _running
    with _lock:
        if keeper is None or keeper is not _running or keeper.owner != os.getpid():
            return ""
        _running = None
        return keeper.stop()


# Not by the interpreter's own clean-up: that would report a process that nobody waited for.
atexit.register(stop)


def _clean_environment(mark: str) -> dict[str, str]:
    """All that the keeper gets of the environment: no keys, no proxies, nothing that changes what a program draws."""
    name, _, value = mark.partition("=")
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        name: value,
        **dict.fromkeys(threads, "1"),
    }
