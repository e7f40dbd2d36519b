"""Resource limits of the kernel: which ones a job gets, and how a process sets them for itself."""

from __future__ import annotations

import math
import resource
from collections.abc import Mapping

#: Name of each resource limit, without RLIMIT_ -> its soft and its hard value.
Rlimits = Mapping[str, tuple[int, int]]

#: Stack of a process whose own limit is "unlimited", bytes ("unlimited" would also change the memory layout).
_STACK_BYTES = 8 * 2**20


def table(limits: Mapping[str, float], *, file_size: int, root: bool, used: float = 0.0) -> Rlimits:
    """The resource limits for `limits`, the fields of records.Limits.

    Args:
        file_size: The largest file, bytes.
        used: CPU time that the process has used before its job, seconds.
    """
    cpu = math.ceil(used + limits["cpu_seconds"])
    values: dict[str, float] = {
        "AS": limits["address_space"],
        "FSIZE": file_size,
        "NOFILE": limits["open_files"],
        "STACK": _STACK_BYTES,
        # 1, because with 0 the kernel still starts the system's collector of core dumps.
        "CORE": 1,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
        "RTPRIO": 0,
    }
    # The kernel counts all processes and threads of the user, so only 0 is a useful limit. It does not apply to root:
    # there seccomp and the watch do the work.
    if not root and limits["processes"] <= 1:
        values["NPROC"] = 0
    # CPU: SIGXCPU at the soft limit, and SIGKILL a second later for a program that ignores it.
    return {"CPU": (cpu, cpu + 1), **{name: (int(value), int(value)) for name, value in values.items()}}


def apply(wanted: Rlimits) -> list[str]:
    """Sets every limit that this system knows, never above the one already in force, and reads it back.

    Returns:
        The names of limits that the system knows and that did not take effect.
    """
    refused = []
    for name, (soft, hard) in wanted.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            continue
        ceiling = resource.getrlimit(number)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError):
            refused.append(name)
            continue
        if resource.getrlimit(number) != (soft, hard):
            refused.append(name)
    return refused
