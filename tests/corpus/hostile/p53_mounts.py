# 97 mount, chroot, pivot_root, swapon: asked with names that do not exist
# verdict: error
# says(full no-read-confinement): possible: []
"""Asks whether it might change what paths mean; ENOENT would mean yes."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
NUMBERS = {"mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "swapon": 167} if X86 else {
    "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "swapon": 224}


def make_gif(path):
    possible = []
    missing = b"@OUTSIDE@/missing"
    zero = ctypes.c_long(0)
    for name, number in NUMBERS.items():
        if libc.syscall(ctypes.c_long(number), missing, missing, b"tmpfs", zero, zero) == 0 or ctypes.get_errno() == 2:
            possible.append(name)
    raise ValueError(f"possible: {possible}")
