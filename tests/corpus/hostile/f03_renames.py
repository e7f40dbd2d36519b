# 3 rename somebody's file
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): canary
"""Moves somebody's file away."""

import os


def make_gif(path):
    os.rename("@CANARY@", "@CANARY@.moved")
