# 23c a POSIX message queue outlives its maker
# verdict: error
# says(full no-read-confinement): PermissionError
# says: Error: [Errno
"""Makes a message queue that nobody would remove; the limit on queues is 0."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    if libc.mq_open(b"/@NAME@", os.O_CREAT | os.O_RDWR, 0o600, None) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
