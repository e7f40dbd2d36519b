"""A file that is being put together: survives interruption, and one process at a time works on it.

Beside the target `X.gguf` stand `X.gguf.partial` (the bytes so far), `X.gguf.partial.json` (how many of them are known
to be on disk) and `X.gguf.lock`. The count is written after the bytes are synced, so it never promises too much; what
lies beyond it is cut off on resume. The lock is the kernel's, on the open file: it ends with the process that holds
it, however that ends, and the lock file itself is left in place because removing it would let two processes hold one
each.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from localgif.models.verify import Refused, write_atomically

_STATE_VERSION = 1


@contextmanager
def locked(target: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of `target`, waiting for whoever has it; `on_wait` is called once when there is someone.

    Raises:
        OSError: The lock file cannot be made.
    """
    with _beside(target, ".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Partial:
    """The bytes of `target` so far. Use it as a context manager, under the target's lock.

    Args:
        target: The file to be.
        sha256: What it is to hold; bytes of another file are not continued.
        size: Bytes of the finished file.
    """

    def __init__(self, target: Path, sha256: str, size: int) -> None:
        self.target = target
        self.path = _beside(target, ".partial")
        self.size = size
        self._sha256 = sha256
        self._state = _beside(target, ".partial.json")
        self.position = 0
        """Bytes written, a prefix of the finished file."""

    def __enter__(self) -> Partial:
        self._file = self.path.open("ab")
        try:
            self.rewind(self.kept())
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self.position == 0:
            self.discard()

    def kept(self) -> int:
        """How many bytes an earlier pull left that can be continued."""
        try:
            state = json.loads(self._state.read_bytes())
            on_disk = self.path.stat().st_size
        except (OSError, ValueError, RecursionError):
            return 0
        if not isinstance(state, dict) or (state.get("version"), state.get("sha256")) != (_STATE_VERSION, self._sha256):
            return 0
        count = state.get("bytes")
        return count if isinstance(count, int) and 0 <= count <= min(on_disk, self.size) else 0

    def write(self, data: bytes) -> None:
        """Append bytes; they count only after `commit`.

        Raises:
            Refused: There would be more of them than the finished file has.
            OSError: The disk refuses them.
        """
        if self.position + len(data) > self.size:
            raise Refused(f"more than the expected {self.size} bytes came")
        self._file.write(data)
        self.position += len(data)

    def commit(self) -> None:
        """Make what was written count, also after a crash. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        state = {"version": _STATE_VERSION, "sha256": self._sha256, "bytes": self.position}
        write_atomically(self._state, json.dumps(state))

    def rewind(self, position: int) -> None:
        """Forget what lies beyond `position` (bytes), on record too. Raises OSError."""
        self._file.flush()
        self._file.truncate(position)
        self.position = position
        self.commit()

    def discard(self) -> None:
        """Throw the bytes away: they turned out to be wrong."""
        self._state.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def adopt(self) -> None:
        """Let the finished file appear under its name, as a whole. Raises OSError."""
        self.path.replace(self.target)
        self._state.unlink(missing_ok=True)
        folder = os.open(self.target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)
