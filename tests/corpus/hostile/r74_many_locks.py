# 103 record locks: kernel memory without a limit
# verdict: error cpu_limit ok wall_limit output_missing output_bad
# limits: brief
"""Locks every second byte of its output."""

import fcntl


def make_gif(path):
    with open(path, "wb") as file:
        for number in range(20_000):
            fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * number)
