# 41 ptrace a stand-in, through ctypes
# verdict: error
# verdict(limits-only): error
# says(full no-read-confinement weak): traced: []
# may(limits-only): victim
"""Attaches to somebody as a debugger would, and asks for descriptors and memory."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
NUMBERS = {"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312} if X86 else {
    "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272}
SEIZE = 0x4206


def make_gif(path):
    victim = ctypes.c_long(@VICTIM@)
    zero = ctypes.c_long(0)
    traced = []
    tries = {
        "ptrace": (ctypes.c_long(SEIZE), victim, zero, zero),
        "kcmp": (victim, victim, zero, zero, zero),
    }
    for name, arguments in tries.items():
        if libc.syscall(ctypes.c_long(NUMBERS[name]), *arguments) == 0:
            traced.append(name)
    pidfd = libc.syscall(ctypes.c_long(434), victim, zero)
    if pidfd >= 0 and libc.syscall(ctypes.c_long(438), ctypes.c_long(pidfd), zero, zero) >= 0:
        traced.append("pidfd_getfd")
    for name in ("process_vm_readv", "process_vm_writev"):
        here = ctypes.create_string_buffer(8)
        vector = (ctypes.c_void_p * 2)(ctypes.addressof(here), 8)
        there = (ctypes.c_void_p * 2)(0x1000, 8)  # nothing is mapped there: EFAULT if it is allowed
        one = ctypes.c_long(1)
        libc.syscall(ctypes.c_long(NUMBERS[name]), victim, vector, one, there, one, zero)
        if ctypes.get_errno() == 14:
            traced.append(name)
    raise ValueError(f"traced: {traced}")
