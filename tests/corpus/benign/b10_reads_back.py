# b10 reopens and verifies its output
# verdict: ok
"""Verifies its own output."""

from PIL import Image


def make_gif(path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with Image.open(path) as image:
        assert image.n_frames == 3
