# 22a rmdir of the job directory
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): Error: [Errno
"""Leaves no directory to look into."""

import os


def make_gif(path):
    os.rmdir(os.path.dirname(path))
