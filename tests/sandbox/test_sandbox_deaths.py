"""Whatever ends the app, its programs end too, and what they leave is swept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import localgif
from localgif.sandbox import scratch
from tests.sandbox.guest_kit import AS_ROOT, left_running

HERE = str(Path(localgif.__file__).parent.parent)

_APP = """
import sys
from localgif.records import Limits
from localgif.sandbox.runner import run_program
run_program(sys.argv[1], Limits(cpu_seconds=1, wall_seconds=float(sys.argv[2]), processes=3))
"""
_SLEEPER = "import os, time\ndef make_gif(path):\n    {before}\n    open('started', 'w').close()\n    time.sleep(60)\n"


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


@contextlib.contextmanager
def app_with_sleeper(jobs: Path, before: str = "pass", wall: float = 60.0) -> Iterator[subprocess.Popen[bytes]]:
    """An app whose program has started and sleeps; ended afterwards."""
    app = subprocess.Popen(
        [sys.executable, "-c", _APP, _SLEEPER.format(before=before), str(wall)],
        env={"PYTHONPATH": HERE, "TMPDIR": str(jobs)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any(jobs.glob("localgif-*/started")), 20)
        yield app
    finally:
        app.kill()
        app.wait()
        for pid in left_running(jobs):
            os.kill(pid, signal.SIGKILL)


def test_the_program_dies_at_once_when_the_app_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with app_with_sleeper(tmp_path) as app:
        guests = psutil.Process(app.pid).children(recursive=True)
        assert guests
        assert scratch.sweep() == []  # its app is alive
        app.kill()
        app.wait()
        wait_until(lambda: not left_running(tmp_path), 2)
        assert len(scratch.sweep()) == 1
        assert list(tmp_path.iterdir()) == []


def test_the_alarm_ends_a_program_that_closed_its_lifeline(tmp_path: Path) -> None:
    with app_with_sleeper(tmp_path, before="os.closerange(3, 4096)", wall=3.0) as app:
        app.kill()
        app.wait()
        assert left_running(tmp_path)
        wait_until(lambda: not left_running(tmp_path), 3.0 + 1.0 + 2.0)


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's program cannot fork at all with one process allowed")
def test_the_next_start_sweeps_a_daemon_of_a_killed_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with app_with_sleeper(tmp_path, before="os.fork() or (os.setsid(), time.sleep(60))") as app:
        app.kill()
        app.wait()
        wait_until(lambda: len(left_running(tmp_path)) == 1, 2)
        assert len(scratch.sweep()) == 1
        wait_until(lambda: not left_running(tmp_path), 2)


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupt_ends_the_program_and_removes_its_directory(number: signal.Signals, tmp_path: Path) -> None:
    with app_with_sleeper(tmp_path) as app:
        app.send_signal(number)
        assert app.wait(5) == -number
        assert left_running(tmp_path) == []
        assert list(tmp_path.iterdir()) == []
