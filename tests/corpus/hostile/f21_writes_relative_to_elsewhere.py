# 21 chdir elsewhere, then relative writes
# verdict: error
# verdict(limits-only): output_missing
# says(full no-read-confinement weak): PermissionError
# hits(limits-only): files
"""Goes elsewhere first, and writes there by a relative name."""

import os


def make_gif(path):
    os.chdir("@OUTSIDE@")
    with open("stray", "w") as file:
        file.write("x")
