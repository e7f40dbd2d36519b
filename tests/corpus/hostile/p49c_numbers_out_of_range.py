# 49c a negative and a huge system call number
# verdict: error crashed
# says: refused | SIGSYS
"""Uses numbers that no table holds."""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    for number in (-1, 0x3FFFFFFF, 1000, 2**32, 2**63 - 1):
        if libc.syscall(ctypes.c_long(number)) != -1:
            raise ValueError(f"{number} did something")
    raise ValueError("refused")
