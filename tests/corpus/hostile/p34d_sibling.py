# 34d clone with CLONE_PARENT: a child of the keeper, not of the program
# verdict: error
# verdict(root weak limits-only): error output_missing process_limit
"""Makes a process that is nobody's child but the keeper's, in a session of its own."""

import ctypes
import os
import time

libc = ctypes.CDLL(None, use_errno=True)
CLONE_PARENT = 0x8000


def make_gif(path):
    number = 56 if os.uname().machine == "x86_64" else 220
    pid = libc.syscall(ctypes.c_long(number), ctypes.c_long(CLONE_PARENT | 17), None, None, None, None)
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if pid == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
