# 16e many files in a folder made with mode 0300: written to, but not listed
# verdict: disk_limit
# verdict(no-read-confinement): error
"""Hides its files in a folder that only a capability could list."""

import os


def make_gif(path):
    os.mkdir("hidden", 0o300)
    for number in range(10_000):
        open(f"hidden/{number}", "w").close()
