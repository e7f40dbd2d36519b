# 127 30,000 mappings and 200 MB to take apart when it is killed
# verdict: wall_limit
# limits: brief
"""Makes its own end as much work for the kernel as it can, then waits."""

import ctypes
import time

libc = ctypes.CDLL(None, use_errno=True)
ANONYMOUS_PRIVATE = 0x22


def make_gif(path):
    kept = bytearray(b"x") * (150 * 2**20)
    for number in range(30_000):
        libc.mmap(None, ctypes.c_size_t(4096), 1 + 2 * (number % 2), ANONYMOUS_PRIVATE, -1, ctypes.c_long(0))
    time.sleep(100)
    print(len(kept))
