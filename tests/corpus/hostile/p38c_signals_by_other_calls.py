# 38c the other ways to send a signal
# verdict: error
# says(full no-read-confinement weak): sent: []
# hits(limits-only): victim
"""Sends a signal with every call that can."""

import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
NUMBERS = {"tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297} if X86 else {
    "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240}


def make_gif(path):
    victim, number = ctypes.c_long(@VICTIM@), ctypes.c_long(signal.SIGTERM)
    info = (ctypes.c_int * 32)(signal.SIGTERM, 0, -1)  # si_code SI_QUEUE
    sent = []
    pidfd = libc.syscall(ctypes.c_long(434), victim, ctypes.c_long(0))
    tries = {
        "tkill": (victim, number),
        "tgkill": (victim, victim, number),
        "rt_sigqueueinfo": (victim, number, info),
        "rt_tgsigqueueinfo": (victim, victim, number, info),
    }
    for name, arguments in tries.items():
        if libc.syscall(ctypes.c_long(NUMBERS[name]), *arguments) == 0:
            sent.append(name)
    if pidfd >= 0 and libc.syscall(ctypes.c_long(424), ctypes.c_long(pidfd), number, None, ctypes.c_long(0)) == 0:
        sent.append("pidfd_send_signal")
    raise ValueError(f"sent: {sent}")
