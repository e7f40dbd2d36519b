# b6 BytesIO
# verdict: ok
"""Builds the file in memory."""

import io

from PIL import Image


def make_gif(path):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(buffer, format="GIF")
    with open(path, "wb") as file:
        file.write(buffer.getvalue())
