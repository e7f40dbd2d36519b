"""Files: bounded reading, atomic replacement, names from content, sha256, locks."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localgif.errors import ConfigError, RunLocked

#: Hex digits of a content hash in file names: 64 bits, far beyond what one run could make collide.
HASH_DIGITS = 16

#: Kind of stored content -> the ending of its files.
SUFFIXES = {"candidates": "md", "code": "py", "gifs": "gif", "sheets": "png"}


def now() -> str:
    """UTC now, ISO 8601 to the second. For people; durations come from the monotonic clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def content_hash(data: str | bytes) -> str:
    """The name under which a text or some bytes are stored."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return hashlib.sha256(raw).hexdigest()[:HASH_DIGITS]


def content_path(folder: Path, kind: str, name: str) -> Path:
    """Where a run folder holds a content, e.g. `gifs/0123456789abcdef.gif`."""
    return folder / kind / f"{name}.{SUFFIXES[kind]}"


def read_input(path: Path, most: int, what: str, code: str = "E-FILE") -> bytes:
    """The bytes of a file that the user named; `what` it should be, such as "a task file", is for the remedy.

    Raises:
        ConfigError: missing, unreadable, not a regular file, or larger than `most` bytes.
    """
    try:
        return read_bounded(path, most)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}", f"name {what}", code=code) from None


def read_input_text(path: Path, most: int, what: str, code: str = "E-FILE") -> str:
    """The text of a file that the user named; as read_input, and a ConfigError if it is not UTF-8."""
    try:
        return read_input(path, most, what, code).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8", code=code) from None


def parse_toml(text: str, place: str, code: str) -> dict[str, Any]:
    """What a TOML text holds; `place` names its file in messages.

    Raises:
        ConfigError: it is not TOML; the message names the line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{place} is not valid TOML: {error}", "correct that line", code=code) from None
    except RecursionError:
        raise ConfigError(f"{place} is nested too deeply", "write fewer brackets", code=code) from None


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader, a power cut or an OSError finds either the old content or the new one.

    An existing file keeps its permissions, and a symbolic link stays a link.
    """
    real = path.resolve()
    temporary = real.with_name(f".{real.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(real, temporary)
        temporary.replace(real)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(real.parent)


def append(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Append bytes; a write that fails (OSError) leaves the file as it was. Unless `durable`, they survive a crash of
    localgif, but not of the machine.
    """
    with path.open("ab") as file:
        end = file.tell()
        try:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        except OSError:
            os.truncate(path, end)
            raise


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises:
        OSError: The file cannot be read, is larger (EFBIG; `strerror` names the limit), or is not a regular file.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most // 1024} KiB", str(path))
    return data


def sha256_of(path: Path) -> str:
    """The sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_notes(path: Path, name: str) -> dict[str, Any]:
    """The entries that `write_notes` stored; none if the file is damaged."""
    try:
        stored = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    entries = stored.get(name) if isinstance(stored, dict) and stored.get("version") == 1 else None
    return entries if isinstance(entries, dict) else {}


def write_notes(path: Path, name: str, entries: dict[str, Any]) -> None:
    """Store what only costs time to find out again. Errors of the disk are ignored."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps({"version": 1, name: entries}, indent=1).encode())


def take_lock(folder: Path) -> int:
    """Lock a run folder for writing; closing the returned descriptor releases the lock.

    Raises:
        RunLocked: Another process holds the lock; the message names it.
    """
    path = folder / ".lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 200).decode("utf-8", "replace").strip()
        os.close(handle)
        raise RunLocked(
            f"{folder} is being written by {holder or 'another process'}", "Wait for that process, or stop it."
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"pid {os.getpid()} on {socket.gethostname()}, since {now()}\n".encode())
    return handle


def check_free(folder: Path) -> None:
    """Raise RunLocked, as `take_lock` does, if another process is writing in a run folder."""
    os.close(take_lock(folder))


def is_locked(folder: Path) -> bool:
    """Whether a process is writing in a run folder."""
    try:
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def locked(target: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of `target`; if another process holds it, call `on_wait` once and wait."""
    with target.with_name(f"{target.name}.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
