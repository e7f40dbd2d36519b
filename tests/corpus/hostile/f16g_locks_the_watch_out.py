# 16g takes the right to list its directory away, then fills it
# verdict: error
# verdict(weak limits-only): disk_limit
# says(full no-read-confinement): PermissionError
"""Fills a directory that it made unreadable."""

import os


def make_gif(path):
    os.chmod(".", 0o300)
    for number in range(10_000):
        open(str(number), "w").close()
