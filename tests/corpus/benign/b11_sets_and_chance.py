# b11 set order and chance
# verdict: ok
"""What depends on the order of sets and on unseeded chance."""

import random

import numpy as np
from PIL import Image


def make_gif(path):
    colours = list({"red", "green", "blue", "white", "black", "yellow"})
    random.shuffle(colours)
    frames = [Image.new("RGB", (8, 8), colour) for colour in colours]
    frames[0].putpixel((random.randrange(8), int(np.random.randint(8))), (1, 2, 3))
    frames[0].save(path, save_all=True, append_images=frames[1:])
