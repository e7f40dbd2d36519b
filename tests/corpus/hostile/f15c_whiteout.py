# 15c renameat2 with RENAME_WHITEOUT leaves a device node behind
# verdict: output_bad error
# machine: x86_64
"""Renames its output away and leaves a whiteout, a character device, under its name."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
RENAMEAT2, WHITEOUT = 316, 4


def make_gif(path):
    with open(path, "wb") as file:
        file.write(b"GIF89a")
    here = ctypes.c_long(-100)
    name = path.encode()
    if libc.syscall(ctypes.c_long(RENAMEAT2), here, name, here, name + b".moved", ctypes.c_long(WHITEOUT)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
