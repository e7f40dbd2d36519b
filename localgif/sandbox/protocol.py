"""Layers and levels by name, and the messages between app, keeper and confined process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

from localgif.errors import SandboxError

# --- layers and levels -------------------------------------------------------------------------------------------

#: Resource limits of the kernel.
RLIMITS = "rlimits"
#: no_new_privs, and every capability dropped.
PRIVILEGES = "privileges"
#: File system rules: read libraries and fonts, write the scratch directory, nothing else.
LANDLOCK = "landlock"
#: An allowlist of system calls that also checks arguments: no network, processes, signals, changes of modes or times.
SECCOMP = "seccomp"
#: On top of seccomp where Landlock is missing: a program can write only the output file, which is open already.
WRITE_FILTER = "write-filter"
#: macOS's own rules for a process (Seatbelt): read libraries and fonts, write the scratch directory, nothing else.
SEATBELT = "seatbelt"
#: A network namespace without devices, if the kernel allows one; only where seccomp does not refuse sockets anyway.
NETWORK = "network"
#: psutil watch: memory, processes, threads and CPU of the tree, bytes and entries of the scratch directory.
WATCH = "watch"
#: When a program's process ends, every process that came from it is killed.
KILL = "kill"

FULL, NO_READ_CONFINEMENT, WEAK, LIMITS_ONLY = "full", "no-read-confinement", "weak", "limits-only"

_EVERYWHERE = frozenset({RLIMITS, WATCH, KILL})
_ALWAYS = _EVERYWHERE | {PRIVILEGES}

#: The layers of each level, strongest level first. At limits-only, privileges and network are best effort.
LAYERS: dict[str, frozenset[str]] = {
    FULL: _ALWAYS | {LANDLOCK, SECCOMP},
    SEATBELT: _EVERYWHERE | {SEATBELT},
    NO_READ_CONFINEMENT: _ALWAYS | {SECCOMP, WRITE_FILTER},
    WEAK: _ALWAYS | {LANDLOCK, NETWORK},
    LIMITS_ONLY: _ALWAYS | {NETWORK},
}
LEVELS = tuple(LAYERS)

#: Only a fork of the keeper can have these; a job without them runs in a process of its own (portable.py).
KEEPERS = frozenset({LANDLOCK, SECCOMP})


def is_weaker(level: str, other: str) -> bool:
    """Whether `level` confines less than `other`."""
    return LEVELS.index(level) > LEVELS.index(other)


# --- jobs --------------------------------------------------------------------------------------------------------

#: The file that a program must write.
OUTPUT_NAME = "out.gif"

#: Exit statuses of the confined process. A program can use them too: all of them are failures anyway.
EXIT_ERROR, EXIT_MEMORY, EXIT_OURS, EXIT_LAYER = 1, 3, 70, 71


class MachineryError(Exception):
    """Our own part failed; nothing is known about the program. The caller retries once, then raises SandboxError."""


class LayerUnavailable(Exception):
    """This kernel, or whatever runs this process (a container), does not offer a layer. It ends with EXIT_LAYER."""


class LayerMissing(SandboxError):
    """This machine does not offer a layer that was asked for."""


@dataclass(frozen=True)
class Job:
    """What a confined process does; see child.py."""

    mode: Literal["program", "measure"]
    payload: bytes
    layers: frozenset[str]
    module: str = ""


class Breach(NamedTuple):
    """A limit that was exceeded: how it counts (a value of records.Verdict), and the numbers."""

    verdict: str
    reason: str


@dataclass(frozen=True)
class Ended:
    """How a confined process ended, as seen from outside."""

    status: int
    """Exit status; negative: the signal."""
    breach: Breach | None
    """The limit that it exceeded, and was killed for."""
    output: bytes
    """End of its stderr, and of its stdout too in mode "program"."""
    answer: bytes
    """End of its stdout in mode "measure"."""
    wall_seconds: float
    cpu_seconds: float
    peak_rss: int
    lacking: tuple[str, ...] = ()
    """What this system does not enforce although it was asked for: layers, and rlimits by their names."""


# --- messages ----------------------------------------------------------------------------------------------------

#: The packet that carries the descriptors of a job, and their number.
HAND_OVER, DESCRIPTORS = b"j", 4

#: Longest message, bytes; both kinds take a few hundred.
MESSAGE_CAP = 64 * 2**10


class Request(TypedDict):
    """What the app asks of the keeper; `limits` are the fields of records.Limits."""

    mode: str
    module: str
    directory: str
    layers: list[str]
    limits: dict[str, float]


@dataclass(frozen=True)
class Answer:
    """What the keeper saw of a job."""

    began: bool = False
    """False: it ended before a line of the job ran, so the program is not to blame."""
    status: int = 0
    """Exit status; negative: the signal."""
    breach: list[str] | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss: int = 0
    failure: str = ""
    """Why the keeper could not do its part; empty if it could."""
    survivor: bool = False
    """Whether the failure is a process that survived SIGKILL."""


def pack(message: Request | dict[str, Any]) -> bytes:
    """A message as one packet; sockets of type SOCK_SEQPACKET keep packets whole."""
    packet = json.dumps(message).encode()
    if len(packet) > MESSAGE_CAP:
        raise MachineryError(f"a message of {len(packet):,} bytes is longer than {MESSAGE_CAP:,}")
    return packet


def unpack(packet: bytes) -> dict[str, Any]:
    """The message of a packet; a MachineryError if it is not one of ours."""
    try:
        message = json.loads(packet)
    except (ValueError, RecursionError) as error:
        raise MachineryError(f"a message cannot be read: {error}") from error
    if not isinstance(message, dict):
        raise MachineryError("a message is not a JSON object")
    return message
