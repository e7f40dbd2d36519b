# 61c mlock: memory that cannot be paged out
# verdict: error
# says(full no-read-confinement): locked: False
# says(user): locked: False
"""Locks its memory."""

import ctypes
import mmap

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    page = mmap.mmap(-1, 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    place = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    locked = libc.mlock(place, ctypes.c_long(2**20)) == 0 or libc.mlockall(3) == 0
    raise ValueError(f"locked: {locked}")
