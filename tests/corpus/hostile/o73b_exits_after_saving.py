# 73b sys.exit after the work
# verdict: ok
"""Ends politely after the work is done."""

import sys

from PIL import Image


def make_gif(path):
    Image.new("RGB", (8, 8), "red").save(path)
    sys.exit()
