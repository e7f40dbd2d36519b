"""File operations: bounded reads, atomic replacement, content hashes as names, sha256, locks."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import logging
import os
import re
import secrets
import socket
import stat
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localgif.errors import ConfigError, RunCorrupt, RunError, RunLocked

#: Hex digits of a content hash in file names: 64 bits, so the files of a run do not collide.
HASH_DIGITS = 16

#: Kind of stored content -> file name extension.
SUFFIXES = {"candidates": "md", "code": "py", "gifs": "gif", "sheets": "png"}
_LOCK = ".lock"
#: Largest file of notes that is read, bytes.
_MOST_NOTES = 16 * 2**20


def now() -> str:
    """The time in UTC, ISO 8601 to the second. For people; durations come from the monotonic clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def content_hash(data: str | bytes) -> str:
    """The hash that names a stored text or stored bytes."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return hashlib.sha256(raw).hexdigest()[:HASH_DIGITS]


def text_of(data: bytes) -> str:
    """Stored bytes as text. Invalid bytes, which localgif never writes, become U+FFFD."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def content_name(kind: str, name: str) -> str:
    """The path of a stored content inside its run folder, e.g. `gifs/0123456789abcdef.gif`.

    Raises:
        RunCorrupt: The name is not a hash, so it could point to another file.
    """
    if not re.fullmatch(f"[0-9a-f]{{{HASH_DIGITS}}}", name):
        raise RunCorrupt(f"{name[:80]!r} is not the name of a stored file in {kind}")
    return f"{kind}/{name}.{SUFFIXES[kind]}"


def is_name(text: str) -> bool:
    """Whether a text is a valid name for a run folder."""
    return bool(re.fullmatch(r"[^-./\0][^/\0]{0,119}", text)) and is_text(text) and len(text.encode()) < 200


def is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8, unlike a path whose bytes are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_input(path: Path, most: int, what: str, code: str = "E-FILE") -> bytes:
    """The bytes of a file that the user named. The remedy asks for `what`, such as "a task file".

    Raises:
        ConfigError: It is missing, unreadable, not a regular file, or larger than `most` bytes.
    """
    try:
        return read_bounded(path, most)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}", f"name {what}", code=code) from None


def read_input_text(path: Path, most: int, what: str, code: str = "E-FILE") -> str:
    """The text of a file that the user named. Raises ConfigError as read_input does, and if it is not UTF-8."""
    try:
        return read_input(path, most, what, code).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8", code=code) from None


#: One part of a dotted TOML key, with its dot.
_KEY_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
#: tomllib takes quadratic time for dotted keys, and a stack frame for each level of nesting.
_DEEPEST = 32
_DEEP_KEY = re.compile(rf"(?<![\w-])(?:{_KEY_PART}){{{_DEEPEST}}}")


def parse_toml(text: str, place: str, code: str) -> dict[str, Any]:
    """The content of a TOML text; `place` names its file in messages.

    Raises:
        ConfigError: It is not TOML (the message names the line if possible), or it is nested too deeply.
    """
    too_deep = ConfigError(
        f"{place} is nested too deeply", f"use at most {_DEEPEST} levels of brackets or dots", code=code
    )
    if _DEEP_KEY.search(text):
        raise too_deep
    try:
        parsed = tomllib.loads(text)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise ConfigError(f"{place} is not valid TOML: {error}", "correct that line", code=code) from None
    level: list[Any] = [parsed]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    if level:
        raise too_deep
    return parsed


# --- files of a folder that somebody else may have made ------------------------------------------------------------


@contextmanager
def _holder(folder: Path, name: str) -> Iterator[tuple[int, str]]:
    """Open the parent of `name`, a path inside `folder`, and yield its descriptor with the last part of the name.
    Follows no link below `folder`. Raises OSError."""
    *folders, last = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in (*folders, last)):
        raise OSError(errno.EINVAL, "not a name inside the folder", name)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    handle = os.open(folder, flags)
    try:
        for part in folders:
            inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        yield handle, last
    finally:
        os.close(handle)


def open_inside(folder: Path, name: str, flags: int) -> int:
    """Open the regular file `name` inside a folder, following no link below the folder; returns its descriptor.

    Raises:
        OSError: It is missing, or is a link, a pipe or a device; for writing also if it has further hard links.
    """
    with _holder(folder, name) as (where, last):
        try:
            # Without O_NONBLOCK, opening a pipe waits for its other end.
            handle = os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=where)
        except OSError as error:
            raise OSError(error.errno, "a link" if error.errno == errno.ELOOP else error.strerror, name) from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or (flags & os.O_ACCMODE != os.O_RDONLY and found.st_nlink > 1):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file of this folder alone", name)
    return handle


def read_inside(folder: Path, name: str, most: int) -> bytes:
    """The content of a file inside a folder. Raises OSError as open_inside and read_bounded do."""
    return _read(open_inside(folder, name, os.O_RDONLY), most)


def replace_inside(folder: Path, name: str, data: bytes) -> None:
    """Write a file inside a folder atomically: after a crash or an OSError it has the old content or the new one. Keeps
    the old permissions; replaces a link of that name instead of following it."""
    inner = name.rpartition("/")[0]
    if inner:
        with _holder(folder, inner) as (where, last), suppress(FileExistsError):
            os.mkdir(last, dir_fd=where)
    with _holder(folder, name) as (where, last):
        temporary = f".{last}.{secrets.token_hex(8)}.tmp"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=where)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                _sync(handle)
                with suppress(OSError):  # no such file yet, or a file system without permissions
                    old = os.stat(last, dir_fd=where, follow_symlinks=False).st_mode
                    if stat.S_ISREG(old):
                        os.fchmod(handle, stat.S_IMODE(old))
            os.replace(temporary, last, src_dir_fd=where, dst_dir_fd=where)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=where)
            raise
        _sync(where)


