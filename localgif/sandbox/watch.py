"""The scratch directory of a job, and the psutil watch over its process tree."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from localgif.errors import SandboxError
from localgif.sandbox.protocol import Breach

if TYPE_CHECKING:
    from localgif.records import Limits

#: Seconds after SIGKILL until a process that survives it counts as our own failure.
KILL_PATIENCE = 5.0

STUCK_REMEDY = "Check them with `ps`. A process that waits for a broken disk ends only when the machine restarts."

#: Names the keeper in its environment, which every program inherits: KEEPER=<owner>-<random>.
KEEPER = "LOCALGIF_KEEPER"

#: sweep() keeps younger directories of another boot or pid namespace (a container that shares /tmp), seconds.
FOREIGN_AGE = 24 * 3600.0

#: A program may write this many times the bytes that its directory may hold. A deleted file that is still open takes
#: space that shows nowhere else.
_WRITE_FACTOR = 2

#: Between two sweeps of the kill loop while a process is left, seconds.
_SWEEP_PAUSE = 0.0005

_PREFIX = "localgif-"
_NAME = re.compile(rf"{_PREFIX}(?P<pid>\d+)-(?P<home>[0-9a-f]+-\d+)-(?P<start>\d+)-\w+")

_PROC = Path("/proc")

# --- processes ---------------------------------------------------------------------------------------------------


class Usage(NamedTuple):
    """What a tree of processes uses at one moment; zombies count for nothing."""

    processes: int
    threads: int
    rss: int
    """Bytes, with page tables and swapped pages; pages that processes share count once for each."""
    cpu_seconds: float
    """Of the living processes and of the dead children that they waited for."""
    written: int = 0
    """Bytes that the living processes gave to write(): files, deleted ones too, and printed output."""


class Tree:
    """One confined process and everything that came from it. `root` is its pid, session and process group; it is not
    reaped yet, so the pid is not reused."""

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
                rss += process.memory_info().rss + _hidden_memory(process.pid)
                processes += 1
                written += _written(process)
        self.peak_rss = max(self.peak_rss, rss)
        self.peak_cpu = max(self.peak_cpu, cpu)
        return Usage(processes, threads, rss, cpu, written)

    def written(self) -> int:
        """Bytes that the root gave to write() in its whole life; known until it is reaped, dead or alive."""
        with contextlib.suppress(psutil.Error, KeyError):
            return _written(self._seen[self._root])
        return 0

    def has_ended(self) -> bool:
        """Whether the root is a zombie, or gone."""
        return not self._is_alive(self._root)

    def kill_root(self) -> None:
        """Ends the root, and nothing else."""
        with contextlib.suppress(psutil.Error, KeyError):
            self._seen[self._root].kill()

    def adopt(self, pids: list[int]) -> None:
        """Adds processes and their descendants to this tree."""
        for pid in pids:
            known = self._seen.get(pid)
            if pid == os.getpid() or (known is not None and known.is_running()):
                continue
            with contextlib.suppress(psutil.Error):
                self._seen[pid] = psutil.Process(pid)

    def has_seen(self, pid: int) -> bool:
        """Whether a process is or was part of the tree."""
        known = self._seen.get(pid)
        return known is not None and known.is_running()

    def kill(self, strays: Callable[[], list[int]]) -> None:
        """Ends every process of the tree and every stray (an orphan that the keeper adopted and that belongs to no
        tree); returns when two sweeps in a row found none.

        Raises:
            SandboxError: A process survived SIGKILL for KILL_PATIENCE seconds.
        """
        give_up = time.monotonic() + KILL_PATIENCE
        empty_sweeps = 0
        while empty_sweeps < 2:
            if self.has_seen(self._root):  # otherwise another process may have its pid by now
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
                message = f"processes of a program are alive {KILL_PATIENCE:g} s after SIGKILL: {pids}"
                raise SandboxError(message, STUCK_REMEDY, code="E-SANDBOX-STUCK")
            if living:
                time.sleep(_SWEEP_PAUSE)

    def _living(self) -> Iterator[psutil.Process]:
        """Every process of the tree that is alive and not a zombie; looks up the children of all it has seen first."""
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
            # is_running compares the start time: if a stranger got the pid, we must not kill it.
            return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def _written(process: psutil.Process) -> int:
    """Bytes that a process gave to write(); 0 on a system that does not count them."""
    counters = getattr(process, "io_counters", None)
    return int(counters().write_chars) if counters is not None else 0


def _hidden_memory(pid: int) -> int:
    """Bytes of a process's page tables and swapped pages, which are not in its resident memory; 0 if it is gone."""
    with contextlib.suppress(OSError, ValueError):
        lines = (_PROC / str(pid) / "status").read_text(errors="replace").splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmPTE:", "VmSwap:")))
    return 0


