# 118 a second file behind the trailer
# verdict: ok
# verdict(no-read-confinement): ok error
"""Appends 100 KB behind the end of a good GIF: it counts as size, and is never read."""

from PIL import Image


def make_gif(path):
    Image.new("P", (8, 8)).save(path)
    with open(path, "ab") as file:
        file.write(b"PK\x03\x04" + bytes(100_000))
