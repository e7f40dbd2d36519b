# 3c rename an own file over somebody's file
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): Error: [Errno
# hits(limits-only): canary
"""Replaces somebody's file by its own."""

import os


def make_gif(path):
    with open(path, "w") as file:
        file.write("mine")
    os.replace(path, "@CANARY@")
