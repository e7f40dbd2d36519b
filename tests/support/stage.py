"""The stage for programs of the corpus: everything that they might reach, and how to see whether they did.

All of it belongs to the test: a home with a canary and a secret, listeners, a process to harm, a terminal, a folder
that is not the program's. The names of its marks are the ones of corpus.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

#: The app's secret in the environment of the driver; it ends in the token.
KEY = "SECRET_API_KEY"
#: Between two looks at something that the kernel does a moment later, and the longest wait, seconds.
_PAUSE, _PATIENCE = 0.005, 10.0

_libc = ctypes.CDLL(None, use_errno=True)


class Stage:
    """Things to attack. `close` removes them all."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="stage-"))
        self.base.chmod(0o700)
        self.jobs, self.home, self.outside = (self.base / name for name in ("jobs", "home", "outside"))
        self.token = os.environ[KEY].split()[-1]
        self.name = f"localgif-test-{secrets.token_hex(8)}"
        self.key = secrets.randbelow(2**30) + 1
        self._other_job = self.jobs / "another-job"
        self._other_job.mkdir(parents=True)
        self._secret = f"{self.token}\n".ljust(64, ".")
        (self._other_job / "secret.txt").write_text(self._secret)
        self._terminal = os.openpty()
        self._open()

    def _open(self) -> None:
        """Sets up what a program can spoil."""
        for folder in (self.home, self.outside):
            folder.mkdir()
        self.canary = self.home / "canary.txt"
        self.canary.write_text("do not touch")
        (self.home / "secret.txt").write_text(self._secret)
        (self.home / "link").symlink_to("canary.txt")
        self._tcp, self._udp, self._unix, self._abstract = _listeners(self.home / "server", self.name)
        null = subprocess.DEVNULL
        self.victim = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdin=null, stdout=null, stderr=null)
        self._canary_before, self._victim_before = self._canary(), self._victim()

    def _shut(self) -> None:
        self.victim.kill()
        self.victim.wait()
        for listener in (self._tcp, self._udp, self._unix, self._abstract):
            listener.close()
        for folder in (self.home, self.outside):
            with contextlib.suppress(OSError):
                folder.chmod(0o700)
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        self._shut()
        for terminal in self._terminal:
            os.close(terminal)
        shutil.rmtree(self.base)

    def places(self) -> dict[str, str]:
        """The values for @NAME@ in a program."""
        return {
            "CANARY": str(self.canary),
            "SECRET": str(self.home / "secret.txt"),
            "HOME": str(self.home),
            "OUTSIDE": str(self.outside),
            "JOBS": str(self.jobs),
            "ROOT": str(Path(__file__).parent.parent.parent),
            "TCP": str(self._tcp.getsockname()[1]),
            "UDP": str(self._udp.getsockname()[1]),
            "VICTIM": str(self.victim.pid),
            "TTY": os.ttyname(self._terminal[1]),
            "NAME": self.name,
            "KEY": str(self.key),
            "REVERSED": self.token[::-1],
        }

    # --- what was hit ---

    def marks(self, told: bytes, expected: set[str]) -> set[str]:
        """What a program got at, from its output `told` and from the stage; waits a moment for `expected`."""
        found = {"secret"} if self.token.encode() in told else set()
        give_up = time.monotonic() + _PATIENCE
        while True:
            found |= self._look()
            if expected <= found or time.monotonic() > give_up:
                break
            time.sleep(_PAUSE)
        if found:
            self._shut()
            self._open()
        return found

    def _look(self) -> set[str]:
        looks = {
            "canary": self._canary() != self._canary_before,
            "tcp": _heard(self._tcp),
            "udp": _heard(self._udp),
            "unix": _heard(self._unix) or _heard(self._abstract),
            "victim": self._victim() != self._victim_before,
            "files": bool(list(self.outside.iterdir())) or set(self.jobs.iterdir()) != {self._other_job},
            "shm": _removed(Path("/dev/shm") / self.name),
            "segment": _segment_removed(self.key),
            "queue": _libc.mq_unlink(f"/{self.name}".encode()) == 0,
        }
        for stray in set(self.jobs.iterdir()) - {self._other_job}:
            shutil.rmtree(stray, ignore_errors=True)
        return {name for name, hit in looks.items() if hit}

    def _canary(self) -> tuple[object, ...]:
        try:
            info = self.canary.stat()
            names = tuple(sorted(entry.name for entry in self.home.iterdir()))
            attributes = tuple(os.listxattr(self.canary))
            return names, attributes, info.st_mode, info.st_mtime_ns, info.st_size, info.st_nlink, self._content()
        except OSError as error:
            return (error.errno,)

    def _content(self) -> bytes:
        with contextlib.suppress(PermissionError):
            return self.canary.read_bytes()
        return b""

    def _victim(self) -> tuple[object, ...]:
        """Everything that another process can change about a process; () if it is dead."""
        pid = self.victim.pid
        if self.victim.poll() is not None:
            return ()
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            # A process that runs or sleeps is unharmed; a stopped or traced one is not.
            halted = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
            traced = "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
            limits = [resource.prlimit(pid, number) for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)]
            policy = os.sched_getscheduler(pid)
            return halted, traced, process.nice(), process.ionice(), process.cpu_affinity(), limits, policy
        return ()


def _listeners(path: Path, name: str) -> tuple[socket.socket, ...]:
    """TCP and UDP on loopback, Unix by path and by abstract name; none of them blocks."""
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    by_path, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)  # the address of a Unix socket is short
    by_path.bind(path.name)
    os.chdir(here)
    abstract.bind(f"\0{name}")
    for listener in (by_path, abstract):
        listener.listen()
    for listener in (tcp, udp, by_path, abstract):
        listener.setblocking(False)
    return tcp, udp, by_path, abstract


def _heard(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(100)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _removed(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        return True
    return False


def _segment_removed(key: int) -> bool:
    """Whether a shared memory segment with that key existed; removes it."""
    number = _libc.shmget(key, 0, 0)
    return bool(number >= 0 and _libc.shmctl(number, 0, None) == 0)


def become_subreaper() -> None:
    """Adopt every process that a program leaves behind, however it tried to escape."""
    if _libc.prctl(36, 2, 0, 0, 0):  # any number but 0; masked.py refuses 1, which is localgif's
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def left_running(known: Callable[[], set[int]]) -> list[str]:
    """Kill and name the unknown living processes below this one; calls `known` after each look.

    It looks twice, because a process whose parent ends during a look has no place in the tree at that moment.
    """
    found: dict[int, str] = {}
    for _ in range(2):
        below = psutil.Process().children(recursive=True)
        ours = known()
        for process in below:
            with contextlib.suppress(psutil.Error):
                if process.pid not in ours and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = f"{process.pid} {' '.join(process.cmdline())[:100]}"
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(found.values())
