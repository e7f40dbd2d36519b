# 109 writes over the machine code of _exit: it can never end by itself
# verdict: wall_limit cpu_limit crashed error
# limits: brief
"""Makes _exit return, and every loop of the harness go on."""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    for name in ("_exit", "exit", "kill", "abort", "syscall"):
        address = ctypes.cast(getattr(libc, name), ctypes.c_void_p).value
        page = ctypes.c_void_p(address & ~0xFFF)
        libc.mprotect(page, ctypes.c_size_t(8192), 7)
        ctypes.memmove(address, b"\xc3", 1)
