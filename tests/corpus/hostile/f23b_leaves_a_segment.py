# 23b System V shared memory outlives its maker
# verdict: error
# verdict(weak limits-only): output_missing
# says(full no-read-confinement): PermissionError
# may(weak limits-only): segment
"""Makes a shared memory segment of 1 MB that nobody would remove."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    if libc.shmget(@KEY@, 2**20, 0o1600) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
