# 14b out.gif that nobody may open
# verdict: output_bad
# verdict(root): ok output_bad
# verdict(no-read-confinement): ok
"""Makes its output with mode 000, by a descriptor that may still write."""

import io
import os

from PIL import Image


def make_gif(path):
    data = io.BytesIO()
    Image.new("P", (8, 8)).save(data, format="GIF")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0)
    os.write(file, data.getvalue())
    os.close(file)
