"""How many threads llama.cpp gets: physical cores that this process may really use.

Two threads on one core slow llama.cpp down, and threads beyond a container's quota fall asleep in its busy loops.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Physical cores among the allowed CPUs, at most as many as the container's CPU quota; at least 1."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = physical_cores(_read(_CPUINFO), allowed) or len(allowed)
    return max(1, min(cores, quota_cores(_read(_QUOTA)) or cores))


def physical_cores(cpuinfo: str, allowed: set[int]) -> int:
    """Different (socket, core) pairs of the allowed CPUs in the text of /proc/cpuinfo; 0 when it does not say."""
    pairs = set()
    for block in cpuinfo.split("\n\n"):
        fields = {
            name.strip(): value.strip() for name, _, value in (line.partition(":") for line in block.splitlines())
        }
        if "core id" in fields and fields.get("processor", "").isdigit() and int(fields["processor"]) in allowed:
            pairs.add((fields.get("physical id"), fields["core id"]))
    return len(pairs)


def quota_cores(cpu_max: str) -> int:
    """Whole cores in the text of cgroup v2's cpu.max ("150000 100000" is 2); 0 when there is no quota."""
    quota, _, period = cpu_max.strip().partition(" ")
    if not (quota.isdigit() and period.isdigit()) or int(period) == 0:
        return 0
    return math.ceil(int(quota) / int(period))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
