# 34g a daemon in a user and process namespace of its own
# verdict: error
# verdict(root weak limits-only): process_limit output_missing error
"""Makes namespaces first, so that its daemon has other numbers and other rights inside."""

import ctypes
import os
import time

libc = ctypes.CDLL(None, use_errno=True)
NEWUSER_NEWPID = 0x10000000 | 0x20000000


def make_gif(path):
    if libc.unshare(NEWUSER_NEWPID):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
