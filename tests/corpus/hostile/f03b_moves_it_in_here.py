# 3b rename somebody's file into the scratch directory
# verdict: error
# verdict(limits-only): output_bad
# says(full no-read-confinement weak): Error: [Errno
# hits(limits-only): canary
"""Takes somebody's file as its own output."""

import os


def make_gif(path):
    os.rename("@CANARY@", path)
