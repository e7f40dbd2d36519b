"""Layers and levels by name, and what app, keeper and confined process say to each other."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

from localgif.errors import SandboxError

#: Resource limits of the kernel.
RLIMITS = "rlimits"

#: no_new_privs, and every capability dropped.
PRIVILEGES = "privileges"

#: File system rules: read libraries and fonts, write the scratch directory, nothing else.
LANDLOCK = "landlock"

#: Allowlist of system calls with checks of their arguments: no network, processes, signals, changes of modes or times.
SECCOMP = "seccomp"

#: On top of seccomp where Landlock is missing: nothing is opened for writing but the output, which is open already.
WRITE_FILTER = "write-filter"

#: A network namespace without devices, where the kernel allows one; only where seccomp does not refuse sockets anyway.
NETWORK = "network"

#: psutil watch: memory, processes, threads and CPU of the tree, bytes and entries of the scratch directory.
WATCH = "watch"

#: Whatever came from a program is killed when its process ends.
KILL = "kill"

_ALWAYS = frozenset({RLIMITS, PRIVILEGES, WATCH, KILL})

FULL = "full"

NO_READ_CONFINEMENT = "no-read-confinement"

WEAK = "weak"

LIMITS_ONLY = "limits-only"

#: What each level is made of, the strongest first.
LAYERS: dict[str, frozenset[str]] = {
    FULL: _ALWAYS | {LANDLOCK, SECCOMP},
    NO_READ_CONFINEMENT: _ALWAYS | {SECCOMP, WRITE_FILTER},
    WEAK: _ALWAYS | {LANDLOCK, NETWORK},
    LIMITS_ONLY: _ALWAYS | {NETWORK},
}

LEVELS = tuple(LAYERS)


def is_weaker(level: str, other: str) -> bool:
    """Whether `level` holds back less than `other`."""
    return LEVELS.index(level) > LEVELS.index(other)


#: Longest message, bytes; both kinds are a few hundred.
MESSAGE_CAP = 64 * 2**10

#: The packet that carries the descriptors of a job, and their number.
HAND_OVER = b"j"

DESCRIPTORS = 4

_LENGTH = struct.Struct("!I")

#: How the confined process ends by itself. A program can end it with any of these too: all but 0 are failures anyway.
EXIT_ERROR = 1

EXIT_MEMORY = 3

EXIT_OURS = 70

EXIT_LAYER = 71

#: The file that a program must write.
OUTPUT_NAME = "out.gif"


class MachineryError(Exception):
    """Our own part failed; nothing is known about the program. The caller tries once more, then raises SandboxError."""


class LayerMissing(SandboxError):
    """A layer that was asked for is not to be had on this machine."""


@dataclass(frozen=True)
class Job:
    """What a confined process is to do; see child.py."""

    mode: Literal["program", "measure"]
    payload: bytes
    layers: frozenset[str]
    module: str = ""


class Request(TypedDict):
    """What the keeper is told about a job; `limits` are the fields of records.Limits."""

    mode: str
    module: str
    directory: str
    layers: list[str]
    limits: dict[str, float]


class Breach(NamedTuple):
    """A limit that was passed: how it counts (a value of records.Verdict), and the numbers."""

    verdict: str
    reason: str


class Answer(TypedDict):
    """What the keeper saw of a job."""

    began: bool
    """False: it ended before a line of the job ran, so whatever happened was not the program's doing."""
    status: int
    """Exit status; negative: the signal."""
    breach: list[str] | None
    wall_seconds: float
    cpu_seconds: float
    peak_rss: int
    failure: str
    """Why the keeper could not do its part; empty when it could."""
    survivor: bool
    """Whether the failure is a process that cannot be killed."""


@dataclass(frozen=True)
class Ended:
    """How a confined process ended, as seen from outside."""

    status: int
    """Exit status; negative: the signal."""
    breach: Breach | None
    """The limit for which it was killed."""
    output: bytes
    """End of its stderr, and of its stdout too in mode "program"."""
    answer: bytes
    """End of its stdout in mode "measure"."""
    wall_seconds: float
    cpu_seconds: float
    peak_rss: int


def pack(message: Request | Answer) -> bytes:
    """A message as it goes over a socket."""
    text = json.dumps(message).encode()
    if len(text) > MESSAGE_CAP:
        raise MachineryError(f"a message of {len(text):,} bytes is longer than {MESSAGE_CAP:,}")
    return _LENGTH.pack(len(text)) + text


class Unpacker:
    """Puts the one message of a direction together from pieces of any size."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, piece: bytes) -> dict[str, Any] | None:
        """The message, once it is complete.

        Raises:
            MachineryError: What came is no message of ours: too long, no JSON object, or followed by more.
        """
        self._data += piece
        if len(self._data) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._data)
        if size > MESSAGE_CAP or len(self._data) > _LENGTH.size + size:
            raise MachineryError(f"a message of {len(self._data):,} bytes says that it has {size:,}")
        if len(self._data) < _LENGTH.size + size:
            return None
        try:
            message = json.loads(self._data[_LENGTH.size :])
        except (ValueError, RecursionError) as error:
            raise MachineryError(f"a message cannot be read: {error}") from error
        if not isinstance(message, dict):
            raise MachineryError("a message is no object")
        return message
