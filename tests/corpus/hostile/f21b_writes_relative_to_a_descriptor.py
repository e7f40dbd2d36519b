# 21b a directory descriptor and ".." instead of a path
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): files
"""Climbs out of its directory by a descriptor."""

import os


def make_gif(path):
    here = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    os.close(os.open("../../outside/stray", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=here))
