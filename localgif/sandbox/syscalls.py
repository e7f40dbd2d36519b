"""System calls: their numbers on each machine, and the few that are made through ctypes."""

from __future__ import annotations

import ctypes
import os
import platform

#: Architecture as a filter sees it (AUDIT_ARCH_*).
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

#: Landlock's three are new enough to have the same numbers everywhere.
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446

# name: (x86_64, aarch64); None: the machine has no such call.
_TABLE: dict[str, tuple[int | None, int | None]] = {
    "access": (21, None),
    "brk": (12, 214),
    "capset": (126, 91),
    "chdir": (80, 49),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fadvise64": (221, 223),
    "fcntl": (72, 25),
    "fdatasync": (75, 83),
    "fstat": (5, 80),
    "fsync": (74, 82),
    "ftruncate": (77, 46),
    "futex": (202, 98),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "lseek": (8, 62),
    "lstat": (6, None),
    "madvise": (28, 233),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "poll": (7, None),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "pread64": (17, 67),
    "prlimit64": (302, 261),
    "pselect6": (270, 72),
    "pwrite64": (18, 68),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "restart_syscall": (219, 128),
    "rmdir": (84, None),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "select": (23, None),
    "set_robust_list": (273, 99),
    "sigaltstack": (131, 132),
    "stat": (4, None),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "tgkill": (234, 131),
    "time": (201, None),
    "times": (100, 153),
    "umask": (95, 166),
    "uname": (63, 160),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "write": (1, 64),
    "writev": (20, 66),
}

_COLUMN = {"x86_64": 0, "aarch64": 1}


def numbers(machine: str) -> dict[str, int]:
    """Name to number for a machine, without the calls that it does not have.

    Raises:
        KeyError: A machine that the table does not cover.
    """
    column = _COLUMN[machine]
    found = {name: row[column] for name, row in _TABLE.items()}
    return {name: number for name, number in found.items() if number is not None}


_libc = ctypes.CDLL(None, use_errno=True)

_libc.syscall.restype = ctypes.c_long

#: x86_64 or aarch64; for any other machine there are no tables here.
MACHINE = platform.machine()

PR_SET_PDEATHSIG = 1

PR_SET_DUMPABLE = 4

PR_SET_SECCOMP = 22

PR_CAPBSET_DROP = 24

PR_SET_CHILD_SUBREAPER = 36

PR_SET_NO_NEW_PRIVS = 38

PR_CAP_AMBIENT = 47

CLONE_NEWUTS = 0x04000000

CLONE_NEWIPC = 0x08000000

CLONE_NEWUSER = 0x10000000

CLONE_NEWNET = 0x40000000


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, first: int = 0, second: int = 0, third: int = 0) -> int:
    """prctl(2).

    Raises:
        OSError: The kernel refused.
    """
    words = [ctypes.c_ulong(word) for word in (first, second, third, 0)]
    return _checked(_libc.prctl(option, *words), f"prctl({option})")


def syscall(number: int, *arguments: int | ctypes.c_void_p | ctypes.Array[ctypes.c_char] | None) -> int:
    """syscall(2) with integers and pointers.

    Raises:
        OSError: The kernel refused.
    """
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *words), f"system call {number}")


def unshare(flags: int) -> None:
    """unshare(2); os.unshare is there from Python 3.12 on only.

    Raises:
        OSError: The kernel refused.
    """
    _checked(_libc.unshare(flags), "unshare")
