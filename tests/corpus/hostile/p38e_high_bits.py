# 38e a pid with rubbish in its upper half is the same pid for the kernel
# verdict: error
# says(full no-read-confinement weak): sent: []
# hits(limits-only): victim
"""Signals somebody by numbers that only a 64-bit comparison would tell apart."""

import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
NUMBER = 62 if os.uname().machine == "x86_64" else 129


def make_gif(path):
    sent = []
    for high in (0, 1, 0xFFFFFFFF):
        pid = ctypes.c_ulong(@VICTIM@ | high << 32)
        if libc.syscall(ctypes.c_long(NUMBER), pid, ctypes.c_long(signal.SIGTERM)) == 0:
            sent.append(high)
    raise ValueError(f"sent: {sent}")
