# 62c closes what we listen to
# verdict: ok
# verdict(no-read-confinement): ok error
"""Closes standard output and error, then draws."""

import os

from PIL import Image


def make_gif(path):
    os.close(1)
    os.close(2)
    Image.new("P", (8, 8)).save(path)
