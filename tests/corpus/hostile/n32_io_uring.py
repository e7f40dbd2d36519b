# 32 io_uring_setup: a second way to most system calls
# verdict: error
# verdict(weak limits-only): error output_missing
# says(full no-read-confinement): PermissionError
"""Makes a ring, through which opens, connects and writes go past the filter."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    if libc.syscall(ctypes.c_long(425), ctypes.c_long(2), ctypes.create_string_buffer(120)) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
