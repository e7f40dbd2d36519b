# b3 makedirs(dirname)
# verdict: ok
"""Makes sure of the folder first."""

import os

from PIL import Image


def make_gif(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.new("RGB", (8, 8), "blue").save(path)
