# 23e the same with more files than may be open: a mapping keeps a file as well
# verdict: disk_limit
# verdict(no-read-confinement): error
# says(full weak limits-only): wrote more than
"""Writes 60 files of 3 MB, deletes each and keeps one page of it mapped."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
READ, SHARED = 1, 1


def make_gif(path):
    for number in range(60):
        with open(f"{path}.{number}", "w+b") as file:
            os.unlink(file.name)
            file.write(bytes(3 * 2**20))
            file.flush()
            libc.mmap(None, ctypes.c_size_t(4096), READ, SHARED, file.fileno(), ctypes.c_long(0))
