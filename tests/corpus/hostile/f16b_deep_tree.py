# 16b a tree of 3,000 levels
# verdict: disk_limit
# verdict(no-read-confinement): error
"""A tree so deep that its path is too long to name, without write permission at the end."""

import os


def make_gif(path):
    os.chdir(os.path.dirname(path))
    for _ in range(3_000):
        os.mkdir("d")
        os.chdir("d")
    os.chmod(".", 0)
