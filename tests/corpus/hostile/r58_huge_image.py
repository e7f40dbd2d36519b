# 58 Image.new 30000^2
# verdict: memory_limit
"""A canvas of 2.7 GB."""

from PIL import Image


def make_gif(path):
    Image.new("RGB", (30_000, 30_000)).save(path)
