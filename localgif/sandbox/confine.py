"""What a process does to itself before it runs untrusted code, and in which order. It cannot take anything back.

The keeper calls prepare(); only the confined process calls the rest. No pydantic: every program shares the keeper's
memory.
"""

from __future__ import annotations

import contextlib
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

#: Stack of a process whose own limit is "unlimited", bytes ("unlimited" would also change the memory layout).
_STACK_BYTES = 8 * 2**20

_CAPABILITY_VERSION_3 = 0x20080522
#: More than any kernel has; the kernel refuses the first one that it does not know, which ends the loop.
_MOST_CAPABILITIES = 128
_AMBIENT_CLEAR_ALL = 4


class LayerUnavailable(Exception):
    """This kernel, or whatever runs this process (a container), does not offer a layer."""


class Prepared(NamedTuple):
    """What the keeper finds out once, so that no process has to ask again."""

    handled: landlock.Handled | None
    """None: no Landlock here; `why` says why."""
    why: str
    readable: tuple[Path, ...]
    filters: dict[bool, bytes]
    """Templates of the filter of system calls, without and with the write filter; empty on a machine without tables."""


def prepare() -> Prepared:
    """Asks the kernel what it offers."""
    readable = tuple(landlock.readable_places())
    filters = {}
    if syscalls.MACHINE in syscalls.AUDIT_ARCH:
        filters = {choice: seccomp.template(syscalls.MACHINE, write_filter=choice) for choice in (False, True)}
    try:
        return Prepared(landlock.handled_rights(), "", readable, filters)
    except OSError as error:
        return Prepared(None, os.strerror(error.errno or 0), readable, filters)


def confine(layers: frozenset[str], table: Rlimits, prepared: Prepared, scratch: Path | None) -> None:
    """Confines this process, which has one thread and only the descriptors that it should have.

    Args:
        layers: Names from protocol.py; it ignores the layers that the keeper enforces.
        scratch: The folder that may be written, where Landlock decides; None: nothing may.

    Raises:
        LayerUnavailable: This system does not offer one of the layers.
        OSError: A layer did not take effect.
    """
    if RLIMITS in layers:
        _apply_rlimits(table)
    if NETWORK in layers:
        _leave_network()
    if layers & {PRIVILEGES, LANDLOCK, SECCOMP}:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if LANDLOCK in layers:
        if prepared.handled is None:
            raise LayerUnavailable(f"Landlock is not available: {prepared.why}")
        try:
            landlock.restrict(prepared.handled, prepared.readable, scratch)
        except OSError as error:  # E2BIG: this process is already inside as many rulesets as the kernel allows
            raise LayerUnavailable(f"Landlock is not available: {error}") from error
    if PRIVILEGES in layers:
        _drop_capabilities()
    # Last, because it forbids most of the steps above.
    if SECCOMP in layers:
        install_filter(prepared.filters, write_filter=WRITE_FILTER in layers)


# --- resource limits ---------------------------------------------------------------------------------------------


#: Name of each resource limit, without RLIMIT_ -> its soft and its hard value.
Rlimits = Mapping[str, tuple[int, int]]


def rlimits(limits: Mapping[str, float], *, file_size: int, root: bool) -> Rlimits:
    """The resource limits for `limits` (fields of records.Limits); `file_size` in bytes is the largest file."""
    cpu = math.ceil(limits["cpu_seconds"])
    values: dict[str, float] = {
        "AS": limits["address_space"],
        "FSIZE": file_size,
        "NOFILE": limits["open_files"],
        "STACK": _STACK_BYTES,
        # 1, because with 0 the kernel still starts the program that a system collects core dumps with.
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


def _apply_rlimits(table: Rlimits) -> None:
    """Sets every limit that this system knows, never above the one already in force, and reads it back."""
    for name, (soft, hard) in table.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            continue
        ceiling = resource.getrlimit(number)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(number, (soft, hard))
        if resource.getrlimit(number) != (soft, hard):
            raise OSError(f"RLIMIT_{name} did not take effect")


# --- privileges, network, system calls ---------------------------------------------------------------------------


def _drop_capabilities() -> None:
    """Gives up every capability, and for root the way back to them through a setuid program."""
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
    if syscalls.MACHINE not in syscalls.AUDIT_ARCH:
        raise LayerUnavailable(f"capabilities cannot be dropped on a machine of type {syscalls.MACHINE}")
    capset = syscalls.numbers(syscalls.MACHINE)["capset"]
    syscalls.syscall(capset, struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24))


def _leave_network() -> None:
    """Moves to a network without devices, if the kernel allows it. Many do not; the probes find out what holds."""
    flags = syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
    uid, gid = os.geteuid(), os.getegid()
    with contextlib.suppress(OSError):
        if uid == 0:
            syscalls.unshare(flags)
            return
        syscalls.unshare(flags | syscalls.CLONE_NEWUSER)
        # The same user inside as outside, so that the owner of a file means the same.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def install_filter(filters: Mapping[bool, bytes], *, write_filter: bool) -> None:
    """Loads the filter of system calls; raises LayerUnavailable on a kernel without filters, or an unknown machine."""
    if not filters:
        raise LayerUnavailable(f"there is no table of system calls for a machine of type {syscalls.MACHINE}")
    try:
        seccomp.load(seccomp.for_process(filters[write_filter], os.getpid()))
    except OSError as error:
        raise LayerUnavailable(f"seccomp is not available: {error}") from error


# --- the rest ----------------------------------------------------------------------------------------------------


def reset_signals() -> None:
    """Restores every signal that a parent may have blocked or ignored, but for the two that Python itself ignores."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        with contextlib.suppress(OSError, ValueError):  # SIGKILL and SIGSTOP
            signal.signal(number, signal.SIG_DFL)


def die_with(parent: int) -> bool:
    """Has the kernel kill this process when its parent ends; False: the parent has ended already.

    The kernel means the thread that forked us, not the process, and the keeper has only one.
    """
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def offer_to_oom_killer() -> None:
    """If the machine runs out of memory, the kernel ends this process before the keeper. Best effort."""
    with contextlib.suppress(OSError):
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(file, b"1000")
        finally:
            os.close(file)
