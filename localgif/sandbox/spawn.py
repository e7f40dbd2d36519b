"""Starts a confined process: its command line, its environment, its pipes, and the message that says what to do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import localgif
from localgif.records import Limits
from localgif.sandbox.child import LENGTHS, Header

# -s: no user site; -P: the working directory is no place to import from; -B: nothing is written beside our modules.
# Not -I: it would ignore PYTHONHASHSEED, and the order of sets would change from run to run. -c and not -m, since our
# own place need not be on the path of a clean environment.
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop()); from localgif.sandbox.child import main; main()"
_HERE = str(Path(localgif.__file__).parent.parent)


class MachineryError(Exception):
    """Our own part failed; nothing is known about the program. The caller tries once more, then raises SandboxError."""


@dataclass(frozen=True)
class Job:
    """What a confined process is to do; see child.py."""

    mode: Literal["program", "measure"]
    payload: bytes
    module: str = ""


class Pipe(NamedTuple):
    """Both ends of a pipe, neither inherited unless it is named."""

    read: io.FileIO
    write: io.FileIO


def pipe(stack: contextlib.ExitStack) -> Pipe:
    """A pipe that is closed at the latest with `stack`. Objects, not numbers: closing one twice must be harmless."""
    try:
        read, write = os.pipe()
    except OSError as error:
        raise MachineryError(f"no pipe: {error}") from error
    return Pipe(stack.enter_context(io.FileIO(read)), stack.enter_context(io.FileIO(write, "w")))


def spawn(job: Job, directory: Path, inherited: tuple[int, int]) -> subprocess.Popen[bytes]:
    """Starts the process in a session of its own; of our descriptors it gets `inherited` and no other.

    Raises:
        MachineryError: No process can be started.
    """
    try:
        return subprocess.Popen(
            [sys.executable, "-s", "-P", "-B", "-c", _BOOT, _HERE],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A program's two streams in one, so that they stay in order; a measurer's stdout is its answer alone.
            stderr=subprocess.STDOUT if job.mode == "program" else subprocess.PIPE,
            env=_clean_environment(directory),
            cwd=directory,
            start_new_session=True,
            pass_fds=inherited,
        )
    except OSError as error:
        raise MachineryError(f"{sys.executable} cannot be started: {error}") from error


def _clean_environment(directory: Path) -> dict[str, str]:
    """All that a program sees of the environment: no keys, no proxies, nothing that changes what it draws."""
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        **dict.fromkeys(threads, "1"),
    }


def message_for(job: Job, limits: Limits, directory: Path, lifeline: int, ready: int) -> bytes:
    """What the process reads first: two lengths, the header, the payload; see child.py."""
    header: Header = {
        "mode": job.mode,
        "module": job.module,
        "directory": str(directory),
        "ready": ready,
        "lifeline": lifeline,
        "limits": limits.model_dump(),
    }
    text = json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(job.payload)) + text + job.payload
