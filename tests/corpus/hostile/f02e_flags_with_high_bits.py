# 2e the kernel looks at 32 bits of the flags, a filter may look at 64
# verdict: error
# says(full no-read-confinement): opened: []
# says(weak): opened: [3]
# hits(limits-only): canary
"""Opens somebody's file with rubbish in the upper half of the argument, and with access mode 3, which is neither."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
NUMBER = 257 if os.uname().machine == "x86_64" else 56


def make_gif(path):
    opened = []
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, 3 | os.O_TRUNC, 3):
        wide = ctypes.c_ulong(flags | 0xFFFFFFFF << 32)
        file = libc.syscall(ctypes.c_long(NUMBER), ctypes.c_long(-100), b"@CANARY@", wide, ctypes.c_long(0))
        if file >= 0:
            opened.append(flags)
    raise ValueError(f"opened: {opened}")
