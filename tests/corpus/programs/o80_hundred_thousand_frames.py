"""Tiny frames, too many."""


def make_gif(path):
    frame = b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    with open(path, "wb") as file:
        file.write(b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + frame * 100_000 + b";")
