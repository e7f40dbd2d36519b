# 94 every system call that came with the last years, and old ones that nobody needs
# verdict: error
# says: passed: []
# only: full no-read-confinement
"""Tries a wide range of system calls with arguments that do no harm, and names those that the filter let through."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
EPERM, EACCES, ENOSYS = 1, 13, 38
#: x86-64: debugging, modules, keys, queues, timers, namespaces, mounts, users, memory of others.
OLD = (
    *range(29, 32), 34, *range(40, 56), 59, *range(64, 72), 73, 76, 86, 88, *range(90, 95), 101, 103, 105, 106, 109,
    *range(112, 115), 116, 117, 119, 122, 123, 126, *range(128, 131), *range(132, 137), *range(141, 157),
    *range(159, 186), *range(187, 200), 203, *range(205, 217), 218, 220, *range(222, 228), 232, *range(235, 257),
    *range(259, 262), 265, 266, 268, 272, *range(275, 285), *range(286, 292), *range(294, 302), *range(303, 316), 317,
    *range(319, 332),
)


def make_gif(path):
    numbers = [*(OLD if os.uname().machine == "x86_64" else ()), *range(424, 436), *range(437, 439), *range(440, 700)]
    minus = ctypes.c_long(-1)
    passed = []
    for number in numbers:
        if number in (435, 437):  # clone3 and openat2 have programs of their own
            continue
        if libc.syscall(ctypes.c_long(number), minus, minus, minus, minus, minus, minus) != -1:
            passed.append(number)
        elif ctypes.get_errno() not in (EPERM, EACCES, ENOSYS):
            passed.append(number)
    raise ValueError(f"passed: {passed}")
