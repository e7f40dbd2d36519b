"""Confines the calling process before it runs untrusted code. No step can be undone.

The keeper calls prepare(); only the confined process calls the rest. No pydantic: every program shares the keeper's
memory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from localgif.sandbox import places, syscalls
from localgif.sandbox.child import Rlimits, apply_rlimits
from localgif.sandbox.protocol import LANDLOCK, NETWORK, PRIVILEGES, RLIMITS, SECCOMP, WRITE_FILTER, LayerUnavailable

_CAPABILITY_VERSION_3 = 0x20080522
#: More than any kernel has; the kernel refuses the first one that it does not know, which ends the loop.
_MOST_CAPABILITIES = 128
_AMBIENT_CLEAR_ALL = 4


class Prepared(NamedTuple):
    """What the keeper asks the kernel once, so that no process has to ask again."""

    handled: Handled | None
    """None: no Landlock here; `why` says why."""
    why: str
    readable: tuple[Path, ...]
    filters: dict[bool, bytes]
    """Templates of the filter of system calls, without and with the write filter; empty on a machine without tables."""


def prepare() -> Prepared:
    """Asks the kernel what it offers."""
    readable = tuple(places.readable())
    filters = {}
    if syscalls.MACHINE in syscalls.AUDIT_ARCH:
        filters = {choice: syscalls.filter_template(syscalls.MACHINE, write_filter=choice) for choice in (False, True)}
    try:
        return Prepared(handled_rights(), "", readable, filters)
    except OSError as error:
        return Prepared(None, os.strerror(error.errno or 0), readable, filters)


def enter(prepared: Prepared, layers: frozenset[str], table: Rlimits, scratch: Path | None) -> list[str]:
    """Confines a fork of the keeper as confine() does; lacks nothing, because confine() raises instead."""
    # The keeper hides its /proc entries from other processes of its user, but it must read ours for the watch.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    offer_to_oom_killer()
    confine(layers, table, prepared, scratch if LANDLOCK in layers else None)
    return []


def confine(layers: frozenset[str], table: Rlimits, prepared: Prepared, scratch: Path | None) -> None:
    """Confines this process, which has one thread and no descriptors except its own.

    Args:
        layers: Names from protocol.py; it ignores the layers that the keeper enforces.
        scratch: The folder that may be written, where Landlock decides; None: nothing may.

    Raises:
        LayerUnavailable: This system does not offer one of the layers.
        OSError: A layer did not take effect.
    """
    refused = apply_rlimits(table) if RLIMITS in layers else []
    if refused:
        raise OSError(f"RLIMIT_{refused[0]} did not take effect")
    if NETWORK in layers:
        _leave_network()
    if layers & {PRIVILEGES, LANDLOCK, SECCOMP}:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if LANDLOCK in layers:
        if prepared.handled is None:
            raise LayerUnavailable(f"Landlock is not available: {prepared.why}")
        try:
            _restrict_files(prepared.handled, prepared.readable, scratch)
        except OSError as error:  # E2BIG: this process is already inside as many rulesets as the kernel allows
            raise LayerUnavailable(f"Landlock is not available: {error}") from error
    if PRIVILEGES in layers:
        _drop_capabilities()
    # Last, because it forbids most of the steps above.
    if SECCOMP in layers:
        install_filter(prepared.filters, write_filter=WRITE_FILTER in layers)


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
    """Moves to a network without devices, if the kernel allows it. Many do not; the probes decide what holds."""
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
        syscalls.load_filter(syscalls.for_process(filters[write_filter], os.getpid()))
    except OSError as error:
        raise LayerUnavailable(f"seccomp is not available: {error}") from error


# --- file system (Landlock) -------------------------------------------------------------------------------------------
#
# What no rule names can be neither read nor written; this needs no root. Up to version 7 Landlock does not control
# modes, owners, times and extended attributes of files, UDP, sockets with a path, new processes, and descriptors that
# are open already. Seccomp does.

_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14

_READ = _READ_FILE | _READ_DIR
#: Files and folders, and moving them within; not links, FIFOs, sockets or devices, and nothing can be executed.
_SCRATCH = _READ | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _MAKE_DIR | _REMOVE_FILE | _REMOVE_DIR | _REFER
_FILE_RIGHTS = _WRITE_FILE | _READ_FILE | _TRUNCATE

#: Fields of the kernel's structure: file system, network (from version 4), scope of signals and sockets (from 6).
_FIELDS_SINCE = (1, 4, 6)


#: Every right that the kernel knows, as bits of each field of its structure; refused unless a rule allows it.
Handled = tuple[int, ...]


def handled_rights() -> Handled:
    """All rights of the running kernel, also those of versions that are newer than this code.

    Raises:
        OSError: No Landlock: ENOSYS (an old kernel, or a container's filter), EOPNOTSUPP (off at boot), EPERM (filter).
    """
    version = syscalls.syscall(syscalls.LANDLOCK_CREATE_RULESET, None, 0, _VERSION_FLAG)
    count = sum(version >= since for since in _FIELDS_SINCE)
    known = [0] * count
    for field in range(count):
        for bit in range(64):
            tried = tuple(1 << bit if other == field else 0 for other in range(count))
            try:
                os.close(create_ruleset(tried))
            except OSError as error:
                if error.errno == errno.EINVAL:
                    break  # rights are numbered without gaps
                raise
            known[field] |= 1 << bit
    return tuple(known)


def create_ruleset(handled: Handled) -> int:
    """Descriptor of a ruleset without a rule yet; an OSError if the kernel refuses."""
    packed = struct.pack(f"={len(handled)}Q", *handled)
    return syscalls.syscall(syscalls.LANDLOCK_CREATE_RULESET, packed, len(packed), 0)


def _restrict_files(handled: Handled, readable: Iterable[Path], scratch: Path | None) -> None:
    """Applies the rules to this process for good, or raises the kernel's OSError. Needs no_new_privs.

    `scratch` is the folder that may be written; None: nothing may.
    """
    ruleset = create_ruleset(handled)
    try:
        for path in readable:
            _allow(ruleset, handled, path, _READ)
        _allow(ruleset, handled, Path(os.devnull), _READ | _WRITE_FILE | _TRUNCATE)
        if scratch is not None:
            _allow(ruleset, handled, scratch, _SCRATCH)
        syscalls.syscall(syscalls.LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, handled: Handled, path: Path, rights: int) -> None:
    rights &= handled[0]  # the kernel does not refuse rights that it does not know, and a rule cannot name them
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # the program cannot read it either
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _FILE_RIGHTS  # the kernel refuses a rule that gives a file the rights of folders
        rule = struct.pack("=Qi", rights, place)
        syscalls.syscall(syscalls.LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(place)


# --- the rest ----------------------------------------------------------------------------------------------------


def die_with(parent: int) -> bool:
    """Asks the kernel to kill this process when its parent ends; returns False if the parent has ended already.

    To the kernel the parent is the thread that forked us, not its process; the keeper has only one thread.
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
