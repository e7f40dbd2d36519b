"""System calls: their numbers on each machine, and the few that localgif makes through ctypes."""

from __future__ import annotations

import ctypes
import os
import platform

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
