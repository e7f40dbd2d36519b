# 2b O_RDONLY with O_TRUNC: Linux truncates
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): canary
"""Empties somebody's file by opening it for reading."""

import os


def make_gif(path):
    os.close(os.open("@CANARY@", os.O_RDONLY | os.O_TRUNC))
