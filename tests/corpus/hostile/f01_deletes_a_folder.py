# 1 rmtree of somebody's folder
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): canary
"""Deletes a folder with everything in it."""

import os
import shutil


def make_gif(path):
    shutil.rmtree(os.path.dirname("@CANARY@"))
