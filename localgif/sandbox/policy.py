"""What a program may use, and what the name of this level promises.

There is one level so far, "limits-only": a separate process with resource limits, watched from outside. It stops
accidents (endless loops, memory, disk, output) and it keeps a program from forging a result. It does NOT stop malice:
see the two lists at the top of runner.py.
"""

from __future__ import annotations

import os
from typing import Any

from localgif.records import Limits

#: Name of this level in run.json.
LEVEL = "limits-only"

#: Used wherever the caller names no limits.
DEFAULT_LIMITS = Limits()

_NOTES = (
    "the program can read, change and delete whatever this user can, and use the network",
    "only limits and a watch from outside: neither Landlock nor seccomp",
)
_ROOT_NOTE = "running as root: the kernel's process limit does not bind, only the watch ends forks"
_USER_NOTE = "ordinary user: the kernel refuses every new process and thread"


def describe(limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """What run.json stores about the sandbox: the level, every limit, whether root, and notes for people."""
    root = os.geteuid() == 0
    notes = [*_NOTES, _ROOT_NOTE if root else _USER_NOTE]
    return {"level": LEVEL, **limits.model_dump(mode="json"), "root": root, "notes": notes}
