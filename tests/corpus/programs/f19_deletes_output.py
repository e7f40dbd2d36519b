"""Writes the output and deletes it."""

import os


def make_gif(path):
    with open(path, "wb") as file:
        file.write(b"GIF89a")
    os.unlink(path)
