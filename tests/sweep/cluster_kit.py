"""A real Dask cluster for tests: a scheduler and workers, each a process of its own, and a model server for each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.scripted import MODEL, Entry, Scripted
from tests.search.kills import MODELS, Deterministic

ROOT = Path(__file__).parents[2]
#: A machine that says nothing is seen after eleven seconds, the least that Dask allows, and not after thirty.
QUICK = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
TINY = "[settings]\nreflection = 'plain'\nmetric_calls = 2\nsamples = 1\nfresh = 1\ntarget = 'none'\n"


class Acting(Deterministic):
    """Does something when the request of a number (from 1) is there, before it is answered."""

    at = 0
    act: Callable[[], object] | None = None

    def next(self, path: str, body: dict[str, Any]) -> Entry:
        said = super().next(path, body)
        if self.act is not None and len(self.history) == self.at:
            self.act()
        return said


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def lines_in(log: Path) -> int:
    """Lines of a log that may not be there yet."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


def models_text(url: str, *, remote: bool = False) -> str:
    text = MODELS.format(url=url, model=MODEL)
    return text.replace(f'url = "{url}"', f'url = "{url}"\nallow_remote = true') if remote else text


def places(servers: Mapping[str, Scripted]) -> str:
    """[workers] of a sweep file."""
    return "".join(f'\n[workers.{name}]\nollama = "{server.url}"\n' for name, server in servers.items())


def started(folder: Path, name: str, *command: str, inside: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """A module of Python as a process, perhaps behind a command that puts it elsewhere."""
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*inside, sys.executable, "-W", "ignore", "-m", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **QUICK},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


@contextlib.contextmanager
def process(running: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone when the block ends."""
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


def scheduler_process(
    folder: Path, host: str = "127.0.0.1", port: int = 0, protocol: str = "tcp"
) -> tuple[subprocess.Popen[bytes], str]:
    """A scheduler that is up, and its address."""
    known = folder / "scheduler.json"
    known.unlink(missing_ok=True)
    where = ("--protocol", protocol, "--host", host, "--port", str(port), "--scheduler-file", str(known))
    running = started(folder, "scheduler", "distributed.cli.dask_scheduler", "--no-dashboard", *where)
    deadline = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return running, str(json.loads(known.read_text())["address"])
        time.sleep(0.05)
    with process(running):  # it is not left behind
        raise AssertionError((folder / "scheduler.log").read_text())


@contextlib.contextmanager
def scheduler(folder: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The address of a scheduler."""
    running, address = scheduler_process(folder, host, port)
    with process(running):
        yield address


def worker(folder: Path, address: str, name: str, *more: str, inside: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """A worker without a nanny: who kills it kills all of it, and nobody starts it again."""
    scratch = folder / f"scratch-{name}"
    command = ("distributed.cli.dask_worker", address, "--name", name, "--nthreads", "1", "--no-nanny")
    rest = ("--no-dashboard", "--local-directory", str(scratch), *more)
    return started(folder, name, *command, *rest, inside=inside)
