# 16f many files at the end of a path that is too long to name
# verdict: disk_limit
# verdict(no-read-confinement): error
"""Hides its files below seventeen folders with long names."""

import os


def make_gif(path):
    for _ in range(17):
        os.mkdir("n" * 255)
        os.chdir("n" * 255)
    for number in range(10_000):
        open(str(number), "w").close()
