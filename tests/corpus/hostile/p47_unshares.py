# 47 unshare: a user namespace brings capabilities
# verdict: error
# says(full no-read-confinement): unshared: []
"""Makes namespaces, where it would be root."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
UNSHARE = 272 if os.uname().machine == "x86_64" else 97
FLAGS = {"user": 0x10000000, "mount": 0x20000, "network": 0x40000000, "pid": 0x20000000, "files": 0x400}


def make_gif(path):
    unshared = [
        name for name, flag in FLAGS.items() if libc.syscall(ctypes.c_long(UNSHARE), ctypes.c_long(flag)) == 0
    ]
    raise ValueError(f"unshared: {unshared}")
