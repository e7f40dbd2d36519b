"""What a process does to itself before it runs a stranger's code. Standard library only: the child loads this.

Every function here is called in the confined process, never in ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import resource
import select
import signal
from collections.abc import Mapping
from typing import NamedTuple

#: Stack of a process whose own limit is "unlimited" (which would also change how memory is laid out).
STACK_BYTES = 8 * 2**20
#: The alarm that ends a process whose parent is gone rings this long after the wall limit, seconds.
ALARM_GRACE = 1.0


class Rlimit(NamedTuple):
    """One resource limit: its name in the resource module without RLIMIT_, and the soft and hard values."""

    name: str
    soft: int
    hard: int


def rlimits(limits: Mapping[str, float], *, file_size: int, root: bool) -> list[Rlimit]:
    """The resource limits for `limits` (fields of records.Limits); `file_size` in bytes is the largest file."""
    cpu = math.ceil(limits["cpu_seconds"])
    table = [
        # Soft: SIGXCPU. Hard, a second later: SIGKILL, for a program that ignores the first.
        Rlimit("CPU", cpu, cpu + 1),
        *(
            Rlimit(name, int(value), int(value))
            for name, value in {
                "AS": limits["address_space"],
                "FSIZE": file_size,
                "NOFILE": limits["open_files"],
                "STACK": STACK_BYTES,
                "CORE": 0,
                "MEMLOCK": 0,
                "MSGQUEUE": 0,
                "RTPRIO": 0,
            }.items()
        ),
    ]
    # The kernel counts all processes and threads of the user, so only 0 is a number that means anything; and it
    # exempts root, for whom the watch alone counts.
    if not root and limits["processes"] <= 1:
        table.append(Rlimit("NPROC", 0, 0))
    return table


def apply_rlimits(table: list[Rlimit]) -> None:
    """Sets every limit that this system knows, never above what is already in force, and reads it back.

    Raises:
        OSError: A limit did not take.
    """
    for name, soft, hard in table:
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            continue
        ceiling = resource.getrlimit(number)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(number, (soft, hard))
        if resource.getrlimit(number) != (soft, hard):
            raise OSError(f"RLIMIT_{name} did not take")


def detach_stdin() -> None:
    """Standard input becomes /dev/null: nothing of the message can be read twice, no terminal can be asked."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def reset_signals() -> None:
    """A parent may have blocked or ignored signals that our limits rely on."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGXCPU, signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def die_with_parent(lifeline: int, wall_seconds: float) -> bool:
    """Arranges that this process and its group end when the parent is gone. False: the parent is gone already.

    `lifeline` is the reading end of a pipe whose writing end only the parent holds, and never writes to. The kernel is
    asked to signal SIGKILL to our process group when that end closes: no thread is needed, and unlike PDEATHSIG it
    does not depend on which thread of the parent started us. The alarm is the second string, for a program that
    closed the pipe and for systems without F_SETSIG.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    signal.setitimer(signal.ITIMER_REAL, wall_seconds + ALARM_GRACE)
    # Closed before the request was in place: then no signal comes, but the pipe reads as ended.
    return not select.select([lifeline], [], [], 0)[0]


def offer_to_oom_killer() -> None:
    """If the machine runs out of memory, this process goes first. Best effort."""
    with contextlib.suppress(OSError):
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(file, b"1000")
        finally:
            os.close(file)
