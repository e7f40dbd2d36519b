# 125 3,000 files of one byte, deleted and mapped: 12 MB of disk that nobody counts (blocks, not bytes)
# verdict: disk_limit output_missing cpu_limit
# limits: roomy
# verdict(no-read-confinement): error
"""Keeps deleted files of one byte, each of which takes a block: what remains open of 23d."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
READ, PRIVATE = 1, 2


def make_gif(path):
    for number in range(3_000):
        file = os.open("small", os.O_RDWR | os.O_CREAT, 0o600)
        os.unlink("small")
        os.write(file, b"x")
        libc.mmap(None, ctypes.c_size_t(4096), READ, PRIVATE, file, ctypes.c_long(0))
        os.close(file)
