"""Makes the kernel refuse something to this process and its children, as an older kernel or a container would."""

from __future__ import annotations

import errno

from localgif.sandbox import syscalls
from localgif.sandbox.seccomp import ALLOW, Instruction, load, pack

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO = 0x50000
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16
#: On every machine.
_LANDLOCK = (
    syscalls.LANDLOCK_CREATE_RULESET,
    syscalls.LANDLOCK_ADD_RULE,
    syscalls.LANDLOCK_RESTRICT_SELF,
)

#: Rights to files, to the network, and scopes, by the version of Landlock that brought them.
_RIGHTS = {1: (13,), 2: (14,), 3: (15,), 4: (15, 2), 5: (16, 2), 6: (16, 2, 2)}


def boot_with_landlock(version: int) -> str:
    """What a keeper runs first so that it uses no right that this version of Landlock did not have."""
    masks = tuple((1 << count) - 1 for count in _RIGHTS[version])
    return (
        "import sys; sys.path.insert(0, sys.argv[-1]); from localgif.sandbox import landlock as l; "
        "r = l.handled_rights; "
        f"l.handled_rights = lambda: tuple(have & mask for have, mask in zip(r(), {masks}));"
    )


def lack(thing: str, error: str) -> None:
    """Refuses "landlock" or "seccomp" with the named error, for good. Seccomp last: this is done with it."""
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    number = getattr(errno, error)
    if thing == "landlock":
        load(pack(_refusing_calls(_LANDLOCK, number)))
    else:
        load(pack(_refusing_prctl(syscalls.PR_SET_SECCOMP, number)))


def _refusing_calls(calls: tuple[int, ...], number: int) -> list[Instruction]:
    number_of = Instruction(_LOAD, 0, 0, _NUMBER_AT)
    tests = [
        step
        for call in calls
        for step in (Instruction(_EQUAL, 0, 1, call), Instruction(_RETURN, 0, 0, _ERRNO | number))
    ]
    return [number_of, *tests, Instruction(_RETURN, 0, 0, ALLOW)]


def _refusing_prctl(option: int, number: int) -> list[Instruction]:
    allow = Instruction(_RETURN, 0, 0, ALLOW)
    return [
        Instruction(_LOAD, 0, 0, _NUMBER_AT),
        Instruction(_EQUAL, 1, 0, syscalls.numbers(syscalls.MACHINE)["prctl"]),
        allow,
        Instruction(_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        Instruction(_EQUAL, 0, 1, option),
        Instruction(_RETURN, 0, 0, _ERRNO | number),
        allow,
    ]
