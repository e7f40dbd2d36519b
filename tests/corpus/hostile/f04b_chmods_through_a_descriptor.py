# 4b fchmod on a file opened for reading
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): canary
"""Opens somebody's file for reading and changes its mode through the descriptor."""

import os


def make_gif(path):
    file = os.open("@CANARY@", os.O_RDONLY)
    os.fchmod(file, 0)