def children(pid: int) -> list[int]:
    """Direct children. From the kernel's own list where it has one (20 times cheaper than reading every process)."""
    with contextlib.suppress(OSError, ValueError):
        tasks = [task / "children" for task in (_PROC / str(pid) / "task").iterdir()]
        return [int(child) for task in tasks for child in task.read_text().split()]
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def relatives(root: int, mark: str) -> list[int]:
    """Living processes of the session or the group of `root`, itself excluded, and those that started with `mark` in
    their environment: all that can be found where no process adopts orphans."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            pid = process.pid
            if pid in (root, os.getpid()) or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if root in (os.getsid(pid), os.getpgid(pid)) or _is_marked(process, mark):
                found.append(pid)
    return found


def _is_marked(process: psutil.Process, mark: str) -> bool:
    name, _, value = mark.partition("=")
    return process.environ().get(name, "").startswith(value)


def kill_marked(mark: str) -> None:
    """Kills what a dead keeper or warden left: every other process that started with an environment in which the
    variable of `mark` begins with its value.

    Best effort: it stops when a look finds none, or after KILL_PATIENCE seconds. Zombies have no environment.
    """
    give_up, found = time.monotonic() + KILL_PATIENCE, True
    while found and time.monotonic() < give_up:
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if process.pid != os.getpid() and _is_marked(process, mark):
                    found = True
                    process.kill()
        if found:
            time.sleep(_SWEEP_PAUSE)


# --- limits ------------------------------------------------------------------------------------------------------


def breach(usage: Usage, limits: Limits) -> Breach | None:
    """The first limit that `usage` exceeds."""
    # Processes before memory, because the pages that forks share count once for each of them.
    if usage.processes > limits.processes:
        return Breach("process_limit", f"ran more than {limits.processes} processes at once, which is the limit")
    if usage.threads > limits.threads:
        return Breach("process_limit", f"ran more than {limits.threads} threads at once, which is the limit")
    if usage.rss > limits.rss:
        return Breach("memory_limit", f"used more than {megabytes(limits.rss)} of memory, which is the limit")
    if usage.cpu_seconds > limits.cpu_seconds:
        return cpu_breach(limits)
    return write_breach(usage.written, limits)


def write_breach(written: int, limits: Limits) -> Breach | None:
    """The breach if the program gave too many bytes to write()."""
    if written <= _WRITE_FACTOR * limits.scratch_bytes:
        return None
    most = megabytes(_WRITE_FACTOR * limits.scratch_bytes)
    return Breach("disk_limit", f"wrote more than {most} to files and standard output")


def wall_breach(limits: Limits) -> Breach:
    """The breach of a program that ran too long."""
    return Breach("wall_limit", f"ran for more than {limits.wall_seconds:g} s, which is the limit")


def cpu_breach(limits: Limits) -> Breach:
    """The breach of a program that used too much CPU time. As in every breach, the words are the same on each run,
    because a reflector reads them."""
    return Breach("cpu_limit", f"used more than {limits.cpu_seconds:g} s of CPU, which is the limit")


def megabytes(size: int) -> str:
    """A size in bytes as text, in whole MB."""
    return f"{size / 2**20:.0f} MB"


def scratch_breach(directory: Path, limits: Limits) -> Breach | None:
    """The breach if the directory holds too much. Counting stops at the limit, so its cost is bounded."""
    entries = size = 0
    queue = [directory]
    while queue:
        folder = queue.pop()
        try:
            for path, info in _entries(folder):
                entries += 1
                size += info.st_size if stat.S_ISREG(info.st_mode) else 0
                if entries > limits.scratch_entries:
                    return Breach("disk_limit", f"made more than {limits.scratch_entries} files and folders")
                if size > limits.scratch_bytes:
                    return Breach("disk_limit", f"wrote more than {megabytes(limits.scratch_bytes)} of files")
                if stat.S_ISDIR(info.st_mode):
                    queue.append(path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # the program is changing it; the next look will count it
        except OSError:  # because of its mode, or a path longer than the kernel takes, its entries cannot be counted
            return Breach("disk_limit", "made a folder that cannot be looked into")
    return None


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The entries of a folder, without following links and without entries that vanish meanwhile."""
    with os.scandir(folder) as found:
        for entry in found:
            with contextlib.suppress(FileNotFoundError):
                yield Path(entry.path), entry.stat(follow_symlinks=False)


