# 102 fsync as often as it can
# verdict: cpu_limit wall_limit disk_limit
# verdict(no-read-confinement): cpu_limit wall_limit disk_limit error
# limits: brief
"""Keeps the disk busy."""

import os


def make_gif(path):
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    while True:
        os.pwrite(file, b"x" * 4096, 0)
        os.fsync(file)
