# 38d kill(-1, 0) asks about everybody and harms nobody
# verdict: error
# says(full no-read-confinement): PermissionError
# only: full no-read-confinement
"""Asks whether there is anybody that it might signal."""

import os


def make_gif(path):
    os.kill(-1, 0)
    raise ValueError("there is somebody")
