# 7d O_PATH is no read; reopening what it found is
# verdict: error
# verdict(no-read-confinement limits-only): output_missing
# says(full weak): Error: [Errno
# hits(no-read-confinement limits-only): secret
"""Takes hold of somebody's file without opening it, then opens it by its descriptor."""

import os


def make_gif(path):
    handle = os.open("@SECRET@", os.O_PATH)
    with open(f"/proc/self/fd/{handle}") as file:
        print(file.read())
