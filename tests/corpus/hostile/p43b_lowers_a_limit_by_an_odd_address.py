# 43b prlimit with new limits at an address whose lower half is 0: a filter that compares 32 bits sees NULL
# verdict: error
# says(full no-read-confinement): set: False
# says(weak limits-only): set: True
"""Hides a pointer from the filter."""

import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
PRLIMIT = 302 if os.uname().machine == "x86_64" else 261
ADDRESS = 0x7_0000_0000
MAP_FIXED_NOREPLACE_ANONYMOUS_PRIVATE = 0x100022


def make_gif(path):
    place = libc.mmap(
        ctypes.c_void_p(ADDRESS), ctypes.c_long(4096), 3, MAP_FIXED_NOREPLACE_ANONYMOUS_PRIVATE, -1, ctypes.c_long(0)
    )
    if place != ADDRESS:
        raise OSError("no memory there")
    ctypes.memmove(ADDRESS, struct.pack("QQ", 9, 9), 16)
    done = libc.syscall(ctypes.c_long(PRLIMIT), ctypes.c_long(0), ctypes.c_long(7), ctypes.c_void_p(ADDRESS), None)
    raise ValueError(f"set: {done == 0}")
