# 2d creat and openat2 write as well as open does
# verdict: error
# says: opened: []
# says(limits-only): opened: ['creat', 'openat2', 'open']
# hits(limits-only): canary
"""Opens somebody's file for writing with calls that a filter may have forgotten."""

import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"


def call(number, *args):
    words = [word if isinstance(word, bytes) else ctypes.c_long(word) for word in args]
    return libc.syscall(ctypes.c_long(number), *words)


def make_gif(path):
    name = b"@CANARY@"
    how = struct.pack("QQQ", os.O_WRONLY | os.O_TRUNC, 0, 0)
    tries = {
        "creat": lambda: call(85, name, 0o600) if X86 else libc.creat(name, 0o600),
        "openat2": lambda: call(437, -100, name, how, len(how)),
        "open": lambda: call(2, name, os.O_WRONLY, 0) if X86 else libc.open(name, os.O_WRONLY),
    }
    raise ValueError(f"opened: {[way for way, attempt in tries.items() if attempt() >= 0]}")
