# 66 noise frames over the size limit
# verdict: output_too_big
"""A GIF of noise, over the size limit."""

import os

from PIL import Image


def make_gif(path):
    frames = [Image.frombytes("L", (160, 160), os.urandom(160 * 160)) for _ in range(180)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
