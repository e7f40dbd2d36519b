# 9 list the real home
# verdict: error
# verdict(no-read-confinement limits-only): output_missing
# says(full weak): PermissionError
"""Lists a home directory."""

import os


def make_gif(path):
    os.listdir("@HOME@")
