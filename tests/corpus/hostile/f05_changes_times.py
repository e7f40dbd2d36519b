# 5 utime on somebody's file
# verdict: error
# verdict(weak limits-only): output_missing
# says(full no-read-confinement): PermissionError
# hits(weak limits-only): canary
"""Makes somebody's file look old."""

import os


def make_gif(path):
    os.utime("@CANARY@", (1, 1))
