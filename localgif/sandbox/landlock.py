"""File system rules of the kernel (Landlock): what no rule names can be neither read nor written. Needs no root.

A process cannot take the rules back. Up to version 7 Landlock does not control modes, owners, times and extended
attributes of files, UDP, sockets with a path, new processes, and descriptors that are open already. Seccomp does.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from localgif.sandbox import syscalls

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


def restrict(handled: Handled, readable: Iterable[Path], scratch: Path | None) -> None:
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
