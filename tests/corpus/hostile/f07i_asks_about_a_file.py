# 7i what no layer hides: that a file exists, its size and its times
# verdict: error
# says: it has 64 bytes
"""Learns size and times of a file that it may not read: stat is open at every level."""

import os


def make_gif(path):
    raise ValueError(f"it has {os.stat('@SECRET@').st_size} bytes")
