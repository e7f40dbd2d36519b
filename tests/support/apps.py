"""Another app in its own process, whose program sleeps, to test what happens to the program when the app ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

import localgif
from localgif.sandbox.protocol import FULL
from tests.support.ground import wait_until

HERE = str(Path(localgif.__file__).parent.parent)

_APP = """
import sys
from localgif.records import Limits
from localgif.sandbox.protocol import LAYERS
from localgif.sandbox.runner import run_program
limits = Limits(cpu_seconds=1, wall_seconds=60, processes=3)
run_program(sys.argv[1], limits, layers=LAYERS[sys.argv[2]])
"""
SLEEPER = """
import ctypes, os, signal, time
def make_gif(path):
    {before}
    open('started', 'w').close()
    time.sleep(60)
"""
#: Gives up the signal at the parent's death; only a level without seccomp allows it.
OUTLIVES = "ctypes.CDLL(None).prctl(1, 0)"


class App:
    """Another app, whose program has started and sleeps."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        below = psutil.Process(process.pid).children(recursive=True)
        direct = [each for each in below if each.ppid() == process.pid]
        self.keeper = direct[0]
        """Or, without one, a warden."""
        self.keepers = direct
        self.guests = [each for each in below if each not in direct]
        assert self.guests

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def alive(self) -> list[int]:
        return [each.pid for each in (*self.keepers, *self.guests) if lives(each)]


def lives(process: psutil.Process) -> bool:
    """Whether a process is alive; it may end between the two questions."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def app_with_sleeper(jobs: Path, before: str = "pass", level: str = FULL) -> Iterator[App]:
    process = subprocess.Popen(
        [sys.executable, "-c", _APP, SLEEPER.format(before=before), level],
        env={"PYTHONPATH": HERE, "TMPDIR": str(jobs)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any(jobs.glob("localgif-*/started")))
        app = App(process)
        yield app
    finally:
        process.kill()
        process.wait()
    for pid in app.alive():
        os.kill(pid, signal.SIGKILL)
