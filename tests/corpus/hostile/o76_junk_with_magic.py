# 76 junk with GIF magic
# verdict: output_bad
"""Junk that starts like a GIF."""


def make_gif(path):
    with open(path, "wb") as file:
        file.write(b"GIF89a" + bytes(range(256)) * 4)
