# 9b list / and walk from there
# verdict: error
# verdict(no-read-confinement limits-only): output_missing
# says(full weak): PermissionError
"""Lists the root directory."""

import os


def make_gif(path):
    os.listdir("/")
