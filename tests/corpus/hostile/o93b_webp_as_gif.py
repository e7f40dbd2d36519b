# 93b animated WebP under the name of a GIF
# verdict: output_bad
# says: not a GIF
"""Another format that Pillow reads, under the name of a GIF."""

from PIL import Image


def make_gif(path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    with open(path, "wb") as file:
        frames[0].save(file, format="WEBP", save_all=True, append_images=frames[1:])
