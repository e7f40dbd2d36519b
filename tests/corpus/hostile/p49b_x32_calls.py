# 49b x32 system call numbers
# verdict: crashed
# verdict(weak limits-only): output_missing
# says(full no-read-confinement): SIGSYS
# machine: x86_64
"""Uses the numbers of x32, where execve, ptrace and more have second numbers."""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    libc.syscall(ctypes.c_long(0x40000000 + 39))
