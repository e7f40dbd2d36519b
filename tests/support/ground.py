"""What the sandbox's tests share: small limits, the corpus, and checks that a program left nothing behind."""

from __future__ import annotations

import contextlib
import os
import resource
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from localgif.records import Limits, ProgramResult
from localgif.sandbox import keeper_client, portable, probe
from localgif.sandbox.protocol import LIMITS_ONLY
from localgif.sandbox.runner import run_program
from tests.support import SOON, corpus, masked

#: Small, so that a program that hits a limit does so soon.
SMALL = Limits(cpu_seconds=1.0, wall_seconds=8.0, address_space=400 * 2**20, rss=300 * 2**20)
#: For programs that only wait.
BRIEF = SMALL.model_copy(update={"wall_seconds": 1.5})

#: A program may not make our own process grow by more than this, bytes.
_OWN_GROWTH = 20 * 2**20
#: Room above what the test process has, bytes, so that no experiment takes the machine down.
_OWN_SPACE = 2 * 2**30

AS_ROOT = os.geteuid() == 0

#: Draws twelve frames of 64 x 64 pixels.
PLAIN = corpus.programs()["b1_plain"].source({})


def source_of(name: str) -> str:
    """A program of the corpus."""
    return corpus.programs()[name].source({})


class Ground:
    """A temporary directory for jobs, with a canary file beside it."""

    def __init__(self, path: Path) -> None:
        self.jobs = path / "jobs"
        self.jobs.mkdir()
        (path / "home").mkdir()
        self.canary = path / "home" / "canary.txt"
        self.canary.write_text("do not touch")
        self._before = self._canary_state()

    def _canary_state(self) -> tuple[object, ...]:
        info = self.canary.stat()
        return self.canary.read_bytes(), info.st_mode, info.st_mtime_ns, info.st_size, info.st_nlink

    def run(self, source: str, limits: Limits = SMALL, layers: frozenset[str] | None = None) -> ProgramResult:
        """Runs a program, and checks everything that must hold whatever the program does."""
        rss_before = psutil.Process().memory_info().rss
        started = time.monotonic()
        result = run_program(source, limits, layers=layers)
        assert time.monotonic() - started < 2 * limits.wall_seconds + SOON, "a starved program runs a second time"
        assert psutil.Process().memory_info().rss - rss_before < _OWN_GROWTH
        self.check()
        assert (result.gif is not None) == (result.verdict == "ok")
        assert len(result.output.encode()) <= limits.output_kept
        assert len(result.reason) <= 1000
        return result

    def check(self) -> None:
        """Checks that no program left anything or touched anything."""
        assert left_running() == []
        assert list(self.jobs.iterdir()) == []
        assert self._canary_state() == self._before


def left_running() -> list[int]:
    """Processes that a program left, zombies included: all end up below the keeper, or
    below a warden, which ends with its job."""
    pid = keeper_client.pid()
    kept = [] if pid is None else [process.pid for process in psutil.Process(pid).children(recursive=True)]
    waiting = portable.pids()
    wardens = [each for each in psutil.Process().children() if "localgif.sandbox.warden" in " ".join(_command(each))]
    return kept + [each.pid for each in wardens if each.pid not in waiting]


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def wait_until(condition: Callable[[], object]) -> None:
    """Poll until the condition holds; raises AssertionError if it does not hold in time."""
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


@contextlib.contextmanager
def grounds(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """Run jobs in the test's own directory, and limit the memory of this process."""
    ground = Ground(path)
    if masked.ON:
        monkeypatch.setattr(probe, "accepted", LIMITS_ONLY)
    monkeypatch.setattr(tempfile, "tempdir", str(ground.jobs))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + _OWN_SPACE, before[1]))
    try:
        yield ground
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def raw_gif(
    width: int,
    height: int,
    *,
    frames: int = 1,
    delay: int = 4,
    loop: int | None = None,
    rectangle: tuple[int, int, int, int] | None = None,
    code: bytes = b"\x02\x4c\x01",
    padding: int = 0,
    trailer: bytes = b";",
) -> bytes:
    """A GIF of equal frames, byte by byte, right or wrong as a test wants it.

    Args:
        delay: In units of 10 ms.
        code: Code size and data of a picture that nobody decodes.
        padding: Bytes of comment per frame.
    """
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    if loop is not None:
        screen += b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loop) + b"\0"
    control = b"!\xf9\x04\0" + struct.pack("<H", delay) + b"\0\0"
    comment = b"!\xfe" + (b"\xff" + b"c" * 255) * (padding // 256) + b"\0"
    image = b"," + struct.pack("<HHHHB", *(rectangle or (0, 0, width, height)), 0)
    data = b"\x02" + bytes([len(code)]) + code + b"\0"
    return screen + (control + comment + image + data) * frames + trailer
