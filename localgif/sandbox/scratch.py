"""The directory in which one program runs: made, counted, emptied whatever is in it, swept after a crash of the app.

The name says whose it is, localgif-<pid>-<boot>-<pid namespace>-<start>-<random>: what is inside the directory is the
program's to change, its name is what a later start can go by.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from localgif.errors import SandboxError
from localgif.sandbox.job import Breach
from localgif.sandbox.watch import kill_marked, megabytes

if TYPE_CHECKING:  # the keeper loads this, and stays small
    from localgif.records import Limits

PREFIX = "localgif-"
#: Names, in the environment of a keeper and so of every program's process, whose keeper it is: KEEPER=<owner>-<random>.
KEEPER = "LOCALGIF_KEEPER"
#: A directory of another boot or of another pid namespace (a container that shares /tmp) is left alone this long, s.
FOREIGN_AGE = 24 * 3600.0

_NAME = re.compile(rf"{PREFIX}(?P<pid>\d+)-(?P<home>[0-9a-f]+-\d+)-(?P<start>\d+)-\w+")


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
            f"no temporary directory can be made: {error}", "Free some space, or set TMPDIR to a writable directory."
        ) from error
    try:
        yield directory
    finally:
        remove(directory)


def owner() -> str:
    """What names this app among all that ever ran: the first part of its directories' names."""
    return f"{PREFIX}{os.getpid()}-{_home()}-{_start(os.getpid())}"


def breach(directory: Path, limits: Limits) -> Breach | None:
    """Whether the directory holds more than it may. Stops counting there, so that it costs the same for any number."""
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
            continue  # it changes under our eyes; the next look will tell
        except OSError:  # its mode, or a path longer than the kernel takes: what is in it cannot be counted
            return Breach("disk_limit", "made a folder that cannot be looked into")
    return None


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What is in a folder, without following links; what is gone before it is looked at is left out."""
    with os.scandir(folder) as found:
        for entry in found:
            with contextlib.suppress(FileNotFoundError):
                yield Path(entry.path), entry.stat(follow_symlinks=False)


def remove(directory: Path) -> None:
    """Removes a directory whatever a program left in it: no mode, no depth, no link stops it or leads it astray.

    Raises:
        SandboxError: Something in it cannot be removed.
    """
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


def _opened(directory: Path) -> int | None:
    """A descriptor of it whatever its mode; None when there is no such directory."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            return os.open(directory, flags)
        except PermissionError:
            directory.chmod(0o700)
            return os.open(directory, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _empty(folder: int) -> None:
    """Flattens level by level: what is in folders is moved up here. Depth costs neither stack nor path length."""
    while names := os.listdir(folder):
        for name in names:
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
                continue
            os.chmod(name, 0o700, dir_fd=folder)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                with os.scandir(inner) as found:
                    children = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
                for child, is_folder in children:
                    if is_folder:  # only who may write in a folder may move it
                        os.chmod(child, 0o700, dir_fd=inner)
                    os.rename(child, secrets.token_hex(8), src_dir_fd=inner, dst_dir_fd=folder)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=folder)


def sweep() -> list[Path]:
    """Removes the directories of apps that died, and kills what they left running; returns what was removed."""
    removed = []
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, SandboxError):
            if _is_stale(directory):
                kill_marked(f"{KEEPER}={directory.name.rpartition('-')[0]}-")
                remove(directory)
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
    """Where pids of ours are unique: this boot and this pid namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().split("-", 1)[0]
    return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"


def _start(pid: int) -> str:
    """When the process started, in clock ticks after boot; empty when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
