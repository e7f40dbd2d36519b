"""Proof that a file holds the right bytes, and stamps so that the proof is not repeated on each start.

A stamp says: this path, with this size, modification time and inode, had this sha256. It guards against accidents (a
file that was replaced, cut or edited), not against someone who can write to the cache and sets times back.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

#: The first bytes of every GGUF file.
GGUF_MAGIC = b"GGUF"
#: How much is read at once, bytes.
CHUNK = 4 * 2**20

_STAMPS_NAME = "stamps.json"
_STAMPS_VERSION = 1

#: Called with the number of bytes done so far.
OnBytes = Callable[[int], None]


class Refused(Exception):
    """One source cannot give the file; the text says why, in one line, with the file's name."""


class Verified(NamedTuple):
    """What a file was found to be."""

    digest: str
    """sha256, hex."""
    size: int
    """Bytes."""


def reason_of(error: OSError) -> str:
    """The system's words for an error, without number and path."""
    return error.strerror or type(error).__name__


def file_size(path: Path) -> int | None:
    """Bytes of a regular file, None when there is none that we may see."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file as a whole: a reader sees the old text or the new one.

    Raises:
        OSError: It cannot be written; the old file is untouched.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


class Stamps:
    """The stamps of one cache folder. Losing them costs seconds, so every problem with them is ignored."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _STAMPS_NAME

    def digest_of(self, path: Path, found: os.stat_result) -> str | None:
        """The sha256 on record, when size, time and inode are still the ones it was computed for."""
        entry = self._load().get(_key(path))
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            return None
        digest: str = entry["sha256"]
        return digest if entry == _entry(found, digest) else None

    def remember(self, path: Path, found: os.stat_result, digest: str) -> None:
        """Record a sha256 that was computed for exactly this state of the file."""
        # Two processes may overwrite each other's entry here; the loser computes a digest once more, nothing else.
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            kept = {name: entry for name, entry in self._load().items() if Path(name).exists()}
            entries = {**kept, _key(path): _entry(found, digest)}
            write_atomically(self._file, json.dumps({"version": _STAMPS_VERSION, "files": entries}, indent=1))

    def _load(self) -> dict[str, Any]:
        try:
            stored = json.loads(self._file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(stored, dict) or stored.get("version") != _STAMPS_VERSION:
            return {}
        files = stored.get("files")
        return files if isinstance(files, dict) else {}


def verify(
    path: Path, stamps: Stamps, size: int | None = None, sha256: str | None = None, on_bytes: OnBytes | None = None
) -> Verified:
    """Check that a file is a GGUF file and, where they are known, has the expected size (bytes) and sha256 (hex).

    Raises:
        Refused: It is not there, cannot be read, or holds something else; the text names file, expected and found.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # before opening: a named pipe would block for ever
            raise Refused(f"{path} is not a regular file")
        if size is not None and found.st_size != size:
            raise Refused(f"{path} has {found.st_size} bytes, expected {size}")
        digest = _digest(path, stamps, on_bytes)
    except OSError as error:
        raise Refused(f"{path}: {reason_of(error)}") from error
    if sha256 is not None and digest != sha256:
        raise Refused(f"{path} has sha256 {digest}, expected {sha256}")
    return Verified(digest, found.st_size)


def _digest(path: Path, stamps: Stamps, on_bytes: OnBytes | None) -> str:
    """sha256 of a GGUF file, from its stamp or by reading it. Raises OSError, Refused."""
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
            raise Refused(f"{path} does not begin with the bytes GGUF, so it is not a model file")
        stamped = stamps.digest_of(path, before)
        if stamped is not None:
            return stamped
        file.seek(0)
        state = hashlib.sha256()
        buffer = memoryview(bytearray(CHUNK))
        done = 0
        while count := file.readinto(buffer):
            state.update(buffer[:count])
            done += count
            if on_bytes is not None:
                on_bytes(done)
        after = os.fstat(file.fileno())
    digest = state.hexdigest()
    if _entry(before, digest) != _entry(after, digest):
        raise Refused(f"{path} changed while it was being read")
    stamps.remember(path, after, digest)
    return digest


def _key(path: Path) -> str:
    return str(path.absolute())


def _entry(found: os.stat_result, digest: str) -> dict[str, Any]:
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "inode": found.st_ino, "sha256": digest}
