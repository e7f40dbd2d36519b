# 95 keys in the kernel's key rings outlive a process
# verdict: error
# says(full no-read-confinement): left: []
"""Leaves a key in the ring of its process (which goes with it), and asks for the rings of its user."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
ADD_KEY, KEYCTL = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
PROCESS_RING = -2


def make_gif(path):
    left = []
    ring = ctypes.c_long(PROCESS_RING)
    if libc.syscall(ctypes.c_long(ADD_KEY), b"user", b"@NAME@", b"x", ctypes.c_long(1), ring) >= 0:
        left.append("key")
    if libc.syscall(ctypes.c_long(KEYCTL), ctypes.c_long(0), ctypes.c_long(-4), ctypes.c_long(0)) >= 0:
        left.append("ring of the user")
    raise ValueError(f"left: {left}")
