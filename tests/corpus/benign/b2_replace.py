# b2 tmp + os.replace
# verdict: ok
# verdict(no-read-confinement): error
"""Writes beside, then renames."""

import os

from PIL import Image


def make_gif(path):
    Image.new("RGB", (8, 8), "blue").save(path + ".tmp", format="GIF")
    os.replace(path + ".tmp", path)
