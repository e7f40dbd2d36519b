# 16c directories without rights
# verdict: error
# verdict(weak limits-only): output_missing disk_limit
# says(full no-read-confinement): PermissionError
"""Directories that nobody may enter, one inside the other."""

import os


def make_gif(path):
    os.makedirs("a/b/c")
    open("a/b/c/file", "w").close()
    for name in ("a/b/c", "a/b", "a", "."):
        os.chmod(name, 0)
