# 62b one line without end
# verdict: cpu_limit wall_limit disk_limit
"""Writes one endless line past every buffer."""

import os


def make_gif(path):
    while True:
        os.write(1, b"y" * 65536)
