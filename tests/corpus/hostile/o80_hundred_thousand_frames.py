# 80 100,000 1x1 frames
# verdict: output_bad
# says: more than 200 frames
"""Tiny frames, too many."""


def make_gif(path):
    frame = b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    with open(path, "wb") as file:
        file.write(b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + frame * 100_000 + b";")
