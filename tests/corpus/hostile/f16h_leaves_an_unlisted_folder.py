# 16h ends with folders that cannot be listed, and a good output
# verdict: ok disk_limit
# verdict(no-read-confinement): error
"""Leaves folders without rights, made by the mode of mkdir, one in the other."""

import os

from PIL import Image


def make_gif(path):
    os.mkdir("a", 0o700)
    os.mkdir("a/b", 0o300)
    os.mkdir("a/b/c", 0)
    Image.new("P", (8, 8)).save(path)
