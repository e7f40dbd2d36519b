# 101 opens a FIFO that nobody writes to
# verdict: wall_limit error
# limits: brief
"""Waits for ever in the kernel."""

import os


def make_gif(path):
    os.mkfifo(path)
    open(path, "rb")
