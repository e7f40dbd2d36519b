# 120 4 MB of two-byte blocks: a reader that keeps them all grows by 60 MB
# verdict: ok
# limits: roomy
"""A good GIF with a comment of 1.3 million blocks."""

from PIL import Image


def make_gif(path):
    Image.new("P", (8, 8)).save(path)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data[:-1] + b"!\xfe" + b"\x02cd" * 1_390_000 + b"\0;")
