"""Runs one job where its layers need it: in a fork of the keeper, or in a process of its own (portable.py)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from localgif.errors import SandboxError
from localgif.records import Limits
from localgif.sandbox import keeper_client, portable, watch
from localgif.sandbox.protocol import (
    FULL,
    KEEPERS,
    LIMITS_ONLY,
    NO_READ_CONFINEMENT,
    SEATBELT,
    WEAK,
    Ended,
    Job,
    MachineryError,
)

#: Used wherever the caller names no limits.
DEFAULT_LIMITS = Limits()

#: What each level promises, in one line for the start of a run.
PROMISES = {
    FULL: "programs see only Python's libraries and fonts, change only their own directory, no network, no processes",
    SEATBELT: "macOS confines programs: they see only libraries and fonts, change only their own directory, no network",
    NO_READ_CONFINEMENT: "programs change nothing, no network, no processes; they can READ whatever this user can",
    WEAK: "programs cannot rewrite your files, but can CHANGE THEIR MODES AND TIMES, use the network, signal processes",
    LIMITS_ONLY: "programs can read, change and delete whatever this user can, and use the network",
}

_T = TypeVar("_T")
_lock = threading.Lock()
_swept = False


def run_confined(job: Job, limits: Limits, directory: Path) -> Ended:
    """Runs one job in `directory`; when it returns or raises, no process of the job is left.

    Raises:
        LayerMissing: The machine does not offer one of the layers.
        MachineryError: Its process could not be started, or ended before the job began, or its watcher died.
        SandboxError: A process survived SIGKILL.
    """
    run = keeper_client.run_confined if job.layers & KEEPERS else portable.run_confined
    return run(job, limits, directory)


def insist(attempt: Callable[[], _T]) -> _T:
    """Retries once after our own failure; raises a SandboxError after the second."""
    with contextlib.suppress(MachineryError):
        return attempt()
    try:
        return attempt()
    except MachineryError as error:
        remedy = "Check that this machine has free memory and disk space."
        raise SandboxError(f"the sandbox failed twice: {error}", remedy) from error


def sweep_once() -> None:
    """Cleans up, once per process, after apps that were killed."""
    global _swept
    with _lock:
        if not _swept:
            _swept = True
            watch.sweep()


def stop() -> None:
    """Ends the processes that wait for the next job; that job starts new ones."""
    keeper_client.stop()
    portable.stop()
