# 93 PNG bytes in out.gif
# verdict: output_bad
"""Another image format under the name of a GIF."""

from PIL import Image


def make_gif(path):
    Image.new("RGB", (8, 8)).save(path, format="PNG")
