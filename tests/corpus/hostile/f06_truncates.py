# 6 truncate somebody's file
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): canary
"""Empties somebody's file."""

import os


def make_gif(path):
    os.truncate("@CANARY@", 0)