# --- the directory -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def job_directory() -> Iterator[Path]:
    """A fresh directory of mode 700, gone afterwards.

    Raises:
        SandboxError: It cannot be made or removed (disk full, read-only).
    """
    try:
        directory = Path(tempfile.mkdtemp(prefix=f"{owner()}-"))
    except OSError as error:
        raise SandboxError(
            f"cannot make a temporary directory: {error}", "Free some space, or set TMPDIR to a writable directory."
        ) from error
    try:
        yield directory
    finally:
        _remove(directory)


def owner() -> str:
    """Identifies this app among all that ever ran: the first part of its directories' names."""
    return f"{_PREFIX}{os.getpid()}-{_home()}-{_start(os.getpid())}"


def sweep() -> list[Path]:
    """Removes the directories of apps that died, and kills what they left running; returns the removed directories."""
    removed = []
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, SandboxError):
            if _is_stale(directory):
                kill_marked(f"{KEEPER}={directory.name.rpartition('-')[0]}-")
                _remove(directory)
                removed.append(directory)
    return removed


def _is_stale(directory: Path) -> bool:
    match = _NAME.fullmatch(directory.name)
    info = directory.lstat()
    if not match or not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        return False
    if match["home"] != _home():
        return time.time() - info.st_mtime > FOREIGN_AGE
    return _start(int(match["pid"])) != match["start"]


def _home() -> str:
    """The scope in which our pids are unique: this boot and, if the system has them, this pid namespace."""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().split("-", 1)[0]
        return f"{boot}-{(_PROC / 'self/ns/pid').stat().st_ino}"
    return f"{int(psutil.boot_time()):x}-0"


def _start(pid: int) -> str:
    """When the process started, as digits; with the pid they identify it. Empty if it does not exist."""
    with contextlib.suppress(OSError):
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
        return text.rpartition(")")[2].split()[19]
    with contextlib.suppress(psutil.Error):
        return str(round(psutil.Process(pid).create_time() * 1000))
    return ""


def _remove(directory: Path) -> None:
    """Removes a directory whatever a program left in it: any modes, any depth, and links, which it does not follow."""
    try:
        folder = _opened(directory)
        if folder is None:  # the program moved it away, or put something else there
            directory.unlink(missing_ok=True)
            return
        try:
            os.fchmod(folder, 0o700)
            _empty(folder)
        finally:
            os.close(folder)
        directory.rmdir()
    except OSError as error:
        raise SandboxError(f"{directory} cannot be removed: {error}", "Remove it by hand.") from error


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _opened(directory: Path) -> int | None:
    """A descriptor of the directory, whatever its mode; None if it does not exist."""
    try:
        try:
            return os.open(directory, _FOLDER)
        except PermissionError:
            directory.chmod(0o700)
            return os.open(directory, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _empty(folder: int) -> None:
    """Empties a folder by moving the entries of its subfolders up, so depth costs neither stack nor path length."""
    while names := os.listdir(folder):
        for name in names:
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
                continue
            os.chmod(name, 0o700, dir_fd=folder)
            inner = os.open(name, _FOLDER, dir_fd=folder)
            try:
                with os.scandir(inner) as found:
                    entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
                for entry, is_folder in entries:
                    if is_folder:  # moving a folder needs the right to write in it
                        os.chmod(entry, 0o700, dir_fd=inner)
                    os.rename(entry, secrets.token_hex(8), src_dir_fd=inner, dst_dir_fd=folder)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=folder)
