"""The allowlist of system calls, and the filter that localgif compiles from it. Only load() has effects, for good.

A filter is a program for the kernel's classic BPF machine. It sees the number of a call and its six arguments, but not
what pointers point to. Calls that are not on the list fail with EPERM; calls of another architecture end the process.

An allowlist also refuses what nobody thought of: prlimit of the parent, setting affinities, pidfds, io_uring, and calls
that future kernels add. A job that draws with Pillow and numpy uses about fourteen calls of the list.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from localgif.sandbox import syscalls

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_MODE_FILTER = 2

_LOAD, _MASK, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
#: Stands for the pid in a template. It is not a pid, and occurs nowhere else in a filter, not even across two numbers.
_ANY_PID = 0xDEAD1DED
#: On x86_64, numbers from here on belong to the x32 interface.
_X32 = 0x40000000

#: struct sock_filter; a jump is the number of instructions to skip.
_INSTRUCTION = struct.Struct("=HBBI")


class Instruction(NamedTuple):
    """One step of a filter."""

    code: int
    jump_true: int
    jump_false: int
    value: int


class OneOf(NamedTuple):
    """The low 32 bits of an argument, all that the kernel reads of an int, are one of these values."""

    argument: int
    values: tuple[int, ...]


class NoneOf(NamedTuple):
    """None of these bits is set in the low 32 bits of an argument."""

    argument: int
    bits: int


class NotAll(NamedTuple):
    """At least one of these bits is not set in the low 32 bits of an argument."""

    argument: int
    bits: int


class OnlyWith(NamedTuple):
    """If one of `bits` is set in the low 32 bits of an argument, one of `others` is set too."""

    argument: int
    bits: int
    others: int


class Null(NamedTuple):
    """All 64 bits of an argument are zero."""

    argument: int


Condition = OneOf | NoneOf | NotAll | OnlyWith | Null
#: Name of a call -> the conditions that must all hold for the filter to allow it.
Rules = Mapping[str, Sequence[Condition]]

_PLAIN = tuple(
    """
    access brk chdir clock_getres clock_gettime clock_nanosleep close dup dup2 dup3 exit exit_group faccessat faccessat2
    fadvise64 fdatasync fstat fsync ftruncate futex getcwd getdents64 getegid geteuid getgid getpid getppid getrandom
    getrlimit getrusage gettid gettimeofday getuid lseek lstat madvise mprotect mremap munmap nanosleep newfstatat
    poll ppoll pread64 pselect6 pwrite64 read readlink readlinkat readv restart_syscall rseq rt_sigaction
    rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield select set_robust_list sigaltstack stat statx sysinfo time
    times umask uname write writev
    """.split()  # noqa: SIM905 (a table)
)
#: Allowed only where Landlock says in which folder.
_FOLDERS = ("mkdir", "mkdirat", "rename", "renameat", "rmdir", "unlink", "unlinkat")

#: fcntl: F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. Not F_SETOWN and F_SETSIG: they send any signal
#: to any process of this user, past every rule about kill.
_FCNTL = (0, 1, 2, 3, 4, 1030)
#: ioctl: TCGETS (is it a terminal?), FIONREAD, FIOCLEX, FIONCLEX.
_IOCTL = (0x5401, 0x541B, 0x5451, 0x5450)
#: Both bits of the access mode together open a file for neither reading nor writing. Landlock lets that pass, and
#: opening a device can have effects even so.
_NEITHER = os.O_ACCMODE
#: O_TRUNC empties even a file that is opened for reading. Landlock before its version 3 (Linux 6.2) treats that as
#: reading, so a program could empty every library that this user may write.
_EMPTYING = os.O_TRUNC
#: Flags of open that can change a file: O_WRONLY and O_RDWR, O_CREAT, O_TRUNC; O_TMPFILE needs one of the first two.
_WRITING = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC

#: mmap: not MAP_SHARED. One mapped page of a deleted file, or of shared memory, keeps all of it uncounted.
_SHARED = 1
#: renameat2: RENAME_NOREPLACE and RENAME_EXCHANGE; RENAME_WHITEOUT leaves a device behind.
_RENAMING = 1 | 2

#: The C library tries these calls first, and falls back to an older call if the kernel lacks them.
_NOT_THERE = {"clone3": errno.ENOSYS, "openat2": errno.ENOSYS}


def rules_for(pid: int, *, write_filter: bool) -> Rules:
    """The rules for the process `pid`: no new process or thread, signals only to itself, no limits raised.

    With `write_filter` it cannot open anything for writing, nor change a name in a folder.
    """
    rules: dict[str, Sequence[Condition]] = dict.fromkeys(_PLAIN, ())
    rules["kill"] = rules["tgkill"] = [OneOf(0, (pid,))]
    rules["prlimit64"] = [OneOf(0, (0, pid)), Null(2)]
    rules["fcntl"] = [OneOf(1, _FCNTL)]
    rules["ioctl"] = [OneOf(1, _IOCTL)]
    rules["mmap"] = [NoneOf(3, _SHARED)]
    rules["open"] = [NotAll(1, _NEITHER), OnlyWith(1, _EMPTYING, os.O_ACCMODE)]
    rules["openat"] = [NotAll(2, _NEITHER), OnlyWith(2, _EMPTYING, os.O_ACCMODE)]
    if write_filter:
        rules["open"] = [NoneOf(1, _WRITING)]
        rules["openat"] = [NoneOf(2, _WRITING)]
    else:
        rules.update(dict.fromkeys(_FOLDERS, ()))
        rules["renameat2"] = [NoneOf(4, 0xFFFFFFFF & ~_RENAMING)]
    return rules


def compile_rules(rules: Rules, machine: str) -> list[Instruction]:
    """The filter for some rules; a KeyError if the tables lack the machine, or a call that it has."""
    numbers = syscalls.numbers(machine)
    program = [
        Instruction(_LOAD, 0, 0, _ARCH_AT),
        Instruction(_EQUAL, 1, 0, syscalls.AUDIT_ARCH[machine]),
        _answer(KILL_PROCESS),
        Instruction(_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [Instruction(_AT_LEAST, 0, 1, _X32), _answer(KILL_PROCESS)]
    for name, conditions in rules.items():
        if name in numbers:  # aarch64 lacks the old calls that take no folder
            block = [step for condition in conditions for step in _test(condition)] + [_answer(ALLOW)]
            program += [Instruction(_EQUAL, 0, len(block), numbers[name]), *block]
    for name, number in _NOT_THERE.items():
        program += [Instruction(_EQUAL, 0, 1, numbers[name]), _answer(_ERRNO | number)]
    return [*program, _answer(_ERRNO | errno.EPERM)]


def _answer(value: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, value)


def _test(condition: Condition) -> list[Instruction]:
    """Steps that continue after their end if the condition holds, and refuse the call otherwise."""
    low = _ARGUMENTS_AT + 8 * condition.argument  # both machines are little-endian
    load = Instruction(_LOAD, 0, 0, low)
    refused = _answer(_ERRNO | errno.EPERM)
    match condition:
        case OneOf(_, values):
            tests = [Instruction(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
        case NoneOf(_, bits):
            tests = [Instruction(_ANY_BIT, 0, 1, bits)]
        case NotAll(_, bits):
            tests = [Instruction(_MASK, 0, 0, bits), Instruction(_EQUAL, 0, 1, bits)]
        case OnlyWith(_, bits, others):
            tests = [Instruction(_ANY_BIT, 0, 2, bits), Instruction(_ANY_BIT, 1, 0, others)]
        case Null(_):
            is_zero = Instruction(_EQUAL, 1, 0, 0)
            tests = [is_zero, refused, Instruction(_LOAD, 0, 0, low + 4), is_zero]
    return [load, *tests, refused]


def pack(program: Sequence[Instruction]) -> bytes:
    """A filter as the kernel takes it."""
    return b"".join(_INSTRUCTION.pack(*step) for step in program)


def template(machine: str, *, write_filter: bool) -> bytes:
    """The packed filter of rules_for() for a process that does not exist yet, see for_process(); a KeyError on a
    machine without tables."""
    return pack(compile_rules(rules_for(_ANY_PID, write_filter=write_filter), machine))


def for_process(code: bytes, pid: int) -> bytes:
    """A template with the pid filled in."""
    return code.replace(struct.pack("=I", _ANY_PID), struct.pack("=I", pid))


def load(code: bytes) -> None:
    """Installs a packed filter in this process and its descendants, for good. Needs no_new_privs.

    Raises:
        OSError: The kernel has no seccomp filters, or forbids this one.
    """
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(buffer)))
    syscalls.prctl(syscalls.PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(header))
