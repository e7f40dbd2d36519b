# 96 a crash must not be handed to the core dump service of the system
# verdict: error
# says(full no-read-confinement): PermissionError | dumpable: 0
"""Asks whether its memory would be dumped, and wants it dumped."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    if libc.prctl(4, 1, 0, 0, 0) == 0:
        raise ValueError(f"dumpable: {libc.prctl(3, 0, 0, 0, 0)}")
    error = ctypes.get_errno()
    raise OSError(error, os.strerror(error))
