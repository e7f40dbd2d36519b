# 19 delete out.gif
# verdict: output_missing
# verdict(no-read-confinement): error
"""Writes the output and deletes it."""

import os


def make_gif(path):
    with open(path, "wb") as file:
        file.write(b"GIF89a")
    os.unlink(path)
