# 33b every call that makes a process
# verdict: error
# verdict(root weak limits-only): error process_limit
# says(full no-read-confinement): made: []
"""Tries each system call that makes a process; the children end at once."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"


def make_gif(path):
    made = []
    clone, fork = (56, 57) if X86 else (220, 220)
    arguments = (ctypes.c_ulong * 11)(0, 0, 0, 0, 17)  # clone_args: exit_signal SIGCHLD
    for name, call in {
        "fork": lambda: libc.syscall(ctypes.c_long(fork), *([] if X86 else [ctypes.c_long(17)] + [None] * 4)),
        "clone": lambda: libc.syscall(ctypes.c_long(clone), ctypes.c_long(17), None, None, None, None),
        "clone3": lambda: libc.syscall(ctypes.c_long(435), arguments, ctypes.c_long(88)),
        "os.fork": os.fork,
    }.items():
        try:
            pid = call()
        except OSError:
            continue
        if pid == 0:
            os._exit(0)
        if pid > 0:
            made.append(name)
    raise ValueError(f"made: {made}")
