# 40e /dev/ptmx: a pair of devices of its own
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
"""Makes a pseudo terminal."""

import os


def make_gif(path):
    os.openpty()
