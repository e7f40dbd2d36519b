# 11 out.gif -> symlink to the canary
# verdict: error
# verdict(limits-only): output_bad
# says(full no-read-confinement weak): PermissionError
"""The output is a symbolic link to somebody's file."""

import os


def make_gif(path):
    os.symlink("@CANARY@", path)
