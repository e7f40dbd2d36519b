"""What the sandbox's tests share: small limits, the corpus, and the check that a program left nothing behind."""

from __future__ import annotations

import contextlib
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from localgif.records import Limits, ProgramResult
from localgif.sandbox import keeper_client
from localgif.sandbox.runner import run_program
from tests.sandbox import corpus

#: Small, so that a program that hits one does so soon.
SMALL = Limits(cpu_seconds=1.0, wall_seconds=8.0, address_space=400 * 2**20, rss=300 * 2**20)
#: For programs that do nothing but wait.
BRIEF = SMALL.model_copy(update={"wall_seconds": 1.5})

#: On top of the wall limit: start, kill loop, removal, on a busy machine.
SLACK_SECONDS = 3.0
#: More than this may a program not make our own process grow, bytes.
_OWN_GROWTH = 20 * 2**20
#: Room for the test process itself above what it has, bytes: no experiment may take the machine down.
_OWN_SPACE = 2 * 2**30

AS_ROOT = os.geteuid() == 0


def source_of(name: str, canary: Path | None = None) -> str:
    """A program of the corpus."""
    return corpus.programs()[name.split(".")[0]].source({"CANARY": str(canary)})


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
        """Runs a program and checks everything that must hold whatever the program does."""
        rss_before = psutil.Process().memory_info().rss
        started = time.monotonic()
        result = run_program(source, limits, layers=layers)
        assert time.monotonic() - started < limits.wall_seconds + SLACK_SECONDS
        assert psutil.Process().memory_info().rss - rss_before < _OWN_GROWTH
        self.check()
        assert (result.gif is not None) == (result.verdict == "ok")
        assert len(result.output.encode()) <= limits.output_kept
        assert len(result.reason) <= 1000
        return result

    def check(self) -> None:
        """Nothing is left of any program, and nothing was touched."""
        assert left_running() == []
        assert list(self.jobs.iterdir()) == []
        assert self._canary_state() == self._before


def left_running() -> list[int]:
    """Processes that came from a program, dead ones that nobody waited for included: all end up below the keeper."""
    pid = keeper_client.pid()
    return [] if pid is None else [process.pid for process in psutil.Process(pid).children(recursive=True)]


@contextlib.contextmanager
def grounds(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """Jobs run in a directory of the test's own, and this process may not take the machine's memory."""
    ground = Ground(path)
    monkeypatch.setattr(tempfile, "tempdir", str(ground.jobs))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + _OWN_SPACE, before[1]))
    try:
        yield ground
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