def remove_inside(folder: Path, name: str) -> None:
    """Remove a file, or a link, inside a folder. Raises OSError."""
    with _holder(folder, name) as (where, last):
        os.unlink(last, dir_fd=where)


def odd_entry(folder: Path) -> Path | None:
    """An entry inside a folder that is neither a regular file nor a folder, such as a link; None if all are."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
                return path
    return None


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that the user named, atomically as replace_inside does; a symbolic link stays a link."""
    real = behind_links(path)
    replace_inside(real.parent, real.name, data)


def append(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Append bytes; if that fails (OSError), the file stays as it was. Without `durable` the bytes survive a crash of
    localgif, but not of the machine.
    """
    # Without a buffer: after a write that failed half-way, closing a buffered file would write the rest.
    handle = open_inside(path.parent, path.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with os.fdopen(handle, "ab", buffering=0) as file:
        end, left = file.seek(0, os.SEEK_END), memoryview(data)
        try:
            while left:
                left = left[file.write(left) :]
            if durable:
                _sync(file.fileno())
        except OSError:
            os.truncate(file.fileno(), end)
            raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> None:
    """Call fsync; some file systems do not support it for folders, which is ignored."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES):
            raise


def is_file(path: Path) -> bool:
    """Whether a path is a regular file, as far as this process can see; False for an impossible name."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def exists(path: Path) -> bool:
    """Whether a path exists, as far as this process can see; False for an impossible name."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def behind_links(path: Path) -> Path:
    """The path with all links resolved. Raises OSError for a loop of links (Python before 3.13 raises RuntimeError)."""
    try:
        return path.resolve()
    except RuntimeError:
        raise OSError(errno.ELOOP, "links that lead to each other", str(path)) from None


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises:
        OSError: It cannot be read, is larger (EFBIG; `strerror` names the limit), or is not a regular file.
    """
    return _read(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), most)


def _read(handle: int, most: int) -> bytes:
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"larger than {most // 1024} KiB")
        return file.read(found.st_size)


def sizes_below(folder: Path) -> Iterator[int]:
    """The sizes of all files below a folder, in bytes. Others may remove some meanwhile: Path.rglob would fail then."""
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield Path(place, name).lstat().st_size


def sha256_of(path: Path) -> str:
    """The sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_notes(path: Path, name: str) -> dict[str, Any]:
    """The entries that `write_notes` stored; {} if the file is missing or damaged."""
    try:
        stored = json.loads(read_bounded(path, _MOST_NOTES))
    except (OSError, ValueError, RecursionError):
        return {}
    entries = stored.get(name) if isinstance(stored, dict) and stored.get("version") == 1 else None
    return entries if isinstance(entries, dict) else {}


def write_notes(path: Path, name: str, entries: dict[str, Any]) -> None:
    """Cache entries that can be computed again. Disk errors are ignored."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps({"version": 1, name: entries}, indent=1).encode())


def take_lock(folder: Path) -> int:
    """Lock a run folder for writing; close the returned descriptor to release the lock.

    Raises:
        RunLocked: Another process holds the lock; the message names it.
        RunError: The folder is not writable.
    """
    try:
        handle = open_inside(folder, _LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise RunError(f"{folder}/{_LOCK} cannot be opened: {error.strerror}", "check its permissions") from None
    if not _claimed(handle):
        holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip()
        os.close(handle)
        raise RunLocked(
            f"{folder} is being written by {holder or 'another process'}", "Wait for that process, or stop it."
        )
    with suppress(OSError):  # the disk may be full; this text only names the holder
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"pid {os.getpid()} on {socket.gethostname()}, since {now()}\n".encode(), 0)
    return handle


def check_free(folder: Path) -> None:
    """Check that no other process is writing to a run folder; raises as `take_lock` does."""
    os.close(take_lock(folder))


def is_locked(folder: Path) -> bool:
    """Whether a process is writing to a run folder. Read access to the folder is enough."""
    try:
        handle = open_inside(folder, _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _claimed(handle)
    finally:
        os.close(handle)


def _claimed(handle: int, *, wait: bool = False) -> bool:
    """Lock an open file; False if another process holds the lock. On a file system without locks, the process that the
    file names holds it while it runs on this machine."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF):
            raise
        _warn_without_locks(error.strerror)
    named = re.match(rb"pid (\d{1,9}) on (\S+),", os.pread(handle, 200, 0))
    if named is None or named[2].decode(errors="replace") != socket.gethostname() or int(named[1]) == os.getpid():
        return True
    return not _runs(int(named[1]))


def _runs(pid: int) -> bool:
    """Whether a process with this number exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True
    return True


@functools.cache
def _warn_without_locks(why: str) -> None:
    logging.getLogger(__name__).warning(
        "warning: this file system has no locks (%s); do not let two machines write the same run", why
    )


@contextmanager
def locked(target: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of `target` inside the block; if another process holds it, call `on_wait` once and wait."""
    with target.with_name(f"{target.name}.lock").open("ab+") as file:
        if not _claimed(file.fileno()):
            on_wait()
            _claimed(file.fileno(), wait=True)
        yield
