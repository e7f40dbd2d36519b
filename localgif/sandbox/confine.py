"""What a process does to itself before it runs a stranger's code, in this order. Nothing of it can be taken back.

Every function here is called in the confined process, never in ours (but prepare(), in the keeper). No pydantic: every
program shares what the keeper has loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import resource
import signal
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from localgif.sandbox import landlock, seccomp, syscalls
from localgif.sandbox.protocol import LANDLOCK, NETWORK, PRIVILEGES, RLIMITS, SECCOMP, WRITE_FILTER

#: Stack of a process whose own limit is "unlimited" (which would also change how memory is laid out).
STACK_BYTES = 8 * 2**20

_CAPABILITY_VERSION_3 = 0x20080522
#: More than any kernel has; asking to drop one that it does not know ends the loop.
_MOST_CAPABILITIES = 128
_AMBIENT_CLEAR_ALL = 4


class LayerUnavailable(Exception):
    """This kernel, or what runs this process (a container), does not offer a layer."""


class Prepared(NamedTuple):
    """What the keeper finds out once, so that no process has to ask again."""

    handled: landlock.Handled | None
    """None: no Landlock here; `why` says why."""
    why: str
    readable: tuple[Path, ...]
    filters: dict[bool, bytes]
    """Templates of the filter of system calls, without and with the write filter; empty on a machine without tables."""


def prepare() -> Prepared:
    """Asks the kernel for what it has."""
    readable = tuple(landlock.readable_places())
    filters = {}
    if syscalls.MACHINE in syscalls.AUDIT_ARCH:
        filters = {choice: seccomp.template(syscalls.MACHINE, write_filter=choice) for choice in (False, True)}
    try:
        return Prepared(landlock.handled_rights(), "", readable, filters)
    except OSError as error:
        return Prepared(None, os.strerror(error.errno or 0), readable, filters)


def confine(
    layers: frozenset[str],
    table: list[Rlimit],
    prepared: Prepared,
    scratch: Path | None,
) -> None:
    """Confines this process with the given layers. It has one thread, and no descriptor that it should not have.

    Args:
        layers: Names from layers.py; those of the keeper are none of its business.
        table: The resource limits.
        prepared: What prepare() found.
        scratch: The folder that may be written, where Landlock decides; None: nothing may.

    Raises:
        LayerUnavailable: This system does not offer one of the layers.
        OSError: A layer did not take.
    """
    if RLIMITS in layers:
        apply_rlimits(table)
    if NETWORK in layers:
        leave_network()
    if layers & {PRIVILEGES, LANDLOCK, SECCOMP}:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if LANDLOCK in layers:
        if prepared.handled is None:
            raise LayerUnavailable(f"Landlock is not available: {prepared.why}")
        try:
            landlock.restrict(prepared.handled, prepared.readable, scratch)
        except OSError as error:  # E2BIG: this process is inside of as many rulesets as the kernel allows
            raise LayerUnavailable(f"Landlock is not available: {error}") from error
    if PRIVILEGES in layers:
        drop_capabilities()
    # Last: it forbids most of what is done above.
    if SECCOMP in layers:
        install_filter(prepared.filters, write_filter=WRITE_FILTER in layers)


# --- resource limits ---------------------------------------------------------------------------------------------


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
                # 1 and not 0: the kernel still starts the program that a system collects core dumps with for 0.
                "CORE": 1,
                "MEMLOCK": 0,
                "MSGQUEUE": 0,
                "RTPRIO": 0,
            }.items()
        ),
    ]
    # The kernel counts all processes and threads of the user, so only 0 is a number that means anything; and it
    # exempts root, for whom seccomp and the watch count.
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


# --- privileges, network, system calls ---------------------------------------------------------------------------


def drop_capabilities() -> None:
    """Gives up every capability, and for root the way back to them through a setuid program.

    Raises:
        OSError: The kernel refused.
    """
    for number in range(_MOST_CAPABILITIES):
        try:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                break  # past the last one
            if error.errno != errno.EPERM:  # an ordinary user: no_new_privs has the same effect
                raise
    with contextlib.suppress(OSError):  # kernels before 4.3 have none
        syscalls.prctl(syscalls.PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    nothing = ctypes.create_string_buffer(24)
    if syscalls.MACHINE not in syscalls.AUDIT_ARCH:
        raise LayerUnavailable(f"capabilities cannot be dropped on a machine of type {syscalls.MACHINE}")
    capset = syscalls.numbers(syscalls.MACHINE)["capset"]
    syscalls.syscall(capset, ctypes.cast(header, ctypes.c_void_p), ctypes.cast(nothing, ctypes.c_void_p))


def leave_network() -> None:
    """Moves to a network without devices, if the kernel lets us. Many do not; what counts is what the probes find."""
    flags = syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
    uid, gid = os.geteuid(), os.getegid()
    with contextlib.suppress(OSError):
        if uid == 0:
            syscalls.unshare(flags)
            return
        syscalls.unshare(flags | syscalls.CLONE_NEWUSER)
        # The same user inside as outside, so that who owns a file means what it meant before.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def install_filter(filters: Mapping[bool, bytes], *, write_filter: bool) -> None:
    """Loads the filter of system calls.

    Raises:
        LayerUnavailable: No filters here, or an unknown machine.
    """
    if not filters:
        raise LayerUnavailable(f"there is no table of system calls for a machine of type {syscalls.MACHINE}")
    try:
        seccomp.load(seccomp.for_process(filters[write_filter], os.getpid()))
    except OSError as error:
        raise LayerUnavailable(f"seccomp is not available: {error}") from error


# --- the rest ----------------------------------------------------------------------------------------------------


def reset_signals() -> None:
    """A parent may have blocked or ignored signals that our limits rely on."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGXCPU, signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def die_with(parent: int) -> bool:
    """Arranges that the kernel kills this process when its parent ends; False: that has happened already.

    The kernel means the thread that forked us, not the process: sound because the keeper has only one.
    """
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def offer_to_oom_killer() -> None:
    """If the machine runs out of memory, this process goes first, before the keeper. Best effort."""
    with contextlib.suppress(OSError):
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(file, b"1000")
        finally:
            os.close(file)
