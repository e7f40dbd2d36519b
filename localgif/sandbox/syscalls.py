"""System calls: the few that localgif makes, and the filter (seccomp) of those that programs may make.

A filter is a program for the kernel's classic BPF machine. It sees the number of a call and its six arguments, but not
what pointers point to. Calls that are not on the list fail with EPERM; calls of another architecture end the process.

An allowlist also refuses what nobody thought of: prlimit of the parent, setting affinities, pidfds, io_uring, and calls
that future kernels add. A job that draws with Pillow and numpy uses about fourteen calls of the list.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: x86_64 or aarch64; there are no tables for any other machine.
MACHINE = platform.machine()

#: The architecture as a filter sees it (AUDIT_ARCH_*).
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

#: Landlock's three calls are new enough to have the same numbers everywhere.
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 36, 38, 47

CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x04000000, 0x08000000, 0x10000000, 0x40000000

#: Name, number on x86_64, number on aarch64; "-": the machine lacks the call.
_TABLE = """
    access 21 -                  brk 12 214                   capset 126 91                chdir 80 49
    clock_getres 229 114         clock_gettime 228 113        clock_nanosleep 230 115      clone 56 220
    clone3 435 435               close 3 57                   dup 32 23                    dup2 33 -
    dup3 292 24                  exit 60 93                   exit_group 231 94            faccessat 269 48
    faccessat2 439 439           fadvise64 221 223            fcntl 72 25                  fdatasync 75 83
    fstat 5 80                   fsync 74 82                  ftruncate 77 46              futex 202 98
    getcwd 79 17                 getdents64 217 61            getegid 108 177              geteuid 107 175
    getgid 104 176               getpid 39 172                getppid 110 173              getrandom 318 278
    getrlimit 97 163             getrusage 98 165             gettid 186 178               gettimeofday 96 169
    getuid 102 174               ioctl 16 29                  kill 62 129                  lseek 8 62
    lstat 6 -                    madvise 28 233               mkdir 83 -                   mkdirat 258 34
    mmap 9 222                   mprotect 10 226              mremap 25 216                munmap 11 215
    nanosleep 35 101             newfstatat 262 79            open 2 -                     openat 257 56
    openat2 437 437              poll 7 -                     ppoll 271 73                 prctl 157 167
    pread64 17 67                prlimit64 302 261            pselect6 270 72              pwrite64 18 68
    read 0 63                    readlink 89 -                readlinkat 267 78            readv 19 65
    rename 82 -                  renameat 264 38              renameat2 316 276            restart_syscall 219 128
    rmdir 84 -                   rseq 334 293                 rt_sigaction 13 134          rt_sigprocmask 14 135
    rt_sigreturn 15 139          sched_getaffinity 204 123    sched_yield 24 124           select 23 -
    set_robust_list 273 99       sigaltstack 131 132          stat 4 -                     statx 332 291
    sysinfo 99 179               tgkill 234 131               time 201 -                   times 100 153
    umask 95 166                 uname 63 160                 unlink 87 -                  unlinkat 263 35
    write 1 64                   writev 20 66
"""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def numbers(machine: str) -> dict[str, int]:
    """Number of each call on a machine, without the calls that it lacks; a KeyError for any other machine."""
    column = {"x86_64": 1, "aarch64": 2}[machine]
    cells = _TABLE.split()
    return {name: int(number) for name, number in zip(cells[::3], cells[column::3], strict=True) if number != "-"}


def prctl(option: int, first: int = 0, second: int = 0, third: int = 0) -> int:
    """prctl(2); an OSError if the kernel refuses, like the next two."""
    words = [ctypes.c_ulong(word) for word in (first, second, third, 0)]
    return _checked(_libc.prctl(option, *words), f"prctl({option})")


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """syscall(2); it passes bytes by address, in a copy that the kernel may change."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word and _buffer(word) for word in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *words), f"system call {number}")


def unshare(flags: int) -> None:
    """unshare(2); Python has os.unshare only from 3.12 on."""
    _checked(_libc.unshare(flags), "unshare")


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


# --- what programs may call (seccomp) ---------------------------------------------------------------------------------

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
    known = numbers(machine)
    program = [
        Instruction(_LOAD, 0, 0, _ARCH_AT),
        Instruction(_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        _answer(KILL_PROCESS),
        Instruction(_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [Instruction(_AT_LEAST, 0, 1, _X32), _answer(KILL_PROCESS)]
    for name, conditions in rules.items():
        if name in known:  # aarch64 lacks the old calls that take no folder
            block = [step for condition in conditions for step in _test(condition)] + [_answer(ALLOW)]
            program += [Instruction(_EQUAL, 0, len(block), known[name]), *block]
    for name, number in _NOT_THERE.items():
        program += [Instruction(_EQUAL, 0, 1, known[name]), _answer(_ERRNO | number)]
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


def pack_filter(program: Sequence[Instruction]) -> bytes:
    """A filter as the kernel takes it."""
    return b"".join(_INSTRUCTION.pack(*step) for step in program)


def filter_template(machine: str, *, write_filter: bool) -> bytes:
    """The packed filter of rules_for() for a process that does not exist yet, see for_process(); a KeyError on a
    machine without tables."""
    return pack_filter(compile_rules(rules_for(_ANY_PID, write_filter=write_filter), machine))


def for_process(code: bytes, pid: int) -> bytes:
    """A template with the pid filled in."""
    return code.replace(struct.pack("=I", _ANY_PID), struct.pack("=I", pid))


def load_filter(code: bytes) -> None:
    """Installs a packed filter in this process and its descendants, for good. Needs no_new_privs.

    Raises:
        OSError: The kernel has no seccomp filters, or forbids this one.
    """
    buffer = _buffer(code)
    header = _buffer(struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(buffer)))
    prctl(PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(header))
