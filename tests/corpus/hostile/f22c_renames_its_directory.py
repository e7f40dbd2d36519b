# 22 rename the job directory itself
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): Error: [Errno
# hits(limits-only): files
"""Moves its own directory away, so that nobody removes it."""

import os


def make_gif(path):
    os.rename(os.path.dirname(path), "@OUTSIDE@/stray")
