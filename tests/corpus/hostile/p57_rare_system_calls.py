# 94 every system call that came with the last years, and old ones that nobody needs
# verdict: error
# says: passed: []
# only: full no-read-confinement
"""Tries a wide range of system calls with arguments that do no harm, and names those that the filter let through."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
EPERM, EACCES, ENOSYS = 1, 13, 38
#: What the filter lets a program do on x86-64, with or without conditions; a number that is added there belongs here.
ALLOWED = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 28, 32, 33, 35, 39,
    60, 62, 63, 72, 74, 75, 77, 79, 80, 82, 83, 84, 87, 89, 95, 96, 97, 98, 99, 100, 102, 104, 107, 108, 110, 131,
    186, 201, 202, 204, 217, 219, 221, 228, 229, 230, 231, 234, 257, 258, 262, 263, 264, 267, 269, 270, 271, 273,
    292, 302, 316, 318, 332, 334, 439,
}
#: Of these, each has a program of its own, which ends its children and says more: clone, fork, vfork, clone3, openat2.
ELSEWHERE = {56, 57, 58, 435, 437}


def make_gif(path):
    numbers = set(range(335)) - ALLOWED if os.uname().machine == "x86_64" else set()
    numbers |= set(range(424, 700)) - {439}  # the same on every machine; faccessat2 is allowed
    minus = ctypes.c_long(-1)
    passed = []
    for number in sorted(numbers - ELSEWHERE):
        if libc.syscall(ctypes.c_long(number), minus, minus, minus, minus, minus, minus) != -1:
            passed.append(number)
        elif ctypes.get_errno() not in (EPERM, EACCES, ENOSYS):
            passed.append(number)
    raise ValueError(f"passed: {passed}")
