# 117 a GIF that two readers read differently: bytes between blocks that Pillow skips
# verdict: output_bad
# says: a block should begin, and 0x07 begins none
"""Rubbish between the blocks."""

import io

from PIL import Image


def make_gif(path):
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=50)
    data = file.getvalue()
    place = data.rindex(b"!\xf9\x04")  # the control block of the last frame
    with open(path, "wb") as out:
        out.write(data[:place] + b"\7\7\7" + data[place:])
