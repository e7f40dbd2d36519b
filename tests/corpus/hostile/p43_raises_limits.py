# 43 raise its own limits
# verdict: error
# says(full no-read-confinement): raised: []
# says(user): raised: []
"""Raises every limit that it can, with every call that can."""

import ctypes
import os
import resource
import struct

libc = ctypes.CDLL(None, use_errno=True)
SETRLIMIT, PRLIMIT = (160, 302) if os.uname().machine == "x86_64" else (164, 261)


def make_gif(path):
    raised = []
    for name in ("AS", "CPU", "FSIZE", "NOFILE", "NPROC", "MEMLOCK", "CORE", "STACK", "MSGQUEUE"):
        number = getattr(resource, f"RLIMIT_{name}")
        soft, hard = resource.getrlimit(number)
        more = struct.pack("QQ", hard + 1, hard + 1) if hard != resource.RLIM_INFINITY else None
        if more is None:
            continue
        for call in (
            lambda: libc.syscall(ctypes.c_long(SETRLIMIT), ctypes.c_long(number), more),
            lambda: libc.syscall(ctypes.c_long(PRLIMIT), ctypes.c_long(0), ctypes.c_long(number), more, None),
        ):
            if call() == 0:
                raised.append(name)
    raise ValueError(f"raised: {sorted(set(raised))}")
