# b8 ThreadPoolExecutor: refused at the levels with a filter, and said so
# verdict: error
# verdict(root weak limits-only): ok
# says(full no-read-confinement): thread
"""Draws its frames in threads."""

from concurrent.futures import ThreadPoolExecutor

from PIL import Image


def draw(number):
    return Image.new("P", (8, 8), number)


def make_gif(path):
    with ThreadPoolExecutor(2) as pool:
        frames = list(pool.map(draw, range(3)))
    frames[0].save(path, save_all=True, append_images=frames[1:])
