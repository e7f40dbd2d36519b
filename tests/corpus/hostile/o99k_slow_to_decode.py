# 119 legal, small, and the slowest to decode that the budgets allow
# verdict: ok
# verdict(no-read-confinement): ok error
# limits: roomy
"""47 frames of 1024x1024 that are all there: 49 million pixels in a few kilobytes each."""

import io

from PIL import Image


def make_gif(path):
    frames = []
    for colour in (1, 2):
        file = io.BytesIO()
        Image.new("P", (1024, 1024), colour).save(file, format="GIF")
        data = file.getvalue()
        frames.append(data[data.index(b",") : -1])
        head = data[: data.index(b",")]
    with open(path, "wb") as out:
        out.write(head + b"".join(frames[number % 2] for number in range(47)) + b";")
