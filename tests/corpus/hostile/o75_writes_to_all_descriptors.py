# 75 writes to every descriptor
# verdict: error
# says: ValueError: writable: []
# says(no-read-confinement): ValueError: writable: [4] | ValueError: writable: [3]
"""Looks for a channel to us."""

import os


def make_gif(path):
    found = []
    for number in range(3, 1024):
        try:
            os.write(number, b"OK")
            found.append(number)
        except OSError:
            pass
    raise ValueError(f"writable: {found}")
