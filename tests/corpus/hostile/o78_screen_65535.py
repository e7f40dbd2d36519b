# 78 65535^2 screen
# verdict: output_bad
"""A screen of 12 GB."""


def make_gif(path):
    with open(path, "wb") as file:
        file.write(b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02\x4c\x01\x00;")
