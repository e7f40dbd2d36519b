# 7b read a file and carry it out inside the GIF
# verdict: error
# verdict(no-read-confinement limits-only): ok
# says(full weak): PermissionError
# hits(no-read-confinement limits-only): secret
"""Reads somebody's file and puts it into the comment of a good GIF."""

from PIL import Image


def make_gif(path):
    with open("@SECRET@") as file:
        Image.new("P", (8, 8)).save(path, comment=file.read())
