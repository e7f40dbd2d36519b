# 36c the dynamic loader runs a file that may only be read
# verdict: error
# says(full no-read-confinement weak): became: []
# verdict(limits-only): output_missing
"""Becomes the dynamic loader, execveat and fexecve included."""

import ctypes
import glob
import os

libc = ctypes.CDLL(None, use_errno=True)


def make_gif(path):
    tried = []
    for name in glob.glob("/lib64/ld-linux*") + glob.glob("/lib/ld-linux*") + ["/lib64/ld-linux-x86-64.so.2"]:
        tried.append(name)
        try:
            os.execve(name, [name, "/bin/true"], {})
        except OSError:
            pass
        number = 322 if os.uname().machine == "x86_64" else 281
        file = os.open(name, os.O_PATH) if os.path.exists(name) else -1
        empty = (ctypes.c_char_p * 1)(None)
        libc.syscall(ctypes.c_long(number), ctypes.c_long(file), b"", empty, empty, ctypes.c_long(0x1000))
    raise ValueError("became: []" if tried else "no loader found")
