# 2c O_RDONLY with O_CREAT makes a file
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): files
"""Makes a file elsewhere by opening it for reading."""

import os


def make_gif(path):
    os.close(os.open("@OUTSIDE@/stray", os.O_RDONLY | os.O_CREAT, 0o600))
