"""Names of the layers and of the levels that are made of them. No imports: the keeper and the confined process load it.

A layer is one thing that holds a program back; tests run programs with single layers switched off to see that each is
needed. Always there, and no layer: a session and a process of its own, a clean environment, no descriptor of ours, the
timer of elapsed time, death with the keeper, and the intake that takes nothing on trust.
"""

from __future__ import annotations

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
