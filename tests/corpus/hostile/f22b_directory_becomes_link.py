# 22b the job directory becomes a link
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): Error: [Errno
"""Puts a link in the place of its directory."""

import os


def make_gif(path):
    folder = os.path.dirname(path)
    os.rmdir(folder)
    os.symlink(os.path.dirname("@CANARY@"), folder)
