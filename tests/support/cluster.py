"""A real Dask cluster for tests: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.kills import Deterministic
from tests.support.scripted import Entry

ROOT = Path(__file__).parents[2]
#: For a process of Dask to start, however busy the machine is.
START_SECONDS = 240.0
#: Dask notices a silent machine after eleven seconds, its minimum, instead of thirty.
QUICK = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


class Acting(Deterministic):
    """Runs an action when the request with a given number (from 1) arrives, before its answer."""

    at = 0
    act: Callable[[], object] | None = None

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        said = super().next(path, body)
        if self.act is not None and len(self.history) == self.at:
            self.act()
        return said


def started(folder: Path, name: str, *command: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Run a Python module as a process that logs into the folder."""
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **QUICK, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


@contextlib.contextmanager
def process(running: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.send_signal(signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def scheduler(
    folder: Path, protocol: str = "tcp", env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running scheduler and its address."""
    known = folder / "scheduler.json"
    where = ("--protocol", protocol, "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(known))
    command = ("distributed.cli.dask_scheduler", "--no-dashboard", *where)
    with process(started(folder, "scheduler", *command, env=env)) as running:
        yield running, _address(known, running, folder / "scheduler.log")


def _address(known: Path, running: subprocess.Popen[bytes], log: Path) -> str:
    """The scheduler's file. The scheduler writes it in place, so for a moment it is incomplete."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(known.read_text())["address"])
        assert running.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def worker(
    folder: Path, address: str, name: str, models: str = "scripted", env: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """A worker with the models and without a nanny: SIGKILL ends it for good."""
    resources = " ".join(f"{model}=1" for model in models.split())
    command = ("distributed.cli.dask_worker", address, "--name", name, "--nthreads", "1", "--no-nanny")
    rest = ("--no-dashboard", "--resources", resources, "--local-directory", str(folder / f"scratch-{name}"))
    return process(started(folder, name, *command, *rest, env=env))
