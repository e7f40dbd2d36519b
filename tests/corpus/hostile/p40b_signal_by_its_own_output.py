# 40b the same with what is open already, and with the commands that a filter may have forgotten
# verdict: error
# says(full no-read-confinement): allowed: []
# hits(limits-only): victim
"""Aims standard output at somebody, with rubbish in the upper half of the command, and by F_SETOWN_EX."""

import ctypes
import fcntl
import os
import signal
import struct

libc = ctypes.CDLL(None, use_errno=True)
NUMBER = 72 if os.uname().machine == "x86_64" else 25
F_SETOWN_EX, F_SETSIG = 15, 10


def make_gif(path):
    try:
        watched, written = os.pipe()
    except OSError:
        watched = written = 1  # its reader is the parent
    allowed = []
    owner = struct.pack("ii", 1, @VICTIM@)
    for name, command, argument in (
        ("setown", fcntl.F_SETOWN, ctypes.c_long(@VICTIM@)),
        ("setown wide", fcntl.F_SETOWN | 1 << 32, ctypes.c_long(@VICTIM@)),
        ("setown_ex", F_SETOWN_EX, owner),
        ("setown_ex wide", F_SETOWN_EX | 1 << 40, owner),
        ("setsig", F_SETSIG, ctypes.c_long(signal.SIGKILL)),
        ("setsig wide", F_SETSIG | 0xFFFFFFFF << 32, ctypes.c_long(signal.SIGKILL)),
    ):
        if libc.syscall(ctypes.c_long(NUMBER), ctypes.c_long(watched), ctypes.c_ulong(command), argument) == 0:
            allowed.append(name)
    flags = fcntl.fcntl(watched, fcntl.F_GETFL)
    fcntl.fcntl(watched, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    for _ in range(10):
        os.write(written, b"signal\n")
    raise ValueError(f"allowed: {allowed}")
