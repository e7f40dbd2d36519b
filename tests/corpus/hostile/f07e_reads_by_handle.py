# 7e open_by_handle_at goes around every path
# verdict: error
# says(full no-read-confinement weak): calls that passed: []
"""Asks for a file handle, which opens a file without a path."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
NAME_TO_HANDLE, OPEN_BY_HANDLE = (303, 304) if os.uname().machine == "x86_64" else (264, 265)


def make_gif(path):
    handle = ctypes.create_string_buffer(b"\x80\0\0\0" + bytes(132))
    mount = ctypes.c_int()
    passed = []
    at = ctypes.c_long(-100)
    if not libc.syscall(ctypes.c_long(NAME_TO_HANDLE), at, b"@SECRET@", handle, ctypes.byref(mount), ctypes.c_long(0)):
        if libc.syscall(ctypes.c_long(OPEN_BY_HANDLE), at, handle, ctypes.c_long(os.O_RDONLY)) >= 0:
            passed.append("open_by_handle_at")
    raise ValueError(f"calls that passed: {passed}")
