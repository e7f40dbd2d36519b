"""File system rules of the kernel (Landlock): what is not named is neither read nor written. For good, no root needed.

What Landlock does not control, up to its version 7: modes, owners, times and extended attributes of any file, UDP,
sockets with a path, new processes, descriptors that are open already. Those are seccomp's.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
import stat
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from localgif.sandbox import syscalls

_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14

READ = _READ_FILE | _READ_DIR
#: Files and folders, moved about within; no link, FIFO, socket or device, and nothing is executed.
SCRATCH = READ | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _MAKE_DIR | _REMOVE_FILE | _REMOVE_DIR | _REFER
_FILE_RIGHTS = _WRITE_FILE | _READ_FILE | _TRUNCATE

#: What programs draw with, and beside it the folder of its shared libraries.
_PACKAGES = {"PIL": "pillow.libs", "numpy": "numpy.libs"}

#: Fields of the kernel's structure: file system, network (from version 4), scope of signals and sockets (from 6).
_FIELDS_SINCE = (1, 4, 6)


class Handled(NamedTuple):
    """Every right that the kernel knows, a set of bits per field of its structure; refused unless allowed."""

    fields: tuple[int, ...]

    def packed(self) -> bytes:
        return struct.pack(f"={len(self.fields)}Q", *self.fields)


def handled_rights() -> Handled:
    """All rights of the running kernel, those of versions that did not exist when this was written included.

    Raises:
        OSError: No Landlock: ENOSYS (an old kernel, or a container's filter), EOPNOTSUPP (off at boot), EPERM (filter).
    """
    version = syscalls.syscall(syscalls.LANDLOCK_CREATE_RULESET, None, 0, _VERSION_FLAG)
    count = sum(version >= since for since in _FIELDS_SINCE)
    known = [0] * count
    for field in range(count):
        for bit in range(64):
            if not _is_known(field, bit, count):
                break  # rights are numbered without gaps
            known[field] |= 1 << bit
    return Handled(tuple(known))


def _is_known(field: int, bit: int, count: int) -> bool:
    tried = [0] * count
    tried[field] = 1 << bit
    try:
        os.close(_create(Handled(tuple(tried))))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def _create(handled: Handled) -> int:
    packed = handled.packed()
    buffer = ctypes.create_string_buffer(packed, len(packed))
    return syscalls.syscall(syscalls.LANDLOCK_CREATE_RULESET, ctypes.cast(buffer, ctypes.c_void_p), len(packed), 0)


def readable_places() -> list[Path]:
    """What every program may read: Python, its packages, shared libraries, fonts, time zones. Only what exists.

    Not the prefix itself: an environment can be made in somebody's home. Of a home that `pip install --user` put
    packages into, those that programs draw with.
    """
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    bases = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    places = {sysconfig.get_path(name) for name in names} | {sysconfig.get_path(n, vars=bases) for n in names}
    places |= {f"{prefix}/{lib}" for prefix in (sys.base_prefix, "/usr", "/usr/local", "") for lib in ("lib", "lib64")}
    shared = ("fonts", "zoneinfo")
    places |= {f"{prefix}/share/{name}" for prefix in ("/usr", "/usr/local") for name in shared}
    places |= {"/etc/localtime", "/dev/urandom"} | {place for name in _PACKAGES for place in _folders_of(name)}
    real = {Path(place).resolve() for place in places if Path(place).exists()}
    # A rule covers what is beneath: each one less makes every start a little faster.
    return sorted(path for path in real if real.isdisjoint(path.parents))


def _folders_of(package: str) -> Iterator[str]:
    """Where a package lies, with the shared libraries that its wheel brought."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        yield folder
        yield str(Path(folder).parent / _PACKAGES[package])


def restrict(handled: Handled, readable: Iterable[Path], scratch: Path | None) -> None:
    """Applies the rules to this process for good. Needs no_new_privs.

    Args:
        handled: What handled_rights() found.
        readable: Files and folders that may be read.
        scratch: The folder that may be written; None: nothing may.

    Raises:
        OSError: The kernel refused.
    """
    ruleset = _create(handled)
    try:
        for path in readable:
            _allow(ruleset, handled, path, READ)
        _allow(ruleset, handled, Path(os.devnull), READ | _WRITE_FILE | _TRUNCATE)
        if scratch is not None:
            _allow(ruleset, handled, scratch, SCRATCH)
        syscalls.syscall(syscalls.LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, handled: Handled, path: Path, rights: int) -> None:
    rights &= handled.fields[0]  # what the kernel does not know it does not refuse either, nor may it be named
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # what we cannot reach, the program could not read either
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _FILE_RIGHTS  # a rule for a file with rights of folders is refused as a whole
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place))
        pointer = ctypes.cast(rule, ctypes.c_void_p)
        syscalls.syscall(syscalls.LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, pointer, 0)
    finally:
        os.close(place)
